#include "sentry/task/name_answers.h"

#include <sys/random.h>

#include <functional>
#include <utility>
#include <vector>

#include "sentry/task/kernel.h"
#include "sentry/task/task.h"
#include "vfs/permission.h"
#include "vfs/told_names.h"

namespace run9::sentry {

NameAnswers::NameAnswers(Kernel& kernel) : kernel_(kernel) {
  if (getrandom(key_.data(), sizeof key_, 0) != sizeof key_) key_ = {};
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

// Names that are asked for once are not worth it.
bool NameAnswers::seen_before(uint64_t secret, std::string_view path) {
  const size_t h = std::hash<std::string_view>{}(path) ^ secret;
  const auto part = static_cast<uint16_t>(h >> 48 | 1);
  return std::exchange(seen_[h % seen_.size()], part) == part;
}

uint32_t NameAnswers::facts(Task& task, std::string_view path, const NameCall& call) {
  vfs::ToldNames& told = task.mounts().told();
  const vfs::FsContext& fs = task.fs();
  const uint64_t before = told.drops();
  const vfs::Path start = path.front() == '/' ? fs.root : fs.cwd;
  if (!told.tell(fs.root) || !told.tell(start)) return 0;
  const auto found = task.mounts().walk(task, fs, start, path, vfs::kTold | (call.follow ? vfs::kFollow : 0));
  if (told.drops() != before) return 0;
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
  const uint64_t secret = absolute ? secrets.of_root : secrets.here;
  if (!seen_before(secret, path)) return;
  const uint32_t said = facts(task, path, call);
  // The walk may have waited, and who may do what may be another matter now.
  if (said == 0 || secrets_of(task) != secrets) return;
  kernel_.platform().tell_of_name(secret, path, said);
}

}  // namespace run9::sentry
