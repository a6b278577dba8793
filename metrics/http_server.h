// HTTP/1.1 by Boost.Beast: /metrics and /health. One thread; its clients are not trusted.
#pragma once
#include <functional>
#include <string>

#include "base/result.h"
#include "metrics/sources.h"

namespace run9::metrics {

struct ListenAt {
  std::string host;  // a number
  uint16_t port = 0;
};

// Serves until SIGTERM or SIGINT. `ask` gives what there is to tell, and may take a moment. Says in
// the log what is wrong.
Result<void> serve_http(const ListenAt& at, std::function<std::vector<Answer>()> ask);

}  // namespace run9::metrics
