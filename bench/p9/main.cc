// run9-p9-bench: what the usual operations cost, one line a row: name, microseconds (median), messages.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <latch>
#include <thread>
#include <vector>

#include "bench/p9/beside.h"
#include "bench/p9/subject.h"
#include "p9/transport/address.h"
#include "p9/transport/blocking_channel.h"

namespace run9::bench {
namespace {

using Clock = std::chrono::steady_clock;
constexpr char kUsage[] =
    "usage: run9-p9-bench host DIR SECONDS\n"
    "       run9-p9-bench client|vfs ADDRESS ANAME SECONDS [plain|socket]\n"
    "       run9-p9-bench many ADDRESS ANAME SECONDS [plain|socket]\n"
    "       run9-p9-bench donated ADDRESS ANAME SECONDS DIR\n"
    "       run9-p9-bench flood|neighbour ADDRESS ANAME SECONDS [PATIENCE_US]\n";
constexpr int kMany = 8;
constexpr uint64_t kBig = 16 << 20;  // bytes of the file "big"

[[noreturn]] void fail(std::string_view what, Errno e) {
  fmt::print(stderr, "run9-p9-bench: {}: {}\n", what, describe(e));
  exit(1);
}

double us_since(Clock::time_point start) {
  return std::chrono::duration<double, std::micro>(Clock::now() - start).count();
}

class Rows {
 public:
  Rows(Subject& subject, double seconds) : subject_(subject), seconds_(seconds) {}

  // `after`: to be done after each run, outside the time.
  void row(std::string_view name, const std::function<Result<void>()>& once, const std::function<Result<void>()>& after = {}) {
    std::vector<double> us;
    uint64_t messages = 0;
    const auto end = Clock::now() + std::chrono::duration<double>(seconds_);
    do {
      const uint64_t before = subject_.messages();
      const auto start = Clock::now();
      const auto done = once();
      us.push_back(us_since(start));
      messages += subject_.messages() - before;
      if (!done && done.error() == Errno{EOPNOTSUPP}) return;
      if (!done) fail(name, done.error());
      if (after) {
        // p9ufs removes nothing: the names are new ones each time.
        if (const auto cleared = after(); !cleared && cleared.error() != Errno{ENOSYS}) fail(name, cleared.error());
      }
    } while (Clock::now() < end);
    std::nth_element(us.begin(), us.begin() + us.size() / 2, us.end());
    fmt::print("{} {:.3f} {:.2f}\n", name, us[us.size() / 2], static_cast<double>(messages) / us.size());
  }

  // Until the host has put client and server where they stay.
  void warm_up() {
    const auto end = Clock::now() + std::chrono::duration<double>(seconds_);
    while (Clock::now() < end) {
      if (const auto done = subject_.getattr(); !done) fail("getattr", done.error());
    }
  }

  void all() {
    warm_up();
    row("null", [&] { return subject_.null(); });
    row("getattr", [&] { return subject_.getattr(); });
    row("stat_3", [&] { return subject_.stat("a/b/c"); });
    row("stat_5", [&] { return subject_.stat("a/b/c/d/e"); });
    row("open_read_close", [&] { return subject_.read_small(); });
    int n = 0;
    std::string name;
    row("create_write_close",
        [&] {
          name = fmt::format("new{}-{}", getpid(), n++);
          return subject_.create(name);
        },
        [&] { return subject_.unlink(name); });
    row("readdir_stat_10000", [&] { return subject_.list(); });
    std::vector<std::byte> block(1 << 20, std::byte{'x'});
    uint64_t at = 0;
    const auto next = [&] { return (at = (at + block.size()) % kBig); };
    row("write_1m", [&] { return subject_.write_big(next(), block); });
    row("read_1m", [&] { return subject_.read_big(next(), block); });
  }

