#include "bench/p9/beside.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <chrono>
#include <vector>

#include "p9/client.h"
#include "p9/transport/blocking_channel.h"

namespace run9::bench {
namespace {

using namespace p9;
using Clock = std::chrono::steady_clock;

constexpr Fid kRoot{0};
constexpr size_t kAhead = 1000;  // requests in one write(2), as far as the socket takes them

Clock::time_point after(double seconds) {
  return Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
}

Result<void> wait_for_room(BorrowedFd socket) {
  pollfd p{socket.get(), POLLIN | POLLOUT, 0};
  return poll(&p, 1, 1000) > 0 ? Result<void>(ok()) : Errno{ETIMEDOUT};
}

}  // namespace

Result<void> flood(UniqueFd socket, const std::string& aname, double seconds) {
  ByteWriter out;
  encode_to(out, kNoTag, Tversion{.msize = 65536, .version = kVersionL});
  encode_to(out, Tag{1}, Tattach{.fid = kRoot, .aname = aname, .n_uname = 0});
  const size_t hello = out.size();
  for (size_t i = 0; i < kAhead; ++i) encode_to(out, Tag{1}, Tgetattr{.fid = kRoot, .request_mask = kGetBasic});
  std::vector<std::byte> in(1 << 20);
  uint64_t asked = 0;
  size_t at = 0;
  for (const auto end = after(seconds); Clock::now() < end;) {
    const ByteSpan rest = out.bytes().subspan(at);
    const ssize_t sent = send(socket.get(), rest.data(), rest.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) return last_errno();
    if (sent > 0) at += static_cast<size_t>(sent);
    if (at == out.size()) at = hello, asked += kAhead;
    const ssize_t got = recv(socket.get(), in.data(), in.size(), MSG_DONTWAIT);
    if (got < 0 && errno != EAGAIN) return last_errno();
    if (sent < 0 && got < 0) TRY(wait_for_room(socket.borrow()));
  }
  fmt::print("flood {}\n", asked);
  return ok();
}

Result<void> neighbour(UniqueFd socket, const std::string& aname, double seconds, std::chrono::microseconds patience) {
  BlockingChannel channel(std::move(socket), patience);
  Client client(channel, {.ring = 0});
  TRY(client.start());
  const Fid root = TRY(client.attach(aname)).fid;
  std::vector<double> us;
  for (const auto end = after(seconds); Clock::now() < end;) {
    const auto start = Clock::now();
    TRY(client.call(Tgetattr{.fid = root, .request_mask = kGetBasic}));
    us.push_back(std::chrono::duration<double, std::micro>(Clock::now() - start).count());
  }
  std::sort(us.begin(), us.end());
  fmt::print("neighbour {} {:.2f} {:.2f}\n", us.size(), us[us.size() / 2], us[us.size() * 99 / 100]);
  return ok();
}

}  // namespace run9::bench
