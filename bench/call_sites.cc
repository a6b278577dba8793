// run9-call-sites static FILE...        the `syscall` instructions in these programs and libraries
// run9-call-sites run COMMAND ARG...    those that COMMAND and what it starts execute, natively, and how often
//
// Asks the patcher itself which of them a sandbox would patch, so that the answer is true after each change to it.
// One line for each kind of site or for each site, fields between tabs: `bench/call-sites` makes tables of them.
#include <elf.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>
#include <memory>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "sentry/platform/trap/patcher.h"
#include "sentry/platform/trap/stub_abi.h"

namespace run9::bench {
namespace {

using sentry::trap::PatchedImage;
using sentry::trap::PatchedSite;
using sentry::trap::TextPatcher;

[[noreturn]] void die(const std::string& what) {
  std::fprintf(stderr, "run9-call-sites: %s: %s\n", what.c_str(), std::strerror(errno));
  std::exit(1);
}

uint32_t load32(const uint8_t* p) {
  uint32_t v;
  memcpy(&v, p, sizeof v);
  return v;
}

// What stands around the `syscall` at p. 15 bytes before it and 16 behind it can be read.
std::string before(const uint8_t* p) {
  if (p[-5] == 0xb8 && load32(p - 4) < 1024) return "mov $nr,%eax";
  if (p[-7] == 0x48 && p[-6] == 0xc7 && p[-5] == 0xc0 && load32(p - 4) < 1024) return "mov $nr,%rax";
  if ((p[-2] == 0x31 || p[-2] == 0x33) && p[-1] == 0xc0) return "xor %eax,%eax";
  if (p[-2] == 0x89 && (p[-1] & 0xc7) == 0xc0) return "mov %reg,%rax";
  for (int back = 6; back <= 15; ++back) {
    if (p[-back] == 0xb8 && load32(p - back + 1) < 1024) return "mov $nr,%eax; ...";
  }
  return "...";
}

std::string behind(const uint8_t* p) {
  p += 2;
  if (p[0] == 0x48 && p[1] == 0x3d && p[3] == 0xf0 && p[4] == 0xff) {
    return p[2] == 1 ? "cmp $-4095,%rax" : "cmp $-4096,%rax";
  }
  if (p[0] == 0x3d && p[2] == 0xf0 && p[3] == 0xff) return "cmp $-4096,%eax";
  if (p[0] == 0x48 && p[1] == 0x85 && p[2] == 0xc0) return "test %rax,%rax";
  if (p[0] == 0x85 && p[1] == 0xc0) return "test %eax,%eax";
  if (p[0] == 0x83 && p[1] == 0xf8) return "cmp $n,%eax";
  if (p[0] == 0xc3) return "ret";
  if (p[0] == 0x89 || (p[0] == 0x48 && p[1] == 0x89) || (p[0] == 0x49 && p[1] == 0x89)) return "mov %rax,...";
  return "...";
}

struct Verdict {
  std::string shape;
  std::string state;  // "patched", or why not
};

// The executable part [offset, offset + length) of a file.
class Text {
 public:
  Text(TextPatcher& patcher, const std::string& path, uint64_t offset, uint64_t length) : offset_(offset) {
    const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) die(path);
    bytes_.resize(length + kMargin);  // zeroes behind the end
    const ssize_t n = pread(fd, bytes_.data(), length, static_cast<off_t>(offset));
    if (n < 0) die(path);
    size_ = static_cast<size_t>(n);
    image_ = patcher.image_of(BorrowedFd(fd), offset, length);
    close(fd);
    for (const PatchedSite& s : sentry::trap::find_sites(bytes_.data(), size_)) fitting_.insert(place(s));
  }

  std::vector<uint64_t> syscalls() const {
    std::vector<uint64_t> found;
    for (size_t i = kMargin; i + 2 <= size_; ++i) {
      if (bytes_[i] == 0x0f && bytes_[i + 1] == 0x05) found.push_back(offset_ + i);
    }
    return found;
  }