 private:
  Subject& subject_;
  const double seconds_;
};

// kMany clients at a time, each asking for attributes: the time of all divided by their requests.
void many(const std::function<std::unique_ptr<Subject>()>& open, double seconds) {
  std::vector<std::unique_ptr<Subject>> subjects;
  for (int i = 0; i < kMany; ++i) subjects.push_back(open());
  std::latch ready(kMany);
  std::atomic<uint64_t> count = 0;
  std::vector<std::jthread> threads;
  const auto start = Clock::now();
  for (auto& subject : subjects) {
    threads.emplace_back([&] {
      ready.arrive_and_wait();
      const auto end = Clock::now() + std::chrono::duration<double>(seconds);
      for (; Clock::now() < end; ++count) {
        if (const auto done = subject->getattr(); !done) fail("getattr", done.error());
      }
    });
  }
  threads.clear();
  fmt::print("many_getattr {:.3f} 1.00\n", us_since(start) / static_cast<double>(count.load()));
}

// The big file through a descriptor that the gofer donated, beside one of our own, in turns: the medians of both.
void donated(Subject& client, Subject& host, double seconds) {
  std::vector<std::byte> block(1 << 20, std::byte{'x'});
  const uint64_t before = client.messages();
  const auto time = [&](std::vector<double>& us, const std::function<Result<void>()>& once) {
    const auto start = Clock::now();
    if (const auto done = once(); !done) fail("1 MiB", done.error());
    us.push_back(us_since(start));
  };
  const auto middle = [](std::vector<double>& us) {
    std::nth_element(us.begin(), us.begin() + us.size() / 2, us.end());
    return us[us.size() / 2];
  };
  const auto row = [&](std::string_view name, const std::function<Result<void>(Subject&, uint64_t at)>& once) {
    std::vector<double> theirs, ours;
    uint64_t at = 0;
    for (const auto end = Clock::now() + std::chrono::duration<double>(seconds); Clock::now() < end;) {
      // Half a file apart: who comes second shall not find what the first one has just brought into the cache.
      at = (at + block.size()) % kBig;
      time(ours, [&] { return once(host, at); });
      time(theirs, [&] { return once(client, (at + kBig / 2) % kBig); });
    }
    fmt::print("{} {:.3f} {:.3f}\n", name, middle(theirs), middle(ours));
  };
  row("read_1m", [&](Subject& s, uint64_t at) { return s.read_big(at, block); });
  row("write_1m", [&](Subject& s, uint64_t at) { return s.write_big(at, block); });
  if (client.messages() != before) fail("donated", Errno{EPROTO});
}

int run(std::span<char*> args) {
  const std::string_view mode = args.size() < 4 ? "" : args[1];
  if (mode == "host") {
    auto host = open_host(args[2]);
    if (!host) fail(args[2], host.error());
    const double seconds = atof(args[3]);
    Rows(*host.assume_value(), seconds).all();
    many([&] { return std::move(open_host(args[2])).assume_value(); }, seconds);
    return 0;
  }
  const bool one_of_two = mode == "flood" || mode == "neighbour";
  const bool known = mode == "client" || mode == "vfs" || mode == "many" || mode == "donated" || one_of_two;
  const auto address = known && args.size() >= 5 ? p9::parse_address(args[2]) : std::nullopt;
  if (!address) {
    fmt::print(stderr, kUsage);
    return 2;
  }
  if (one_of_two) {
    auto socket = p9::dial(*address);
    if (!socket) fail(args[2], socket.error());
    const std::chrono::microseconds patience = args.size() > 5 ? std::chrono::microseconds(atoi(args[5])) : p9::BlockingChannel::kPatience;
    const auto done = mode == "flood" ? flood(std::move(socket.assume_value()), args[3], atof(args[4]))
                                      : neighbour(std::move(socket.assume_value()), args[3], atof(args[4]), patience);
    if (!done) fail(mode, done.error());
    return 0;
  }
  const std::string_view how = args.size() > 5 ? args[5] : "";
  const ClientChoice choice{.dialect = how != "plain", .ring = how != "socket"};
  const auto open = [&] {
    auto socket = p9::dial(*address);
    if (!socket) fail(args[2], socket.error());
    auto subject = (mode == "vfs" ? open_vfs : open_client)(std::move(socket.assume_value()), args[3], choice);
    if (!subject) fail(args[2], subject.error());
    return std::move(subject.assume_value());
  };
  if (mode == "donated" && args.size() > 5) {
    auto host = open_host(args[5]);
    if (!host) fail(args[5], host.error());
    return donated(*open(), *host.assume_value(), atof(args[4])), 0;
  }
  if (mode == "many") return many(open, atof(args[4])), 0;
  Rows(*open(), atof(args[4])).all();
  return 0;
}

}  // namespace
}  // namespace run9::bench

int main(int argc, char** argv) { return run9::bench::run({argv, static_cast<size_t>(argc)}); }
