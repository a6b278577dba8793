#include "gofer/control.h"

#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <algorithm>

#include "base/check.h"
#include "base/log.h"
#include "p9/messages.h"
#include "p9/transport/socket_address.h"

namespace run9::gofer {
namespace {

// Protocol Buffers' encoding, as far as these messages need it. The library would be half a
// megabyte of every gofer's memory, and code in the jail that reads as well.
class MessageWriter {
 public:
  void number(uint32_t field, uint64_t value) {
    varint(field << 3);
    varint(value);
  }
  // Text, or a message in the message.
  void bytes(uint32_t field, std::string_view value) {
    varint(field << 3 | 2);
    varint(value.size());
    out_ += value;
  }
  const std::string& text() const { return out_; }

 private:
  void varint(uint64_t value) {
    for (; value >= 0x80; value >>= 7) out_ += static_cast<char>(value | 0x80);
    out_ += static_cast<char>(value);
  }
  std::string out_;
};

// spec/control.proto: GoferRequests, from field 1 on.
std::string requests_message(std::span<const Counters> all, size_t index) {
  MessageWriter out;
  const p9::MsgType type = Counters::type_at(index);
  out.number(1, p9::to_int(type));
  out.bytes(2, index == 0 ? "other" : p9::name_of(type));
  uint32_t field = 3;
  for (const auto which :
       {&RequestCounters::count, &RequestCounters::errors, &RequestCounters::bytes_in,
        &RequestCounters::bytes_out, &RequestCounters::nanoseconds}) {
    uint64_t total = 0;
    for (const Counters& c : all) total += (c.requests[index].*which).get();
    out.number(field++, total);
  }
  return out.text();
}

bool has_requests(std::span<const Counters> all, size_t index) {
  return std::any_of(all.begin(), all.end(),
                     [&](const Counters& c) { return c.requests[index].count.get() != 0; });
}

// A Reply with a GoferState.
std::string state_message(std::span<const Counters> all) {
  const auto sum = [&](Counter Counters::*which) {
    uint64_t out = 0;
    for (const Counters& c : all) out += (c.*which).get();
    return out;
  };
  MessageWriter state;
  state.number(1, sum(&Counters::connections));
  state.number(2, sum(&Counters::open));
  state.number(3, all.size());
  state.number(4, sum(&Counters::fids));
  state.number(5, sum(&Counters::donated));
  for (size_t i = 0; i < Counters::kTypes; ++i) {
    if (has_requests(all, i)) state.bytes(6, requests_message(all, i));
  }
  MessageWriter reply;
  reply.bytes(7, state.text());
  return reply.text();
}

}  // namespace

std::span<Counters> make_counters(size_t jobs) {
  if (jobs == 0) return {};
  void* const pages = mmap(nullptr, jobs * sizeof(Counters), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(pages != MAP_FAILED);
  return {static_cast<Counters*>(pages), jobs};  // zero bytes are counters of 0
}

Result<UniqueFd> listen_for_control(const std::string& path) {
  const p9::SocketAddress at =
      TRY(p9::socket_address({.kind = p9::Address::Kind::kUnix, .path = path}));
  UniqueFd fd = TRY(take_fd(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)));
  const mode_t before = umask(0177);
  const int bound = bind(fd.get(), at.get(), at.size);
  const Errno error = last_errno();
  umask(before);
  if (bound < 0 || listen(fd.get(), 4) < 0) {
    const Errno e = bound < 0 ? error : last_errno();
    log_error(
        "--control {}: {}{}", quoted(path), describe(e),
        e == Errno{EADDRINUSE} ? ": the file is there; remove it if no other server uses it" : "");
    return e;
  }
  return fd;
}

void answer_control(BorrowedFd listener, std::span<const Counters> all) {
  const UniqueFd socket(accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!socket.valid()) return;
  std::string bytes = state_message(all);
  iovec part{bytes.data(), bytes.size()};
  const msghdr message{.msg_iov = &part, .msg_iovlen = 1};
  // Who does not take it at once goes without.
  if (sendmsg(socket.get(), &message, MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
    log_warn("control: {}", describe(last_errno()));
  }
}

}  // namespace run9::gofer
