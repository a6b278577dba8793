// Answers as text: Prometheus' format 0.0.4, and the health page.
#pragma once
#include <string>
#include <vector>

#include "metrics/sources.h"

namespace run9::metrics {

std::string metrics_text(const std::vector<Answer>& answers);

struct Health {
  bool good = true;
  std::string text;
};
Health health(const std::vector<Answer>& answers);

}  // namespace run9::metrics
