// bench: how long the usual operations take at a server, and how many messages each needs of this client.
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <chrono>

#include "cli/commands.h"
#include "cli/transfer.h"

namespace run9::cli {

using namespace p9;

namespace {

using Clock = std::chrono::steady_clock;
constexpr uint64_t kBig = 16 << 20;

class Bench {
 public:
  Bench(Remote& remote, const BenchOptions& o) : remote_(remote), c_(remote.client()), o_(o) {}

  Result<void> run() {
    const Place place = TRY(remote_.walk(o_.dir, Follow::kYes));
    const std::string name = fmt::format("p9-bench-{}", getpid());
    TRY(remote_.report().step("make a directory to work in, in", o_.dir,
                              c_.call(Tmkdir{.dfid = place.fid(), .name = name, .mode = 0700, .gid = getegid()})));
    const std::string dir = o_.dir + "/" + name;
    auto done = in(dir);
    auto cleared = cmd_rm(remote_, {.paths = {dir}, .recursive = true});
    if (remote_.report().json() && done) remote_.report().result(rows_);
    TRY(std::move(done));
    return cleared;
  }

 private:
  Result<void> in(const std::string& dir);
  Result<void> small_rows(Fid dir, Fid file);
  Result<void> big_rows(Fid dir);

  // Runs `once` for the row's time and tells its median and 99th percentile; bytes: of one run.
  template <typename F>
  Result<void> row(std::string_view name, F once, uint64_t bytes = 0);
  Result<Held> create(Fid dir, const std::string& name);

  Remote& remote_;
  Client& c_;
  const BenchOptions& o_;
  boost::json::array rows_;
};

template <typename F>
Result<void> Bench::row(std::string_view name, F once, uint64_t bytes) {
  std::vector<double> us;
  const auto requests = remote_.channel().requests();
  const auto trips = remote_.channel().trips();
  const auto start = Clock::now();
  do {
    const auto t = Clock::now();
    TRY(remote_.report().step("measure", name, once()));
    us.push_back(std::chrono::duration<double, std::micro>(Clock::now() - t).count());
  } while (Clock::now() - start < std::chrono::duration<double>(o_.seconds));
  const double n = static_cast<double>(us.size());
  const double each = static_cast<double>(remote_.channel().requests() - requests) / n;
  const double flights = static_cast<double>(remote_.channel().trips() - trips) / n;
  std::sort(us.begin(), us.end());
  const double p50 = us[us.size() / 2], p99 = us[us.size() * 99 / 100];
  const double rate = static_cast<double>(bytes) / p50 * 1e6;
  if (remote_.report().json()) {
    boost::json::object o{{"name", name}, {"p50_us", p50}, {"p99_us", p99}, {"runs", us.size()},
                          {"messages", each}, {"trips", flights}};
    if (bytes != 0) o["bytes_per_second"] = rate;
    rows_.push_back(std::move(o));
  } else {
    fmt::print("{:<34} {:>10.1f} {:>10.1f} {:>9.1f} {:>7.1f}{}\n", name, p50, p99, each, flights,
               bytes == 0 ? "" : "   " + size_text(rate) + "/s");
  }
  return ok();
}

Result<Held> Bench::create(Fid dir, const std::string& name) {
  Held file = TRY(remote_.clone(dir));
  TRY(c_.call(Tlcreate{.fid = file.fid(), .name = name, .flags = kORdwr | kOCreat, .mode = 0600, .gid = getegid()}));
  return file;
}

Result<void> Bench::in(const std::string& path) {
  const Place dir = TRY(remote_.walk(path, Follow::kYes));
  TRY(cmd_mkdir(remote_, {.paths = {path + "/a/b", path + "/many"}, .parents = true}));
  const Place below = TRY(remote_.walk(path + "/a/b", Follow::kYes));
  const Place many = TRY(remote_.walk(path + "/many", Follow::kYes));
  Held small = TRY(remote_.report().step("make a file in", path, create(below.fid(), "c")));
  TRY(c_.call(Twrite{.fid = small.fid(), .data = as_bytes(std::string(4096, 'x'))}));
  for (uint32_t i = 0; i < o_.files; ++i) {
    static_cast<void>(TRY(remote_.report().step("make a file in", path, create(many.fid(), std::to_string(i)))));
  }
  if (!remote_.report().json()) {
    fmt::print("{}{}, msize {}\n{:<34} {:>10} {:>10} {:>9} {:>7}\n", c_.dialect() ? "9P2000.L.x" : "9P2000.L",
               remote_.channel().has_ring() ? " by a ring" : "", c_.msize(),
               "", "p50 us", "p99 us", "messages", "trips");
  }
  TRY(small_rows(dir.fid(), small.fid()));
  TRY(row(fmt::format("readdir and stat of {}", o_.files), [&]() -> Result<void> {
    static_cast<void>(TRY(remote_.entries(many.fid(), WithAttr::kYes)));
    return ok();
  }));
  return big_rows(dir.fid());
}

Result<void> Bench::small_rows(Fid dir, Fid file) {
  TRY(row("null (Tflush)", [&] { return c_.call(Tflush{.oldtag = Tag{0x7fff}}); }));
  TRY(row("getattr", [&] { return c_.call(Tgetattr{.fid = file, .request_mask = kGetBasic}); }));
  TRY(row("walk of 3 names, getattr, clunk", [&]() -> Result<void> {
    const Fid fid = TRY(c_.alloc_fid());
    Twalk t{.fid = dir, .newfid = fid};
    t.names = {"a", "b", "c"};
    TRY(c_.call(t));
    TRY(c_.call(Tgetattr{.fid = fid, .request_mask = kGetBasic}));
    return c_.clunk(fid);
  }));
  TRY(row("walk, open, read 4 KiB, clunk", [&]() -> Result<void> {
    const Fid fid = TRY(c_.alloc_fid());
    Twalk t{.fid = dir, .newfid = fid};
    t.names = {"a", "b", "c"};
    TRY(c_.call(t));
    TRY(c_.call(Tlopen{.fid = fid, .flags = kORdonly}));
    TRY(c_.call(Tread{.fid = fid, .count = 4096}));
    return c_.clunk(fid);
  }));
  return row("create, write 4 KiB, clunk, unlink", [&]() -> Result<void> {
    const std::string block(4096, 'y');
    Held made = TRY(create(dir, "new"));
    TRY(c_.call(Twrite{.fid = made.fid(), .data = as_bytes(block)}));
    TRY(made.close());
    return remote_.unlink_at(dir, "new", false);
  });
}

Result<void> Bench::big_rows(Fid dir) {
  const Held big = TRY(remote_.report().step("make a file in", o_.dir, create(dir, "big")));
  const std::vector<std::byte> block(1 << 20, std::byte{'z'});
  TRY(row("write 16 MiB", [&]() -> Result<void> {
    FileWriter writer(c_, big.fid(), 0);
    for (uint64_t at = 0; at < kBig; at += block.size()) TRY(writer.write(block));
    return writer.finish();
  }, kBig));
  return row("read 16 MiB", [&] {
    return read_file(c_, big.fid(), 0, kBig, [](ByteSpan) -> Result<void> { return ok(); });
  }, kBig);
}

}  // namespace

Result<void> cmd_bench(Remote& remote, const BenchOptions& options) { return Bench(remote, options).run(); }

}  // namespace run9::cli