  Verdict judge(uint64_t file_offset) const {
    const uint64_t at = file_offset - offset_;
    if (at < kMargin || at >= size_) return {"", "at the edge"};
    Verdict v{before(&bytes_[at]) + "; syscall; " + behind(&bytes_[at]), "patched"};
    const PatchedSite* site = image_ ? image_->site_at(at) : nullptr;
    if (site == nullptr || place(*site) != at) v.state = fitting_.contains(at) ? "file not taken" : "shape";
    return v;
  }

 private:
  static constexpr size_t kMargin = 16;
  // Where a site's `syscall` is.
  static uint64_t place(const PatchedSite& s) { return s.offset + s.length - 2u; }

  uint64_t offset_;
  std::vector<uint8_t> bytes_;
  size_t size_ = 0;
  std::shared_ptr<const PatchedImage> image_;
  std::set<uint64_t> fitting_;  // shapes that the patcher knows
};

int list_static(TextPatcher& patcher, char** files) {
  for (; *files != nullptr; ++files) {
    std::ifstream in(*files, std::ios::binary);
    Elf64_Ehdr header;
    if (!in.read(reinterpret_cast<char*>(&header), sizeof header) || memcmp(header.e_ident, ELFMAG, SELFMAG) != 0) {
      errno = ENOEXEC;
      die(*files);
    }
    std::map<std::pair<std::string, std::string>, int> kinds;
    for (int i = 0; i < header.e_phnum; ++i) {
      Elf64_Phdr segment;
      in.seekg(static_cast<std::streamoff>(header.e_phoff + static_cast<uint64_t>(i) * sizeof segment));
      in.read(reinterpret_cast<char*>(&segment), sizeof segment);
      if (segment.p_type != PT_LOAD || (segment.p_flags & PF_X) == 0) continue;
      const uint64_t start = segment.p_offset & ~uint64_t{4095};
      const Text text(patcher, *files, start, (segment.p_offset + segment.p_filesz - start + 4095) & ~uint64_t{4095});
      for (uint64_t at : text.syscalls()) {
        const Verdict v = text.judge(at);
        ++kinds[{v.shape, v.state}];
      }
    }
    for (const auto& [kind, count] : kinds) {
      std::printf("%d\t%s\t%s\t%s\n", count, *files, kind.first.c_str(), kind.second.c_str());
    }
  }
  return 0;
}

struct Mapping {
  uint64_t end, offset;
  std::string path;
};
using Mappings = std::map<uint64_t, Mapping>;  // executable ones, by address

Mappings read_mappings(pid_t tid) {
  Mappings found;
  std::ifstream in("/proc/" + std::to_string(tid) + "/maps");
  for (std::string line; std::getline(in, line);) {
    std::istringstream fields(line);
    std::string range, rights, offset, device, inode, path;
    fields >> range >> rights >> offset >> device >> inode >> path;
    if (rights.size() < 3 || rights[2] != 'x') continue;
    const size_t dash = range.find('-');
    found[std::stoull(range, nullptr, 16)] = {std::stoull(range.substr(dash + 1), nullptr, 16),
                                              std::stoull(offset, nullptr, 16), path};
  }
  return found;
}

// Follows a command and everything that it starts from call to call.
class Tracer {
 public:
  explicit Tracer(TextPatcher& patcher) : patcher_(patcher) {}

  int run(char** argv) {
    const pid_t child = fork();
    if (child == 0) become(argv);
    int status = 0;
    if (waitpid(child, &status, 0) != child || !WIFSTOPPED(status)) die("the child did not stop");
    constexpr long kOptions = PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACEEXEC |
                              PTRACE_O_TRACESECCOMP | PTRACE_O_EXITKILL;
    if (ptrace(PTRACE_SETOPTIONS, child, nullptr, kOptions) != 0) die("PTRACE_SETOPTIONS");
    ptrace(PTRACE_CONT, child, nullptr, nullptr);
    for (pid_t tid; (tid = waitpid(-1, &status, __WALL)) > 0;) {
      if (WIFSTOPPED(status)) on_stop(tid, status);
    }
    for (const auto& [site, count] : counts_) std::printf("%llu\t%s\n", count, site.c_str());
    return 0;
  }

