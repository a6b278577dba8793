// A 9P2000.L client without I/O: it numbers requests and fids, encodes, and checks and decodes the
// replies a Channel brings. Several fibers of one thread may have calls in flight at once; nothing
// here is touched between the encoding of a request and the return of its round trip.
#pragma once
#include <memory>
#include <string_view>
#include <vector>

#include "p9/channel.h"
#include "p9/codec.h"

namespace run9::p9 {

// Small numbers, lowest first (some servers have room for 1024 fids only).
class IdPool {
 public:
  explicit IdPool(uint32_t limit) : limit_(limit) {}
  // `count` numbers in a row, the first is returned; ENFILE when there are none.
  Result<uint32_t> take(uint32_t count = 1);
  void give_back(uint32_t id);
  size_t in_use() const { return in_use_; }

 private:
  static constexpr uint32_t kBits = 64;
  bool used(uint32_t id) const { return (used_[id / kBits] >> (id % kBits) & 1) != 0; }
  std::vector<uint64_t> used_;  // a bit each
  uint32_t limit_;
  uint32_t lowest_ = 0;  // nothing below is free
  size_t in_use_ = 0;
};

// A decoded reply together with the frame that its strings and data point into.
template <typename R>
struct Answer {
  std::vector<std::byte> frame;
  R msg;
  UniqueFd fd;                // if one came, for all replies but
  std::vector<UniqueFd> fds;  // Rmopen's
  const R* operator->() const { return &msg; }
  const R& operator*() const { return msg; }
};

struct ClientOptions {
  uint32_t msize = 512 * 1024;
  bool dialect = true;  // ask for 9P2000.L.x first
  uint32_t ring = 256 * 1024;  // bytes each way through shared memory, where channel and server can; 0: never
  uint32_t max_fids = 1u << 20;
};

struct Attached {
  Fid fid{};
  Qid qid;
};

class Client;

// A request that was sent (Client::begin), and that nobody waits for yet. The client outlives it, and nothing more is
// asked of that once it went without an answer.
template <typename T>
class Begun {
 public:
  ~Begun();
  Begun(const Begun&) = delete;
  Begun& operator=(const Begun&) = delete;
  // The answer is there, or the connection is lost.
  bool answered() const { return slow_.answered; }
  // Blocks the caller until it is answered. Several may.
  void wait();
  // Once, when it is answered: what call() would have given.
  Result<Answer<typename T::Reply>> take();

 private:
  friend Client;
  Begun(Client& client, Tag tag) : client_(client) { slow_.exchange.tag = tag; }
  Client& client_;
  SlowExchange slow_;
  bool taken_ = false;
};

class Client {
 public:
  // The channel outlives the client.
  explicit Client(Channel& channel, ClientOptions options = {})
      : channel_(channel), options_(options), fids_(options.max_fids), tags_(0xffff) {}
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  // Agrees on version, msize and capabilities: the dialect if the server has it, else 9P2000.L.
  // Before any other call; EPROTONOSUPPORT when the server speaks neither.
  Result<void> start();
  Result<Attached> attach(std::string_view aname, std::string_view uname = "",
                          uint32_t n_uname = 0);

  bool dialect() const { return dialect_; }
  // 0 in plain 9P2000.L.
  uint64_t caps() const { return caps_; }
  bool has_cap(uint64_t cap) const { return (caps_ & cap) != 0; }
  uint32_t msize() const { return msize_; }
  // The most a Tread, Twrite or Treaddir may carry.
  uint32_t max_io() const { return msize_ - kIoHeaderSize; }

  // One request, one reply. Rlerror comes back as its errno, a reply that is none as EPROTO, a lost
  // connection as EIO from then on. EOPNOTSUPP at once for a dialect message in plain 9P2000.L.
  template <typename T>
  Result<Answer<typename T::Reply>> call(const T& request) {
    if (is_dialect(T::kType) && !dialect_) return Errno{EOPNOTSUPP};
    if (dropped_.size() >= kDropBatch) flush_drops();
    return call_now(request);
  }

  // As call() for each, in one round trip: done(i, answer of requests[i]), in order.
  template <typename T, typename Done>
  void call_all(std::span<const T> requests, Done done) {
    if (dropped_.size() >= kDropBatch) flush_drops();
    std::vector<Exchange> all;
    all.reserve(requests.size());
    for (const T& t : requests) {
      const auto tag = take_tag();
      if (!tag) break;  // what is not sent fails below
      all.push_back({.frame = encode(tag.assume_value(), t), .tag = tag.assume_value()});
    }
    exchange_all(all);
    for (size_t i = 0; i < requests.size(); ++i) {
      done(i, i < all.size() ? answer_of<T>(all[i].result()) : Errno{EIO});
    }
  }

