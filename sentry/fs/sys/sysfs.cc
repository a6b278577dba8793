#include "sentry/fs/sys/sysfs.h"

#include <fmt/format.h>
#include <sys/sysmacros.h>

#include <algorithm>

#include "sentry/fs/sys/static_fs.h"
#include "sentry/task/kernel.h"
#include "vfs/tmpfs/tmpfs.h"

namespace run9::sentry {
namespace {

constexpr uint64_t kSysfsMagic = 0x62656572, kCgroupMagic = 0x27e0eb, kCgroup2Magic = 0x63677270;
constexpr int kMaxCpus = 8192;  // NR_CPUS of distributions' kernels

std::string range_of(int cpus) { return cpus == 1 ? "0\n" : fmt::format("0-{}\n", cpus - 1); }

// "ff,ffffffff": words of 32 bits, highest first.
std::string mask_of(int first, int cpus) {
  std::string t;
  for (int word = (first + cpus - 1) / 32; word >= 0; --word) {
    uint32_t bits = 0;
    for (int i = 0; i < 32; ++i) {
      const int cpu = word * 32 + i;
      if (cpu >= first && cpu < first + cpus) bits |= uint32_t{1} << i;
    }
    t += t.empty() ? fmt::format("{:x}", bits) : fmt::format(",{:08x}", bits);
  }
  return t + "\n";
}

void add_cpus(StaticFs& fs, int cpus) {
  const std::string base = "devices/system/cpu/";
  for (const char* name : {"online", "possible", "present"}) fs.add_file(base + name, range_of(cpus));
  fs.add_file(base + "offline", "\n");
  fs.add_file(base + "isolated", "\n");
  fs.add_file(base + "kernel_max", fmt::format("{}\n", kMaxCpus - 1));
  fs.add_file(base + "smt/active", "0\n");
  fs.add_file(base + "smt/control", "notsupported\n");
  for (int i = 0; i < cpus; ++i) {
    const std::string cpu = fmt::format("{}cpu{}/", base, i);
    // As cpuinfo says: one package, one thread a core.
    fs.add_file(cpu + "topology/core_id", fmt::format("{}\n", i));
    fs.add_file(cpu + "topology/physical_package_id", "0\n");
    fs.add_file(cpu + "topology/die_id", "0\n");
    fs.add_file(cpu + "topology/core_cpus", mask_of(i, 1));
    fs.add_file(cpu + "topology/core_cpus_list", fmt::format("{}\n", i));
    fs.add_file(cpu + "topology/thread_siblings", mask_of(i, 1));
    fs.add_file(cpu + "topology/thread_siblings_list", fmt::format("{}\n", i));
    fs.add_file(cpu + "topology/core_siblings", mask_of(0, cpus));
    fs.add_file(cpu + "topology/core_siblings_list", range_of(cpus));
    fs.add_file(cpu + "topology/package_cpus", mask_of(0, cpus));
    fs.add_file(cpu + "topology/package_cpus_list", range_of(cpus));
    fs.add_link(cpu + "node0", "../../node/node0");
  }
}

void add_node(StaticFs& fs, Kernel& kernel, int cpus) {
  const std::string base = "devices/system/node/";
  for (const char* name : {"online", "possible", "has_cpu", "has_memory", "has_normal_memory"}) {
    fs.add_file(base + name, "0\n");
  }
  fs.add_file(base + "node0/cpulist", range_of(cpus));
  fs.add_file(base + "node0/cpumap", mask_of(0, cpus));
  fs.add_file(base + "node0/distance", "10\n");
  fs.add_file(base + "node0/meminfo", [&kernel] {
    const uint64_t limit = kernel.options().limits.memory;
    const uint64_t total = limit != 0 ? limit : uint64_t{4} << 30;
    const uint64_t used = std::min(total, kernel.charged_memory());
    return fmt::format("Node 0 MemTotal:       {:8} kB\nNode 0 MemFree:        {:8} kB\n"
                       "Node 0 MemUsed:        {:8} kB\n",
                       total / 1024, (total - used) / 1024, used / 1024);
  });
  for (int i = 0; i < cpus; ++i) {
    fs.add_link(fmt::format("{}node0/cpu{}", base, i), fmt::format("../../cpu/cpu{}", i));
  }
}

std::string all_pids(Kernel& kernel) {
  std::string t;
  for (const auto& [pid, p] : kernel.processes()) {
    if (!p->zombie) t += fmt::format("{}\n", pid);
  }
  return t;
}

std::string all_tids(Kernel& kernel) {
  std::string t;
  for (const auto& [pid, p] : kernel.processes()) {
    for (Task* task : p->tasks) t += fmt::format("{}\n", task->tid());
  }
  return t;
}

}  // namespace

Result<vfs::FileSystemRef> make_sysfs(Kernel& kernel, vfs::OpContext& ctx, std::string_view,
                                      std::string_view) {
  auto fs = StaticFs::create("sysfs", kSysfsMagic, kernel.next_dev(), ctx.now());
  const int cpus = std::clamp(kernel.options().cpus, 1, kMaxCpus);
  add_cpus(*fs, cpus);
  add_node(*fs, kernel, cpus);
  fs->add_file("kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n");
  fs->add_file("kernel/mm/transparent_hugepage/defrag", "always defer defer+madvise [madvise] never\n");
  fs->add_file("kernel/mm/transparent_hugepage/shmem_enabled",
               "always within_size advise [never] deny force\n");
  fs->add_file("kernel/mm/transparent_hugepage/hpage_pmd_size", "2097152\n");
  fs->add_file("kernel/mm/transparent_hugepage/use_zero_page", "1\n");
  for (const char* dir : {"block", "bus", "class/block", "class/mem", "class/misc", "class/net", "class/tty",
                          "dev/block", "dev/char", "devices/virtual/net", "devices/virtual/tty", "firmware",
                          "fs/cgroup", "hypervisor", "kernel/debug", "kernel/mm/hugepages",
                          "kernel/security", "module", "power"}) {
    fs->add_dir(dir);
  }
  return vfs::FileSystemRef(std::move(fs));
}

Result<vfs::FileSystemRef> make_cgroup(Kernel& kernel, vfs::OpContext& ctx, std::string_view,
                                       std::string_view) {
  auto fs = StaticFs::create("cgroup", kCgroupMagic, kernel.next_dev(), ctx.now());
  fs->add_file("cgroup.procs", [&kernel] { return all_pids(kernel); }, 0444);
  fs->add_file("tasks", [&kernel] { return all_tids(kernel); }, 0444);
  return vfs::FileSystemRef(std::move(fs));
}

Result<vfs::FileSystemRef> make_cgroup2(Kernel& kernel, vfs::OpContext& ctx, std::string_view,
                                        std::string_view) {
  auto fs = StaticFs::create("cgroup2", kCgroup2Magic, kernel.next_dev(), ctx.now());
  fs->add_file("cgroup.controllers", std::string("\n"));
  fs->add_file("cgroup.subtree_control", std::string());
  fs->add_file("cgroup.max.depth", std::string("max\n"));
  fs->add_file("cgroup.max.descendants", std::string("max\n"));
  fs->add_file("cgroup.stat", std::string("nr_descendants 0\nnr_dying_descendants 0\n"));
  fs->add_file("cgroup.procs", [&kernel] { return all_pids(kernel); }, 0444);
  fs->add_file("cgroup.threads", [&kernel] { return all_tids(kernel); }, 0444);
  return vfs::FileSystemRef(std::move(fs));
}

Result<vfs::FileSystemRef> make_devtmpfs(Kernel& kernel, vfs::OpContext& ctx, std::string_view,
                                         std::string_view data) {
  auto options = TRY(vfs::parse_tmpfs_options(data, kernel.options().limits.memory));
  if (data.find("mode=") == data.npos) options.mode = 0755;
  auto fs = vfs::make_tmpfs(options, ctx.now());
  fs->set_dev(kernel.next_dev());
  struct Node {
    const char* name;
    uint32_t mode;
    unsigned major, minor;
  };
  for (const Node& n : {Node{"null", 0666, 1, 3}, {"zero", 0666, 1, 5}, {"full", 0666, 1, 7},
                        {"random", 0666, 1, 8}, {"urandom", 0666, 1, 9}, {"tty", 0666, 5, 0},
                        {"console", 0600, 5, 1}}) {
    TRY(fs->root()->mknod(ctx, n.name, S_IFCHR | n.mode, makedev(n.major, n.minor)));
  }
  for (const char* dir : {"pts", "shm", "mqueue"}) TRY(fs->root()->mkdir(ctx, dir, 0755));
  const std::pair<const char*, const char*> links[] = {{"ptmx", "pts/ptmx"},
                                                       {"fd", "/proc/self/fd"},
                                                       {"stdin", "/proc/self/fd/0"},
                                                       {"stdout", "/proc/self/fd/1"},
                                                       {"stderr", "/proc/self/fd/2"}};
  for (const auto& [name, target] : links) TRY(fs->root()->symlink(ctx, name, target));
  return fs;
}

Result<vfs::FileSystemRef> make_mqueue(Kernel& kernel, vfs::OpContext& ctx, std::string_view,
                                       std::string_view) {
  auto fs = vfs::make_tmpfs({}, ctx.now());
  fs->set_dev(kernel.next_dev());
  return fs;
}

}  // namespace run9::sentry
