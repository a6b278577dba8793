// Remote: one connection to a server, with an attached root, and paths instead of fids. What fails is told to the
// Reporter here, where the path is known; callers only pass the errno on.
#pragma once
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cli/report.h"
#include "p9/client.h"
#include "p9/transport/blocking_channel.h"

namespace run9::cli {

struct ConnectOptions {
  std::string address;
  std::string aname;
  std::string uname;
  uint32_t uid = 0;
  uint32_t msize = 128 * 1024;
  bool plain = false;  // 9P2000.L even where the server knows the dialect
  std::chrono::milliseconds timeout{0};
};

// A fid that is clunked, together with others, some time after this goes.
class Held {
 public:
  Held() = default;
  Held(p9::Client& client, p9::Fid fid) : client_(&client), fid_(fid) {}
  Held(Held&& o) noexcept : client_(std::exchange(o.client_, nullptr)), fid_(o.fid_) {}
  Held& operator=(Held&& o) noexcept {
    std::swap(client_, o.client_);
    std::swap(fid_, o.fid_);
    return *this;
  }
  ~Held() {
    if (client_ != nullptr) client_->drop(fid_);
  }
  p9::Fid fid() const { return fid_; }
  // Somebody else clunks it.
  p9::Fid release() {
    client_ = nullptr;
    return fid_;
  }
  // Tclunk now, for its result.
  Result<void> close() { return std::exchange(client_, nullptr)->clunk(fid_); }

 private:
  p9::Client* client_ = nullptr;
  p9::Fid fid_{};
};

// Attributes: Rgetattr has no views into a frame.
using Attr = p9::Rgetattr;

struct Entry {
  std::string name;
  p9::Qid qid;
  uint8_t type = 0;  // DT_*
  std::optional<Attr> attr;
};

enum class Follow { kNo, kYes };  // the last symbolic link
enum class WithAttr { kNo, kYes };

// A walked file, and where it really is.
struct Place {
  Held held;
  p9::Qid qid;
  std::vector<std::string> names;
  p9::Fid fid() const { return held.fid(); }
};
// A directory, and the name of something that is or shall be in it.
struct Slot {
  Place dir;
  std::string name;
};

class Remote {
 public:
  static Result<std::unique_ptr<Remote>> connect(const ConnectOptions& options, Reporter& report);
  ~Remote();
  p9::Client& client() { return *client_; }
  p9::BlockingChannel& channel() { return *channel_; }
  Reporter& report() { return report_; }
  p9::Fid root() const { return root_; }

  Result<Place> walk(std::string_view path, Follow follow);
  Result<Slot> slot(std::string_view path);
  // One name below a directory; symbolic links are not followed. Tells nobody.
  Result<Held> child(p9::Fid dir, std::string_view name);
  // Another fid of the same file, unopened.
  Result<Held> clone(p9::Fid fid) { return child(fid, {}); }
  // Tells nobody.
  Result<Held> open(p9::Fid fid, p9::OpenFlags flags);

  Result<Attr> attr(p9::Fid fid);
  Result<std::string> read_link(p9::Fid fid);
  // Also at servers that know nothing but Tremove (diod 1.0). Tells nobody.
  Result<void> unlink_at(p9::Fid dir, const std::string& name, bool is_dir);
  // Without "." and "..", sorted by name.
  Result<std::vector<Entry>> entries(p9::Fid dir, WithAttr with_attr);

 private:
  explicit Remote(Reporter& report) : report_(report) {}
  Result<Held> walk_names(p9::Fid from, std::span<const std::string> names, std::vector<p9::Qid>* qids);
  Result<void> read_plain(p9::Fid dir, std::vector<Entry>& out);
  Result<void> read_with_attr(p9::Fid dir, std::vector<Entry>& out);
  Result<void> add_attr(p9::Fid dir, std::span<Entry> part);

  Reporter& report_;
  std::unique_ptr<p9::BlockingChannel> channel_;
  std::unique_ptr<p9::Client> client_;
  p9::Fid root_{};
  p9::Qid root_qid_;
};

// "a//b/./c" as its names; ".." stays.
std::vector<std::string> split_path(std::string_view path);

}  // namespace run9::cli