  // As call() for each, sent together, without waiting for the answers. It may have to wait for its turn to send. Null
  // for those that cannot be sent.
  template <typename T>
  std::vector<std::shared_ptr<Begun<T>>> begin(std::span<const T> requests) {
    std::vector<std::shared_ptr<Begun<T>>> all(requests.size());
    std::vector<SlowExchange*> sent;
    if (dropped_.size() >= kDropBatch) flush_drops();
    if (lost_ || (is_dialect(T::kType) && !dialect_)) return all;
    for (size_t i = 0; i < requests.size(); ++i) {
      const auto tag = take_tag();
      if (!tag) break;
      std::vector<std::byte> frame = encode(tag.assume_value(), requests[i]);
      if (frame.size() > msize_) {
        tags_.give_back(static_cast<uint32_t>(tag.assume_value()));
        continue;
      }
      all[i].reset(new Begun<T>(*this, tag.assume_value()));
      all[i]->slow_.exchange.frame = std::move(frame);
      sent.push_back(&all[i]->slow_);
    }
    if (!sent.empty()) channel_.begin(sent);
    return all;
  }

  // As call(), for a request that the server answers when it can (Tlockx with kLockWait). `sleep` waits for the queue
  // that it is given; if it fails, so does the request, unless the answer comes before the flush is done.
  template <typename T, typename Sleep>
  Result<Answer<typename T::Reply>> call_slowly(const T& request, Sleep sleep) {
    const Tag tag = TRY(take_tag());
    SlowExchange slow{.exchange = {.frame = encode(tag, request), .tag = tag}};
    if (lost_) slow.answered = true;
    else begin_one(slow);
    Errno interrupted{};
    while (!slow.answered) {
      const Result<void> woken = sleep(slow.queue);
      if (woken || slow.answered) continue;
      interrupted = woken.error();
      static_cast<void>(call_now(Tflush{.oldtag = tag}));
      if (slow.answered) break;
      channel_.forget(slow);
      slow.exchange.error = Errno{EINTR};
      slow.answered = true;
    }
    tags_.give_back(static_cast<uint32_t>(tag));
    if (interrupted != Errno{} && slow.exchange.error != Errno{}) return interrupted;
    auto answer = answer_of<T>(checked(slow.exchange.result(), tag));
    if (interrupted != Errno{} && !answer) return interrupted;
    return answer;
  }

  // A fid number to name in a request that binds it (newfid). Give it back with free_fid() if the
  // request failed, and with clunk() or drop() once it is bound.
  Result<Fid> alloc_fid() { return alloc_fids(1); }
  // `count` numbers in a row.
  Result<Fid> alloc_fids(uint32_t count);
  void free_fid(Fid fid) { fids_.give_back(static_cast<uint32_t>(fid)); }
  // Tclunk now. The fid is gone whatever the result, which is that of the last write of an xattr.
  Result<void> clunk(Fid fid);
  // Never blocks: the fid is clunked together with others by a later call() or flush_drops().
  void drop(Fid fid) { dropped_.push_back(fid); }
  void flush_drops();
  size_t fids_in_use() const { return fids_.in_use(); }

 private:
  static constexpr size_t kDropBatch = 64;

  template <typename T>
  Result<Answer<typename T::Reply>> call_now(const T& request) {
    const Tag tag = TRY(take_tag());
    return answer_of<T>(exchange(encode(tag, request), tag));
  }
  template <typename T>
  static Result<Answer<typename T::Reply>> answer_of(Result<Reply> got) {
    Reply reply = TRY(std::move(got));
    Answer<typename T::Reply> answer{std::move(reply.frame), {}, {}, {}};
    answer.msg = TRY(decode<typename T::Reply>(answer.frame));
    if constexpr (requires { T::Reply::kManyFds; }) {
      answer.fds = std::move(reply.fds);
    } else {
      if (reply.fds.size() > 1) return Errno{EPROTO};
      if (!reply.fds.empty()) answer.fd = std::move(reply.fds.front());
    }
    return answer;
  }
  template <typename T>
  friend class Begun;
  void begin_one(SlowExchange& e) {
    SlowExchange* const one = &e;
    channel_.begin({&one, 1});
  }
  Result<Tag> take_tag();
  // Gives the tag back; turns Rlerror into its errno.
  Result<Reply> exchange(std::vector<std::byte> frame, Tag tag);
  void exchange_all(std::span<Exchange> all);
  Result<Reply> checked_round_trip(std::vector<std::byte> frame, Tag tag);
  Result<Reply> checked(Result<Reply> reply, Tag tag);
  Result<void> start_ring();
  // EPROTONOSUPPORT if the server does not want it.
  Result<void> try_version(std::string_view version);

  Channel& channel_;
  ClientOptions options_;
  IdPool fids_;
  IdPool tags_;
  std::vector<Fid> dropped_;
  uint32_t msize_ = kMinMsize;
  uint64_t caps_ = 0;
  bool dialect_ = false;
  bool lost_ = false;
};

template <typename T>
Begun<T>::~Begun() {
  if (!slow_.answered) {
    client_.channel_.forget(slow_);
  } else if (!taken_) {
    static_cast<void>(take());
  }
}

template <typename T>
void Begun<T>::wait() {
  while (!slow_.answered) client_.channel_.wait(slow_);
}

template <typename T>
Result<Answer<typename T::Reply>> Begun<T>::take() {
  taken_ = true;
  client_.tags_.give_back(static_cast<uint32_t>(slow_.exchange.tag));
  return Client::answer_of<T>(client_.checked(slow_.exchange.result(), slow_.exchange.tag));
}

}  // namespace run9::p9
