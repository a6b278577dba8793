#include "sentry/loader/loader.h"

#include <fcntl.h>
#include <linux/auxvec.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/random.h>

#include <algorithm>
#include <cstring>

#include "base/log.h"
#include "sentry/mm/bounds.h"

#ifndef AT_MINSIGSTKSZ
#define AT_MINSIGSTKSZ 51
#endif

namespace run9::sentry {
namespace {

constexpr uint64_t page_down(uint64_t n) { return n & ~(kPage - 1); }
constexpr uint64_t page_up(uint64_t n) { return page_down(n + kPage - 1); }
constexpr size_t kMaxArgBytes = 2 << 20;   // ARG_MAX as it is with the usual stack limit
constexpr size_t kMaxArgString = 128 << 10;  // MAX_ARG_STRLEN
constexpr int kMaxInterpreters = 5;

uint64_t random_pages(uint64_t pages) {
  uint64_t r = 0;
  if (getrandom(&r, sizeof r, 0) != sizeof r) return 0;
  return (r % pages) * kPage;
}

// Builds one program: the list of mappings first, all made in one hand-over, then the bytes.
class Builder {
 public:
  Builder(Kernel& kernel, Task& task, MemoryManager& mm) : kernel_(kernel), task_(task), mm_(mm) {}

  Result<uint64_t> add_image(vfs::FileRef file, const ElfImage& image, uint64_t bias);
  Result<void> add_stack(bool executable);
  Result<void> map() {
    TRY(mm_.space().map_all(requests_));
    for (const auto& [addr, length] : tails_) TRY(mm_.zero(addr, length));
    return ok();
  }
  // Arguments, environment and auxiliary vector; gives the stack pointer.
  Result<uint64_t> fill_stack(const ExecArgs& args, const ElfImage& image, uint64_t bias, uint64_t base,
                              bool secure);

 private:
  void add_anonymous(uint64_t start, uint64_t length, int prot, std::string name, bool no_reserve);