 private:
  [[noreturn]] static void become(char** argv) {
    ptrace(PTRACE_TRACEME, 0, nullptr, nullptr);
    raise(SIGSTOP);
    sock_filter trace = {BPF_RET | BPF_K, 0, 0, SECCOMP_RET_TRACE};
    const sock_fprog program = {1, &trace};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) {
      die("prctl");
    }
    execvp(argv[0], argv);
    die(argv[0]);
  }

  void on_stop(pid_t tid, int status) {
    const int event = status >> 16, signo = WSTOPSIG(status);
    long deliver = 0;
    if (event == PTRACE_EVENT_EXEC) {
      started_ = true;
      mappings_.clear();
    } else if (event == PTRACE_EVENT_SECCOMP) {
      if (started_) on_call(tid);
    } else if (event == 0 && signo != SIGTRAP && !(signo == SIGSTOP && known_.insert(tid).second)) {
      deliver = signo;  // but for the stop that every new thread begins with
    }
    ptrace(PTRACE_CONT, tid, nullptr, deliver);
  }

  void on_call(pid_t tid) {
    user_regs_struct r;
    if (ptrace(PTRACE_GETREGS, tid, nullptr, &r) != 0) return;
    ++counts_[describe(tid, r.rip - 2)];
    constexpr unsigned long kMmap = 9;
    if (r.orig_rax == kMmap && (r.rdx & PROT_EXEC) != 0) mappings_.clear();
  }

  const Mapping* find(pid_t tid, uint64_t address, uint64_t* start) {
    const Mappings& m = mappings_[tid];
    auto it = m.upper_bound(address);
    if (it == m.begin() || address >= (--it)->second.end) return nullptr;
    *start = it->first;
    return &it->second;
  }

  // path, offset, shape, state
  std::string describe(pid_t tid, uint64_t address) {
    uint64_t start = 0;
    const Mapping* m = find(tid, address, &start);
    if (m == nullptr) {
      mappings_[tid] = read_mappings(tid);
      m = find(tid, address, &start);
    }
    if (m == nullptr || m->path.empty()) return "-\t-\t-\tcode made at run time";
    if (m->path[0] == '[') return m->path + "\t-\t-\tvDSO";
    auto& text = texts_[m->path + "@" + std::to_string(m->offset)];
    if (!text) text = std::make_unique<Text>(patcher_, m->path, m->offset, m->end - start);
    const uint64_t offset = address - start + m->offset;
    const Verdict v = text->judge(offset);
    char hex[32];
    std::snprintf(hex, sizeof hex, "%#lx", offset);
    return m->path + "\t" + hex + "\t" + v.shape + "\t" + v.state;
  }

  TextPatcher& patcher_;
  bool started_ = false;
  std::set<pid_t> known_;
  std::map<pid_t, Mappings> mappings_;
  std::map<std::string, std::unique_ptr<Text>> texts_;
  std::map<std::string, unsigned long long> counts_;
};

}  // namespace
}  // namespace run9::bench

int main(int argc, char** argv) {
  auto patcher = run9::sentry::trap::TextPatcher::create();
  if (!patcher.has_value()) run9::bench::die("no memory for the patcher");
  const std::string mode = argc > 2 ? argv[1] : "";
  if (mode == "static") return run9::bench::list_static(patcher.value(), argv + 2);
  if (mode == "run") return run9::bench::Tracer(patcher.value()).run(argv + 2);
  std::fprintf(stderr, "usage: run9-call-sites static FILE... | run COMMAND ARG...\n");
  return 2;
}
