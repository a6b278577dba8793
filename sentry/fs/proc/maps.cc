// /proc/PID/maps and smaps. Which pages are in memory is the host's to know: Rss and its kin count
// everything that is mapped and accessible, so they are upper bounds.
#include <elf.h>
#include <sys/auxv.h>
#include <sys/sysmacros.h>

#include "sentry/fs/anon.h"
#include "sentry/fs/proc/proc_fs.h"

namespace run9::sentry {
namespace {

bool touched(const Vma& v) { return v.prot != PROT_NONE && !v.no_reserve; }

std::string escaped_newlines(const std::string& name) {
  std::string out;
  for (const char c : name) {
    if (c == '\n') out += "\\012";
    else out += c;
  }
  return out;
}

std::string map_line(View& view, uint64_t start, const Vma& v) {
  uint64_t dev = 0, ino = 0;
  std::string name = v.name;
  if (v.file != nullptr) {
    dev = v.file->inode().fs().dev();
    ino = v.file->inode().ino();
    name = escaped_newlines(display_name(view.kernel, v.file->path(), view.root()));
  }
  std::string line = fmt::format(
      "{:08x}-{:08x} {}{}{}{} {:08x} {:02x}:{:02x} {} ", start, v.end, (v.prot & PROT_READ) ? 'r' : '-',
      (v.prot & PROT_WRITE) ? 'w' : '-', (v.prot & PROT_EXEC) ? 'x' : '-', v.shared ? 's' : 'p',
      v.file != nullptr ? v.file_offset : 0, gnu_dev_major(dev), gnu_dev_minor(dev), ino);
  if (!name.empty()) {
    // Names begin in column 74.
    if (line.size() < 73) line.append(73 - line.size(), ' ');
    line += name;
  }
  return line + '\n';
}

// The vDSO is in no list: it lies above the guest's own addresses, a copy of the host's image and as long.
std::string vdso_line(View& view) {
  const uint64_t at = view.kernel.platform().vdso();
  const auto* own = reinterpret_cast<const Elf64_Ehdr*>(getauxval(AT_SYSINFO_EHDR));
  if (at == 0 || own == nullptr) return "";
  const auto* ph = reinterpret_cast<const Elf64_Phdr*>(reinterpret_cast<uintptr_t>(own) + own->e_phoff);
  Vma v;
  v.name = "[vdso]";
  v.prot = PROT_READ | PROT_EXEC;
  for (int i = 0; i < own->e_phnum; ++i) {
    if (ph[i].p_type == PT_LOAD) v.end = at + (ph[i].p_memsz + kPage - 1) / kPage * kPage;
  }
  return map_line(view, at, v);
}

struct Sizes {
  uint64_t rss = 0, shared = 0, dirty = 0, anonymous = 0, locked = 0;
  void add(const Vma& v, uint64_t size) {
    if (v.locked) locked += size;
    if (!touched(v)) return;
    rss += size;
    if (v.shared) {
      shared += size;
    } else if ((v.prot & PROT_WRITE) != 0) {
      dirty += size;
      anonymous += size;
    }
  }
};

std::string amount(std::string_view name, uint64_t bytes) {
  return fmt::format("{:<16}{:8} kB\n", name, bytes / 1024);
}

std::string size_lines(const Sizes& s) {
  std::string t = amount("Rss:", s.rss) + amount("Pss:", s.rss) + amount("Pss_Dirty:", s.dirty);
  t += amount("Shared_Clean:", s.shared) + amount("Shared_Dirty:", 0);
  t += amount("Private_Clean:", s.rss - s.shared - s.dirty) + amount("Private_Dirty:", s.dirty);
  t += amount("Referenced:", s.rss) + amount("Anonymous:", s.anonymous);
  for (const char* none : {"KSM:", "LazyFree:", "AnonHugePages:", "ShmemPmdMapped:", "FilePmdMapped:",
                           "Shared_Hugetlb:", "Private_Hugetlb:", "Swap:", "SwapPss:"}) {
    t += amount(none, 0);
  }
  return t + amount("Locked:", s.locked);
}

std::string flag_line(const Vma& v) {
  std::string t = "VmFlags:";
  if (v.prot & PROT_READ) t += " rd";
  if (v.prot & PROT_WRITE) t += " wr";
  if (v.prot & PROT_EXEC) t += " ex";
  if (v.shared) t += " sh";
  t += " mr mw me";
  if (v.shared) t += " ms";
  if (v.grows_down) t += " gd";
  if (v.locked) t += " lo";
  if (v.dont_fork) t += " dc";
  if (v.wipe_on_fork) t += " wf";
  if (v.no_reserve) t += " nr";
  return t + " \n";
}

}  // namespace

uint64_t resident_bytes(const MemoryManager& memory) {
  uint64_t n = 0;
  for (const auto& [start, v] : memory.vmas()) {
    if (touched(v)) n += v.end - start;
  }
  return n;
}

Result<std::string> text_maps(View& view) {
  std::string text;
  if (view.task == nullptr) return text;
  for (const auto& [start, v] : view.task->memory().vmas()) text += map_line(view, start, v);
  return text + vdso_line(view);
}

Result<std::string> text_smaps(View& view) {
  std::string text;
  if (view.task == nullptr) return text;
  for (const auto& [start, v] : view.task->memory().vmas()) {
    const uint64_t size = v.end - start;
    Sizes s;
    s.add(v, size);
    text += map_line(view, start, v) + amount("Size:", size) + amount("KernelPageSize:", 4096) +
            amount("MMUPageSize:", 4096) + size_lines(s) +
            fmt::format("{:<16}{:8}\n", "THPeligible:", 0) + flag_line(v);
  }
  return text;
}

Result<std::string> text_smaps_rollup(View& view) {
  if (view.task == nullptr) return Errno{ESRCH};
  Sizes s;
  uint64_t first = 0, last = 0;
  for (const auto& [start, v] : view.task->memory().vmas()) {
    if (first == 0) first = start;
    last = v.end;
    s.add(v, v.end - start);
  }
  std::string line = fmt::format("{:08x}-{:08x} ---p 00000000 00:00 0 ", first, last);
  line.append(line.size() < 73 ? 73 - line.size() : 0, ' ');
  return line + "[rollup]\n" + size_lines(s);
}

}  // namespace run9::sentry
