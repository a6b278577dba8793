// The kinds of inodes that proc is made of, and the tables that say what is where. A table row names a
// path below its directory ("sys/kernel/hostname"); directories come from the paths. Texts are made when
// a file is read from its start, and stay as they are until somebody does that again.
#pragma once
#include <fmt/format.h>

#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "sentry/task/kernel.h"
#include "vfs/file.h"
#include "vfs/inode.h"

namespace run9::sentry {

class ProcFs;

// Whom a file is about. Both are empty for what is about the whole system.
struct Subject {
  std::weak_ptr<Process> process;
  std::weak_ptr<Task> task;  // the leader, or the one of task/TID; empty for a zombie
  int32_t pid = 0, tid = 0;
  bool thread = false;  // below task/
};

// What a row's functions get.
struct View {
  ProcFs& fs;
  Kernel& kernel;
  vfs::OpContext& ctx;           // who looks
  ProcessRef process;            // null: the system's
  std::shared_ptr<Task> task;    // null: the system's, or a zombie's
  bool thread = false;
  std::string_view path;         // of the row
  vfs::Path root() const;        // of who looks
};

struct ProcRow;
using TextFn = Result<std::string> (*)(View&);
using WriteFn = Result<void> (*)(View&, std::string_view);
using JumpFn = Result<vfs::Path> (*)(View&);
using InodeFn = vfs::InodeRef (*)(ProcFs&, const Subject&, const ProcRow&);

struct ProcRow {
  std::string_view path;
  uint32_t mode;            // with the type
  TextFn text = nullptr;    // of a file, or of a link that is only text
  WriteFn write = nullptr;
  JumpFn jump = nullptr;    // of a magic link
  InodeFn make = nullptr;   // of what has a class of its own
  bool guarded = false;     // needs the rights of ptrace(2)
  bool process_only = false;
};
using ProcTable = std::span<const ProcRow>;

// ESRCH when it is gone.
Result<View> resolve(ProcFs& fs, const Subject& subject, vfs::OpContext& ctx);
// __ptrace_may_access(): same ids and dumpable, or CAP_SYS_PTRACE. EACCES.
Result<void> may_inspect(View& view);
uint64_t proc_ino(const Subject& subject, std::string_view path);

class ProcInode : public vfs::Inode {
 public:
  ProcInode(ProcFs& fs, Subject subject, std::string_view path, uint32_t mode);
  Result<vfs::Stat> getattr(vfs::OpContext&) override;
  Result<void> setattr(vfs::OpContext&, const vfs::SetAttr&) override;
  ProcFs& proc() const;
  const Subject& subject() const { return subject_; }

 protected:
  Subject subject_;
  uint32_t mode_;
};

// A file or link of a row.
class RowInode final : public ProcInode {
 public:
  RowInode(ProcFs& fs, Subject subject, const ProcRow& row);
  Result<vfs::FileRef> open(vfs::OpContext&, const vfs::Path& self, uint32_t flags) override;
  Result<std::string> readlink(vfs::OpContext&) override;
  Result<std::string> follow(vfs::OpContext&, vfs::Path& jump) override;
  const ProcRow& row() const { return row_; }

 private:
  const ProcRow& row_;  // tables are static
};

class ProcDir : public ProcInode {
 public:
  struct Child {
    uint64_t position;  // ascending; a listing goes on after the one it gave last
    std::string name;
    uint64_t ino;
    uint8_t type;  // DT_*
  };
  using ProcInode::ProcInode;
  virtual Result<std::vector<Child>> list(vfs::OpContext&) = 0;
  // Linux' proc_lookup fails where other file systems give a negative entry: making a name is ENOENT too.
  Result<vfs::InodeRef> create(vfs::OpContext&, std::string_view, uint32_t) override { return Errno{ENOENT}; }
  Result<vfs::InodeRef> mkdir(vfs::OpContext&, std::string_view, uint32_t) override { return Errno{ENOENT}; }
  Result<vfs::InodeRef> mknod(vfs::OpContext&, std::string_view, uint32_t, uint64_t) override {
    return Errno{ENOENT};
  }
  Result<vfs::InodeRef> symlink(vfs::OpContext&, std::string_view, std::string_view) override {
    return Errno{ENOENT};
  }
  Result<void> link(vfs::OpContext&, std::string_view, vfs::Inode&) override { return Errno{ENOENT}; }
  Result<vfs::FileRef> open(vfs::OpContext&, const vfs::Path& self, uint32_t flags) override;
};

// A directory of a table: the rows whose path begins with `prefix`.
class TreeDir : public ProcDir {
 public:
  TreeDir(ProcFs& fs, Subject subject, ProcTable table, std::string prefix, uint32_t mode);
  Result<vfs::InodeRef> lookup(vfs::OpContext&, std::string_view name) override;
  Result<std::vector<Child>> list(vfs::OpContext&) override;
  bool is_top() const { return prefix_.empty(); }

 private:
  bool shown(const ProcRow& row) const { return !row.process_only || !subject_.thread; }
  ProcTable table_;
  std::string prefix_;  // "" or "sys/kernel/"
};

// The whole number in a name or a written text; -1 if it is none.
int64_t parse_number(std::string_view text);
std::string_view trimmed(std::string_view text);

}  // namespace run9::sentry
