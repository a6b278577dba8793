// proc: what the kernel tells of itself and of its tasks (proc(5)), all of it the sandbox's own facts.
#pragma once
#include <map>
#include <string>

#include "sentry/fs/proc/node.h"

namespace run9::sentry {

Result<vfs::FileSystemRef> make_proc(Kernel&, vfs::OpContext&, std::string_view source,
                                     std::string_view data);

// The process whose /proc/PID `file` has open; pidfd_send_signal(2) takes that for a pidfd. Null: it is none.
ProcessRef process_of_proc_dir(const vfs::File& file);

class ProcFs final : public vfs::FileSystem {
 public:
  static std::shared_ptr<ProcFs> create(Kernel& kernel);
  std::string_view type() const override { return "proc"; }
  vfs::InodeRef root() override { return root_; }
  vfs::Caching caching() const override { return vfs::Caching::kNone; }
  Result<vfs::StatFs> statfs(vfs::OpContext&) override { return vfs::StatFs{.type = 0x9fa0}; }
  Kernel& kernel() const { return kernel_; }
  // Settings that programs may change and that change nothing here (vm.swappiness), by path.
  std::map<std::string, std::string, std::less<>>& settings() { return settings_; }

 private:
  explicit ProcFs(Kernel& kernel) : kernel_(kernel) {}
  Kernel& kernel_;
  vfs::InodeRef root_;
  std::map<std::string, std::string, std::less<>> settings_;
};

// The tables.
ProcTable system_rows();   // /proc, without the processes
Result<std::string> text_net(View&);  // /proc/PID/net/*: net_rows.cc
ProcTable process_rows();  // /proc/PID and /proc/PID/task/TID

// Directories and files with classes of their own.
vfs::InodeRef make_fd_dir(ProcFs&, const Subject&, const ProcRow&);
vfs::InodeRef make_fdinfo_dir(ProcFs&, const Subject&, const ProcRow&);
vfs::InodeRef make_task_dir(ProcFs&, const Subject&, const ProcRow&);
vfs::InodeRef make_mem(ProcFs&, const Subject&, const ProcRow&);
vfs::InodeRef make_process_dir(ProcFs&, const Subject&);

// Facts that several files show.
uint64_t total_memory(Kernel& kernel);
uint64_t uptime_ns(Kernel& kernel);
uint64_t resident_bytes(const MemoryManager& memory);  // approximate: what is mapped and accessible
std::string cpu_info(Kernel& kernel);                  // cpuinfo.cc

// Texts, by file.
Result<std::string> text_mounts(View&);
Result<std::string> text_mountinfo(View&);
Result<std::string> text_mountstats(View&);
Result<std::string> text_maps(View&);
Result<std::string> text_smaps(View&);
Result<std::string> text_smaps_rollup(View&);
Result<std::string> text_stat(View&);
Result<std::string> text_statm(View&);
Result<std::string> text_status(View&);

}  // namespace run9::sentry
