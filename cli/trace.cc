// trace: stands between a client and a server and prints every message, as strace does for calls. Descriptors that
// ride on messages (unix sockets) pass.
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>

#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <chrono>
#include <map>

#include "cli/commands.h"
#include "p9/demux.h"
#include "p9/transport/address.h"
#include "p9/transport/socket_io.h"

namespace run9::cli {

using namespace p9;

namespace {

using Clock = std::chrono::steady_clock;

// What all connections of one run share.
class Log {
 public:
  Log(Reporter& report, bool summary) : report_(report), summary_(summary) {}

  // direction: '>' to the server, '<' from it.
  void message(int connection, char direction, ByteSpan frame, size_t fds) {
    const auto header = decode_header(frame);
    if (!header) return;
    const MsgType type = header.assume_value().type;
    const std::string name(name_of(type));
    ++counts_[name];
    if (summary_) return;
    const double at = std::chrono::duration<double>(Clock::now() - start_).count();
    if (report_.json()) {
      report_.result(boost::json::object{
          {"time", at}, {"connection", connection}, {"to", direction == '>' ? "server" : "client"}, {"message", name},
          {"tag", static_cast<uint16_t>(header.assume_value().tag)}, {"size", frame.size()},
          {"descriptors", fds}, {"text", json_text(describe(frame))}});
    } else {
      fmt::print("{:10.6f} {} {} {}{}\n", at, connection, direction, printable(describe(frame)),
                 fds == 0 ? "" : fds == 1 ? " +descriptor" : fmt::format(" +{} descriptors", fds));
    }
    fflush(stdout);
  }

  void end() const {
    if (!summary_) return;
    boost::json::object out;
    uint64_t requests = 0;
    for (const auto& [name, n] : counts_) {
      if (name[0] == 'T') requests += n;
      if (report_.json()) out[name] = n;
      else fmt::print("{:8} {}\n", n, name);
    }
    if (report_.json()) report_.result(out);
    else fmt::print("{:8} requests\n", requests);
  }

 private:
  Reporter& report_;
  const bool summary_;
  const Clock::time_point start_ = Clock::now();
  std::map<std::string, uint64_t> counts_;
};

// A ring would carry the messages past us: the server has none, as far as the client learns.
void hide_ring(std::vector<std::byte>& frame) {
  uint64_t have = 0;
  if (frame.size() < kHeaderSize + sizeof have) return;
  std::memcpy(&have, frame.data() + kHeaderSize, sizeof have);
  have &= ~kCapRing;
  std::memcpy(frame.data() + kHeaderSize, &have, sizeof have);
}

// One direction: what `from` sends goes to `to`, frame by frame.
struct Half {
  BorrowedFd from, to;
  char direction;
  Demux demux{kMaxMsize};

  // False: this side is through.
  bool pass(int connection, Log& log) {
    auto got = receive_with_fds(from, demux.space(), 0);
    if (!got || got.assume_value().bytes == 0) return false;
    if (!demux.commit(got.assume_value().bytes, std::move(got.assume_value().fds))) return false;
    for (;;) {
      auto next = demux.next();
      if (!next) return false;
      auto& in = next.assume_value();
      if (!in) return true;
      if (decode_header(in->frame).assume_value().type == MsgType::kRcaps) hide_ring(in->frame);
      log.message(connection, direction, in->frame, in->fds.size());
      if (!send_with_fds(to, in->frame, in->fds)) return false;
    }
  }
};

struct Pair {
  Pair(int n, UniqueFd client_socket, UniqueFd server_socket)
      : number(n), client(std::move(client_socket)), server(std::move(server_socket)),
        request{client.borrow(), server.borrow(), '>'}, reply{server.borrow(), client.borrow(), '<'} {}
  int number;
  UniqueFd client, server;
  Half request, reply;
};

volatile sig_atomic_t stopped = 0;

class Proxy {
 public:
  Proxy(Reporter& report, const TraceOptions& o, Address server, UniqueFd listener)
      : report_(report), o_(o), server_(std::move(server)), listener_(std::move(listener)), log_(report, o.summary) {}

  Result<void> run() {
    while (stopped == 0) {
      std::vector<pollfd> all{{listener_.get(), POLLIN, 0}};
      for (const auto& p : pairs_) {
        all.push_back({p->client.get(), POLLIN, 0});
        all.push_back({p->server.get(), POLLIN, 0});
      }
      if (poll(all.data(), all.size(), -1) < 0) continue;  // a signal
      // Backwards, as ended ones go.
      for (size_t i = pairs_.size(); i-- > 0;) {
        Pair& p = *pairs_[i];
        const bool alive = (all[1 + 2 * i].revents == 0 || p.request.pass(p.number, log_)) &&
                           (all[2 + 2 * i].revents == 0 || p.reply.pass(p.number, log_));
        if (alive) continue;
        pairs_.erase(pairs_.begin() + static_cast<ptrdiff_t>(i));
        if (o_.once) stopped = 1;
      }
      if ((all[0].revents & POLLIN) != 0) TRY(accept_one());
    }
    log_.end();
    return ok();
  }

 private:
  Result<void> accept_one() {
    UniqueFd client(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!client.valid()) return ok();
    UniqueFd server = TRY(report_.step("connect to", o_.server, dial(server_)));
    pairs_.push_back(std::make_unique<Pair>(++connections_, std::move(client), std::move(server)));
    return ok();
  }

  Reporter& report_;
  const TraceOptions& o_;
  const Address server_;
  const UniqueFd listener_;
  Log log_;
  std::vector<std::unique_ptr<Pair>> pairs_;
  int connections_ = 0;
};

}  // namespace

Result<void> cmd_trace(Reporter& report, const TraceOptions& o) {
  const auto server = parse_address(o.server);
  const auto at = parse_listen_address(o.listen);
  for (const auto& [text, parsed] : {std::pair{&o.server, &server}, {&o.listen, &at}}) {
    if (!*parsed) {
      return report.fail("understand the address", *text, Errno{EINVAL}, "write unix:PATH, unix:@NAME or tcp:HOST:PORT");
    }
  }
  auto listener = listen_on(*at);
  if (!listener) {
    const Errno e = listener.assume_error();
    return report.fail("listen at", o.listen, e,
                       e == Errno{EADDRINUSE} ? "the port, or the socket's file, is there already: choose another" : "");
  }
  struct sigaction stop = {};
  stop.sa_handler = [](int) { stopped = 1; };
  for (const int s : {SIGINT, SIGTERM}) sigaction(s, &stop, nullptr);
  return Proxy(report, o, *server, std::move(listener.assume_value())).run();
}

}  // namespace run9::cli
