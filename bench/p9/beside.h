// One client beside another: what somebody who asks without end costs who asks now and then.
#pragma once
#include <chrono>
#include <string>

#include "base/result.h"
#include "base/unique_fd.h"

namespace run9::bench {

// Sends requests for attributes as fast as the server takes them, and reads what comes, for so long.
Result<void> flood(UniqueFd socket, const std::string& aname, double seconds);
// One request for attributes at a time. Prints their number, the median and the 99th percentile in microseconds.
// `patience`: as BlockingChannel has it.
Result<void> neighbour(UniqueFd socket, const std::string& aname, double seconds, std::chrono::microseconds patience);

}  // namespace run9::bench