  Kernel& kernel_;
  Task& task_;
  MemoryManager& mm_;
  std::vector<MapRequest> requests_;
  std::vector<std::shared_ptr<UniqueFd>> keep_;
  std::vector<std::pair<uint64_t, uint64_t>> tails_;  // behind the file's bytes in its last page
  uint64_t stack_top_ = 0;
};

void Builder::add_anonymous(uint64_t start, uint64_t length, int prot, std::string name, bool no_reserve) {
  Vma v;
  v.end = start + length;
  v.prot = prot;
  v.name = std::move(name);
  v.no_reserve = no_reserve;
  mm_.record(start, std::move(v));
  MapRequest r;
  r.addr = start;
  r.length = length;
  r.prot = prot;
  r.extra_flags = no_reserve ? MAP_NORESERVE : 0;
  requests_.push_back(r);
}

Result<uint64_t> Builder::add_image(vfs::FileRef file, const ElfImage& image, uint64_t bias) {
  auto source = TRY(file->map_source(task_, false, false));
  if (source.fd == nullptr) return Errno{ENOEXEC};
  keep_.push_back(source.fd);
  for (const ElfSegment& s : image.segments) {
    const uint64_t start = page_down(s.vaddr) + bias;
    const uint64_t file_end = s.vaddr + s.filesz + bias;
    const uint64_t end = page_up(s.vaddr + s.memsz) + bias;
    uint64_t mapped_end = start;
    if (s.filesz != 0) {
      mapped_end = page_up(file_end);
      Vma v;
      v.end = mapped_end;
      v.prot = s.prot;
      v.file = file;
      v.file_offset = page_down(s.offset);
      v.backing = source.fd;
      v.backing_offset = source.offset + v.file_offset;
      MapRequest r;
      r.addr = start;
      r.length = mapped_end - start;
      r.prot = s.prot;
      r.fd = source.fd->borrow();
      r.offset = v.backing_offset;
      mm_.record(start, std::move(v));
      requests_.push_back(r);
      if (s.memsz > s.filesz && (s.prot & PROT_WRITE) && file_end < mapped_end) {
        tails_.emplace_back(file_end, mapped_end - file_end);
      }
    }
    if (end > mapped_end) add_anonymous(mapped_end, end - mapped_end, s.prot, "", false);
    if (s.prot & PROT_EXEC) {
      if (mm_.code_start == 0) mm_.code_start = s.vaddr + bias;
      mm_.code_end = std::max(mm_.code_end, file_end);
    }
  }
  return image.entry + bias;
}

Result<void> Builder::add_stack(bool executable) {
  const uint64_t limit = task_.process().limit(RLIMIT_STACK);
  const uint64_t size = limit > (64 << 20) ? (64 << 20) : std::max<uint64_t>(page_up(limit), 256 << 10);
  stack_top_ = kGuestEnd - kPage - random_pages(1 << 18);
  const int prot = PROT_READ | PROT_WRITE | (executable ? PROT_EXEC : 0);
  add_anonymous(stack_top_ - size, size, prot, "[stack]", true);
  // Room between the stack and the mappings, so that a stack that may grow no further is noticed.
  mm_.mmap_top = stack_top_ - size - (1 << 20) - random_pages(1 << 20);
  return ok();
}

Result<uint64_t> Builder::fill_stack(const ExecArgs& args, const ElfImage& image, uint64_t bias,
                                     uint64_t base, bool secure) {
  // From the top: strings, platform name, random bytes; then the vectors, 16-aligned.
  std::string strings;
  const auto put = [&](std::string_view s) {
    const size_t at = strings.size();
    strings.append(s);
    strings.push_back(0);
    return at;
  };
  std::vector<size_t> argv, envp;
  for (const auto& a : args.argv) argv.push_back(put(a));
  const size_t env_at = strings.size();
  for (const auto& e : args.envp) envp.push_back(put(e));
  const size_t env_end = strings.size();
  const size_t path_at = put(args.path);
  const size_t platform_at = put("x86_64");
  char random[16];
  if (getrandom(random, sizeof random, 0) != sizeof random) return last_errno();
  const size_t random_at = strings.size();
  strings.append(random, sizeof random);

  const uint64_t strings_addr = (stack_top_ - 16 - strings.size()) & ~uint64_t{15};
  const auto& c = task_.creds();
  std::vector<uint64_t> aux = {
      AT_HWCAP, getauxval(AT_HWCAP), AT_PAGESZ, kPage, AT_CLKTCK, 100,
      AT_PHDR, image.phdr_vaddr + bias, AT_PHENT, sizeof(Elf64_Phdr), AT_PHNUM, image.phnum,
      AT_BASE, base, AT_FLAGS, 0, AT_ENTRY, image.entry + bias,
      AT_UID, c.ruid, AT_EUID, c.euid, AT_GID, c.rgid, AT_EGID, c.egid, AT_SECURE, secure ? 1u : 0u,
      AT_RANDOM, strings_addr + random_at, AT_HWCAP2, getauxval(AT_HWCAP2),
      AT_EXECFN, strings_addr + path_at, AT_PLATFORM, strings_addr + platform_at,
      AT_MINSIGSTKSZ, getauxval(AT_MINSIGSTKSZ)};
  if (kernel_.platform().vdso() != 0) {
    aux.insert(aux.begin(), {AT_SYSINFO_EHDR, kernel_.platform().vdso()});
  }
  aux.insert(aux.end(), {AT_NULL, 0});

  std::vector<uint64_t> words;
  words.push_back(argv.size());
  for (size_t a : argv) words.push_back(strings_addr + a);
  words.push_back(0);
  for (size_t e : envp) words.push_back(strings_addr + e);
  words.push_back(0);
  words.insert(words.end(), aux.begin(), aux.end());
  const uint64_t sp = (strings_addr - words.size() * 8) & ~uint64_t{15};
  std::string image_of_stack(strings_addr - sp, 0);
  memcpy(image_of_stack.data(), words.data(), words.size() * 8);
  image_of_stack += strings;
  TRY(mm_.copy_out(sp, image_of_stack.data(), image_of_stack.size()));
  mm_.auxv = std::move(aux);
  mm_.stack_start = sp;
  mm_.arg_start = strings_addr;
  mm_.arg_end = mm_.env_start = strings_addr + env_at;
  mm_.env_end = strings_addr + env_end;
  return sp;
}

// "#! interpreter [argument]": gives the new path and argv (execve(2), "Interpreter scripts").
Result<bool> apply_script(std::string_view head, ExecArgs& args) {
  if (!head.starts_with("#!")) return false;
  const size_t end = head.find('\n');
  if (end == head.npos && head.size() == 256) return Errno{ENOEXEC};
  std::string_view line = head.substr(2, end == head.npos ? head.npos : end - 2);
  const auto trim = [](std::string_view s) {
    const size_t a = s.find_first_not_of(" \t"), b = s.find_last_not_of(" \t\r");
    return a == s.npos ? std::string_view{} : s.substr(a, b - a + 1);
  };
  line = trim(line);
  if (line.empty()) return Errno{ENOEXEC};
  const size_t space = line.find_first_of(" \t");
  const std::string interpreter(line.substr(0, space));
  std::vector<std::string> argv = {interpreter};
  if (space != line.npos) argv.emplace_back(trim(line.substr(space)));
  argv.push_back(args.path);
  if (args.argv.size() > 1) argv.insert(argv.end(), args.argv.begin() + 1, args.argv.end());
  args.argv = std::move(argv);
  args.path = interpreter;
  args.file = nullptr;
  return true;
}

Result<void> check_executable(Kernel& kernel, Task& task, const vfs::Path& path) {
  if (!path.inode()->is_regular()) return Errno{EACCES};
  if (path.mount->flags & vfs::kMntNoExec) return Errno{EACCES};
  TRY(kernel.mounts().access(task, path, 1));
  const auto st = TRY(kernel.mounts().stat(task, path));
  if ((st.mode & 0111) == 0) return Errno{EACCES};
  return ok();
}

Result<vfs::FileRef> resolve(Kernel& kernel, Task& task, const std::string& path) {
  auto& ns = kernel.mounts();
  const auto place = TRY(ns.walk(task, task.fs(), task.fs().cwd, path, vfs::kFollow | vfs::kOpenRead));
  TRY(check_executable(kernel, task, place));
  // Execute permission alone lets a program run: it is read with the kernel's own rights.
  return ns.open_path(kernel.context(), place, O_RDONLY);
}

Result<void> check_size(const ExecArgs& args) {
  size_t total = 0;
  for (const auto* list : {&args.argv, &args.envp}) {
    for (const auto& s : *list) {
      if (s.size() >= kMaxArgString) return Errno{E2BIG};
      total += s.size() + 1 + sizeof(uint64_t);
    }
  }
  if (total > kMaxArgBytes) return Errno{E2BIG};
  return ok();
}

}  // namespace

Result<LoadedProgram> load_program(Kernel& kernel, Task& task, ExecArgs args) {
  TRY(check_size(args));
  if (args.argv.empty()) args.argv.push_back("");  // Linux gives an empty argv[0] since 5.18
  LoadedProgram out;
  const std::string original = args.path;
  vfs::FileRef file = args.file;
  for (int depth = 0;; ++depth) {
    if (depth > kMaxInterpreters) return Errno{ELOOP};
    if (file == nullptr) {
      file = TRY(resolve(kernel, task, args.path));
    } else if (depth == 0) {
      TRY(check_executable(kernel, task, file->path()));
    }
    if (file->inode().written()) return Errno{ETXTBSY};
    if (depth == 0) out.executable = file;
    char head[256];
    const size_t n = TRY(file->pread(kernel.context(), std::as_writable_bytes(std::span(head)), 0));
    if (!TRY(apply_script({head, n}, args))) break;
    out.executable = nullptr;
    file = nullptr;
  }
  if (out.executable == nullptr) out.executable = file;
  const ElfImage image = TRY(read_elf(kernel.context(), *file));
  vfs::FileRef interpreter_file;
  ElfImage interpreter;
  if (!image.interpreter.empty()) {
    interpreter_file = TRY(resolve(kernel, task, image.interpreter));
    interpreter = TRY(read_elf(kernel.context(), *interpreter_file));
    if (!interpreter.interpreter.empty()) return Errno{ELIBBAD};
  }

  auto memory = std::make_shared<MemoryManager>(kernel, TRY(kernel.platform().create_address_space()));
  Builder builder(kernel, task, *memory);
  TRY(builder.add_stack(image.exec_stack));
  uint64_t bias = 0;
  if (image.pie) {
    const uint64_t align = std::max<uint64_t>(image.alignment, kPage);
    bias = (0x5555'5555'4000 + random_pages(1 << 22)) / align * align - image.low;
  }
  // Low addresses hold the platform's jump table, for one.
  if (image.low + bias < kMinAddress || image.high + bias > memory->mmap_top) return Errno{ENOMEM};
  uint64_t entry = TRY(builder.add_image(file, image, bias));
  memory->brk_start = memory->brk_end = image.high + bias + random_pages(1 << 13);
  uint64_t base = 0;
  if (interpreter_file != nullptr) {
    const uint64_t at = memory->pick_address(interpreter.high - interpreter.low);
    if (at == 0) return Errno{ENOMEM};
    base = at - interpreter.low;
    entry = TRY(builder.add_image(interpreter_file, interpreter, base));
  }
  memory->exe = file;
  memory->executes = std::make_shared<vfs::WriteAccess>();
  TRY(memory->executes->take(file->inode().shared_from_this(), vfs::WriteAccess::Kind::kExecutes));
  TRY(builder.map());
  Regs regs{};
  regs.rsp = TRY(builder.fill_stack(args, image, bias, base, false));
  regs.rip = entry;
  regs.eflags = 0x202;
  regs.cs = kUserCs, regs.ss = kUserSs;  // debuggers tell a 64-bit program by them
  regs.orig_rax = ~uint64_t{0};
  out.context = TRY(memory->space().first_thread(regs));
  out.memory = std::move(memory);
  const size_t slash = original.rfind('/');
  out.comm = (slash == original.npos ? original : original.substr(slash + 1)).substr(0, 15);
  return out;
}

}  // namespace run9::sentry
