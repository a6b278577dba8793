#include "sentry/task/name_answers.h"

#include <sys/random.h>

#include <functional>
#include <utility>
#include <vector>

#include "sentry/platform/told_stat.h"
#include "sentry/syscalls/meta.h"
#include "sentry/task/kernel.h"
#include "sentry/task/task.h"
#include "vfs/permission.h"
#include "vfs/told_names.h"

namespace run9::sentry {
namespace {

uint64_t secret_for(const NameSecrets& secrets, std::string_view path) { return path.front() == '/' ? secrets.of_root : secrets.here; }

}  // namespace

NameAnswers::NameAnswers(Kernel& kernel) : kernel_(kernel) { draw_key(); }

void NameAnswers::draw_key() {
  if (getrandom(key_.data(), sizeof key_, 0) != sizeof key_) key_ = {};
}

void NameAnswers::renew() {
  draw_key();
  last_ = {};
  if (kernel_.has_mounts()) kernel_.mounts().told().drop();
  kernel_.each_task([](Task& t) { t.identity_changed(); });
}

bool NameAnswers::same_rights(const vfs::Credentials& a, const vfs::Credentials& b) {
  return a.fsuid == b.fsuid && a.fsgid == b.fsgid && a.cap_effective == b.cap_effective && a.groups == b.groups;
}

// By what decides what a walk finds. A directory's address is its own as long as anything is told of it: ToldNames keeps it.
uint64_t NameAnswers::secret(const vfs::Credentials& creds, const vfs::Path& root, const vfs::Path& start) const {
  std::vector<uint64_t> all{creds.fsuid, creds.fsgid, creds.cap_effective, reinterpret_cast<uint64_t>(root.dentry.get()),
                            static_cast<uint64_t>(root.mount->id), reinterpret_cast<uint64_t>(start.dentry.get()),
                            static_cast<uint64_t>(start.mount->id)};
  all.insert(all.end(), creds.groups.begin(), creds.groups.end());
  return name_hash(key_[0], key_[1], reinterpret_cast<const char*>(all.data()), all.size() * sizeof all[0]) | 1;
}

NameSecrets NameAnswers::secrets_of(const Task& task) {
  if (key_[0] == 0 || !kernel_.platform().tells_names() || task.process().asks_for_names) return {};
  // access(2) goes by the real ids, all else by the others.
  if (!vfs::acts_by_real_ids(task.creds())) return {};
  const vfs::FsContext& fs = task.fs();
  if (!fs.root.mount || !fs.cwd.mount) return {};
  const bool same = last_.creds == task.creds_ref() && last_.root == fs.root.dentry.get() && last_.cwd == fs.cwd.dentry.get() &&
                    last_.root_mount == fs.root.mount->id && last_.cwd_mount == fs.cwd.mount->id;
  if (!same) {
    last_ = {task.creds_ref(), fs.root.dentry.get(), fs.cwd.dentry.get(), fs.root.mount->id, fs.cwd.mount->id,
             {secret(task.creds(), fs.root, fs.root), secret(task.creds(), fs.root, fs.cwd)}};
  }
  return last_.secrets;
}

void NameAnswers::note_vain(uint16_t& asked) {
  if ((asked & kInVain) != kInVain) ++asked;
}

// Names that are asked for once are not worth it.
uint16_t* NameAnswers::asked_before(Asked& asked, uint64_t secret, std::string_view path) {
  const size_t h = std::hash<std::string_view>{}(path) ^ secret;
  const auto part = static_cast<uint16_t>(h >> 48 & ~size_t{kInVain});
  uint16_t& entry = asked[h % asked.size()];
  if (entry > part && entry < part + kInVain) return &entry;
  if (entry != part + kInVain) entry = part + 1;
  return nullptr;
}

std::optional<Result<vfs::Path>> NameAnswers::walk_told(Task& task, std::string_view path, bool follow, std::optional<uint32_t> record) {
  vfs::ToldNames& told = task.mounts().told();
  const vfs::FsContext& fs = task.fs();
  const uint64_t before = told.voids();
  const vfs::Path start = path.front() == '/' ? fs.root : fs.cwd;
  if (!told.tell(fs.root) || !told.tell(start)) return std::nullopt;
  auto found = task.mounts().walk_told(task, fs, start, path, follow ? uint32_t{vfs::kFollow} : 0, record);
  if (told.voids() != before) return std::nullopt;
  return found;
}

uint32_t NameAnswers::facts(Task& task, std::string_view path, const NameCall& call) {
  const auto walked = walk_told(task, path, call.follow, std::nullopt);
  if (!walked) return 0;
  const auto& found = *walked;
  if (found) return call.readlink && !found.value().inode()->is_symlink() ? kNoLink : 0;
  if (found.error() != Errno{ENOENT}) return 0;
  return kNobodyThere | (call.follow ? 0 : kNoName);
}

void NameAnswers::failed(Task& task, uint64_t number, const std::array<uint64_t, 6>& args, Errno error) {
  if (error != Errno{ENOENT} && error != Errno{EINVAL}) return;
  NameCall call;
  if (!name_call(number, args.data(), call) || (error == Errno{EINVAL} && !call.readlink) || task.watched()) return;
  const NameSecrets secrets = secrets_of(task);
  if (secrets.of_root == 0) return;
  const auto read = task.memory().read_path(UserString{args[call.path]});
  if (!read || read.value().empty() || read.value().size() > kMostOfName) return;
  const std::string& path = read.value();
  const bool absolute = path.front() == '/';
  if (!absolute && !begins_here(call, args.data())) return;
  const uint64_t secret = secret_for(secrets, path);
  uint16_t* const asked = asked_before(failed_, secret, path);
  if (asked == nullptr) return;
  const uint32_t said = facts(task, path, call);
  // The walk may have waited, and who may do what may be another matter now.
  if (said == 0 || secrets_of(task) != secrets) {
    note_vain(*asked);
  } else {
    kernel_.platform().tell_of_name(secret, path, said);
  }
}

void NameAnswers::found(Task& task, std::string_view path, bool follow, const vfs::Inode& what) {
  if (path.empty() || path.size() > kMostOfName || !task.has_context() || task.watched() || !task.mounts().told().may_tell_attributes(what)) return;
  const NameSecrets secrets = secrets_of(task);
  if (secrets.of_root == 0) return;
  uint16_t* const asked = asked_before(found_, secret_for(secrets, path) + (follow ? 1 : 0), path);
  if (asked != nullptr && !tell_stat(task, secrets, path, follow)) note_vain(*asked);
}

bool NameAnswers::tell_stat(Task& task, const NameSecrets& secrets, std::string_view path, bool follow) {
  vfs::ToldNames& told = task.mounts().told();
  Platform& platform = kernel_.platform();
  const uint64_t secret = secret_for(secrets, path), before = told.voids();
  const uint32_t record = platform.stat_record(secret, follow, path);
  const auto walked = walk_told(task, path, follow, record);
  if (!walked || !walked->has_value()) return false;
  const vfs::Path& at = walked->assume_value();
  if (!told.tell_attributes(at, record)) return false;
  const auto st = told_stat(task, at);
  if (!st.has_value() || told.voids() != before || !told.still_tells(at) || secrets_of(task) != secrets) return false;
  platform.tell_of_stat(record, secret, follow, path, st.value());
  return true;
}

}  // namespace run9::sentry
