#include "sentry/fs/proc/proc_fs.h"

#include <dirent.h>

#include <algorithm>

namespace run9::sentry {
namespace {

// Where the processes begin in a listing; the system's rows come first.
constexpr uint64_t kFirstProcess = 100'000;

Subject subject_of(const ProcessRef& p, Task* task, bool thread) {
  Subject s;
  s.process = p;
  s.pid = p->pid;
  s.tid = task != nullptr ? task->tid() : p->pid;
  if (task != nullptr) s.task = task->weak_from_this();
  s.thread = thread;
  return s;
}

class RootDir final : public TreeDir {
 public:
  explicit RootDir(ProcFs& fs) : TreeDir(fs, {}, system_rows(), "", S_IFDIR | 0555) {}

  Result<vfs::InodeRef> lookup(vfs::OpContext& ctx, std::string_view name) override {
    const int64_t pid = name.front() == '0' ? -1 : parse_number(name);
    if (pid <= 0 || pid > INT32_MAX) return TreeDir::lookup(ctx, name);
    Kernel& kernel = proc().kernel();
    if (const auto p = kernel.find_process(static_cast<int32_t>(pid))) {
      return make_process_dir(proc(), subject_of(p, p->leader, false));
    }
    // A thread has a directory that is not listed.
    Task* task = kernel.find_task(static_cast<int32_t>(pid));
    if (task == nullptr) return Errno{ENOENT};
    return make_process_dir(proc(), subject_of(task->process_ref(), task, false));
  }

  Result<std::vector<Child>> list(vfs::OpContext& ctx) override {
    auto children = TRY(TreeDir::list(ctx));
    for (const auto& [pid, p] : proc().kernel().processes()) {
      children.push_back({kFirstProcess + static_cast<uint64_t>(pid), std::to_string(pid),
                          proc_ino(subject_of(p, p->leader, false), ""), DT_DIR});
    }
    return children;
  }
};

class TaskDir final : public ProcDir {
 public:
  using ProcDir::ProcDir;

  Result<vfs::InodeRef> lookup(vfs::OpContext&, std::string_view name) override {
    const auto p = subject_.process.lock();
    const int64_t tid = parse_number(name);
    if (p == nullptr || tid <= 0 || tid > INT32_MAX) return Errno{ENOENT};
    for (Task* t : p->tasks) {
      if (t->tid() != tid) continue;
      return vfs::InodeRef(std::make_shared<TreeDir>(proc(), subject_of(p, t, true), process_rows(),
                                                     "", S_IFDIR | 0555));
    }
    return Errno{ENOENT};
  }

  Result<std::vector<Child>> list(vfs::OpContext&) override {
    const auto p = subject_.process.lock();
    if (p == nullptr) return Errno{ENOENT};
    std::vector<Child> children;
    for (Task* t : p->tasks) {
      children.push_back({static_cast<uint64_t>(t->tid()), std::to_string(t->tid()),
                          proc_ino(subject_of(p, t, true), ""), DT_DIR});
    }
    std::sort(children.begin(), children.end(),
              [](const Child& a, const Child& b) { return a.position < b.position; });
    return children;
  }

  Result<vfs::Stat> getattr(vfs::OpContext& ctx) override {
    auto st = TRY(ProcInode::getattr(ctx));
    if (const auto p = subject_.process.lock()) st.nlink += static_cast<uint32_t>(p->tasks.size());
    return st;
  }
};

}  // namespace

vfs::InodeRef make_process_dir(ProcFs& fs, const Subject& s) {
  return std::make_shared<TreeDir>(fs, s, process_rows(), "", S_IFDIR | 0555);
}

vfs::InodeRef make_task_dir(ProcFs& fs, const Subject& s, const ProcRow& row) {
  return std::make_shared<TaskDir>(fs, s, row.path, row.mode);
}

std::shared_ptr<ProcFs> ProcFs::create(Kernel& kernel) {
  std::shared_ptr<ProcFs> fs(new ProcFs(kernel));
  fs->set_dev(kernel.next_dev());
  fs->root_ = std::make_shared<RootDir>(*fs);
  return fs;
}

// hidepid, gid, subset: accepted as Linux does; everything is shown to everybody all the same.
Result<vfs::FileSystemRef> make_proc(Kernel& kernel, vfs::OpContext&, std::string_view,
                                     std::string_view) {
  return vfs::FileSystemRef(ProcFs::create(kernel));
}

ProcessRef process_of_proc_dir(const vfs::File& file) {
  const auto* dir = dynamic_cast<const TreeDir*>(&file.inode());
  if (dir == nullptr || !dir->is_top() || dir->subject().thread) return nullptr;
  return dir->subject().process.lock();
}

}  // namespace run9::sentry
