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

constexpr uint64_t kMinArgBytes = 128 << 10;  // a quarter of the stack, but at least this, and at most kMaxArgBytes (execve(2))
constexpr size_t kMaxArgString = 128 << 10;  // MAX_ARG_STRLEN
constexpr int kMaxInterpreters = 5;

uint64_t random_pages(uint64_t pages) {
  uint64_t r = 0;
  if (getrandom(&r, sizeof r, 0) != sizeof r) return 0;
  return (r % pages) * kPage;
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

Result<void> check_size(const ExecArgs& args, uint64_t stack_limit) {
  size_t total = 0;
  for (const auto* list : {&args.argv, &args.envp}) {
    for (const auto& s : *list) {
      if (s.size() >= kMaxArgString) return Errno{E2BIG};
      total += s.size() + 1 + sizeof(uint64_t);
    }
  }
  if (total > std::clamp(stack_limit / 4, kMinArgBytes, kMaxArgBytes)) return Errno{E2BIG};
  return ok();
}

}  // namespace

Result<vfs::FileRef> open_executable(Kernel& kernel, Task& task, const std::string& path) {
  auto& ns = kernel.mounts();
  const auto place = TRY(ns.walk(task, task.fs(), task.fs().cwd, path, vfs::kFollow | vfs::kOpenRead));
  TRY(check_executable(kernel, task, place));
  // Execute permission alone lets a program run: it is read with the kernel's own rights.
  return ns.open_path(kernel.context(), place, O_RDONLY);
}

void Program::add_anonymous(uint64_t start, uint64_t length, int prot, std::string name, bool no_reserve) {
  Vma v;
  v.end = start + length;
  v.prot = prot;
  v.name = std::move(name);
  v.no_reserve = no_reserve;
  memory_->record(start, std::move(v));
  MapRequest r;
  r.addr = start;
  r.length = length;
  r.prot = prot;
  r.extra_flags = no_reserve ? MAP_NORESERVE : 0;
  requests_.push_back(r);
}

Result<uint64_t> Program::add_image(const vfs::FileRef& file, const ElfImage& image, uint64_t bias) {
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
      memory_->record(start, std::move(v));
      requests_.push_back(r);
      if (s.memsz > s.filesz && (s.prot & PROT_WRITE) && file_end < mapped_end) {
        tails_.emplace_back(file_end, mapped_end - file_end);
      }
    }
    if (end > mapped_end) add_anonymous(mapped_end, end - mapped_end, s.prot, "", false);
    if (s.prot & PROT_EXEC) {
      if (memory_->code_start == 0) memory_->code_start = s.vaddr + bias;
      memory_->code_end = std::max(memory_->code_end, file_end);
    }
  }
  if (image.relro_end != 0) memory_->expect_protect(image.relro_start + bias, image.relro_end + bias);
  return image.entry + bias;
}

void Program::add_stack(bool executable) {
  const uint64_t limit = task_.process().limit(RLIMIT_STACK);
  const uint64_t size = limit > (64 << 20) ? (64 << 20) : std::max<uint64_t>(page_up(limit), 256 << 10);
  stack_top_ = kGuestEnd - kPage - random_pages(1 << 18);
  const int prot = PROT_READ | PROT_WRITE | (executable ? PROT_EXEC : 0);
  add_anonymous(stack_top_ - size, size, prot, "[stack]", true);
  // Room between the stack and the mappings, so that a stack that may grow no further is noticed.
  memory_->mmap_top = stack_top_ - size - (1 << 20) - random_pages(1 << 20);
}

Result<uint64_t> Program::fill_stack() {
  // From the top: strings, platform name, random bytes; then the vectors, 16-aligned.
  std::string strings;
  const auto put = [&](std::string_view s) {
    const size_t at = strings.size();
    strings.append(s);
    strings.push_back(0);
    return at;
  };
  std::vector<size_t> argv, envp;
  for (const auto& a : args_.argv) argv.push_back(put(a));
  const size_t env_at = strings.size();
  for (const auto& e : args_.envp) envp.push_back(put(e));
  const size_t env_end = strings.size();
  const size_t path_at = put(args_.path);
  const size_t platform_at = put("x86_64");
  char random[16];
  if (getrandom(random, sizeof random, 0) != sizeof random) return last_errno();
  const size_t random_at = strings.size();
  strings.append(random, sizeof random);

  const uint64_t strings_addr = (stack_top_ - 16 - strings.size()) & ~uint64_t{15};
  const auto& c = creds_;
  const bool secure = c.euid != c.ruid || c.egid != c.rgid;
  std::vector<uint64_t> aux = {
      AT_HWCAP, getauxval(AT_HWCAP), AT_PAGESZ, kPage, AT_CLKTCK, 100,
      AT_PHDR, image_.phdr_vaddr + bias_, AT_PHENT, sizeof(Elf64_Phdr), AT_PHNUM, image_.phnum,
      AT_BASE, base_, AT_FLAGS, 0, AT_ENTRY, image_.entry + bias_,
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
  TRY(memory_->copy_out(sp, image_of_stack.data(), image_of_stack.size()));
  memory_->auxv = std::move(aux);
  memory_->stack_start = sp;
  memory_->arg_start = strings_addr;
  memory_->arg_end = memory_->env_start = strings_addr + env_at;
  memory_->env_end = strings_addr + env_end;
  return sp;
}

Result<Program> Program::find(Kernel& kernel, Task& task, ExecArgs args) {
  TRY(check_size(args, task.process().limit(RLIMIT_STACK)));
  if (args.argv.empty()) args.argv.push_back("");  // Linux gives an empty argv[0] since 5.18
  const size_t slash = args.path.rfind('/');
  std::string comm = (slash == args.path.npos ? args.path : args.path.substr(slash + 1)).substr(0, 15);
  vfs::FileRef file = args.file;
  for (int depth = 0;; ++depth) {
    if (depth > kMaxInterpreters) return Errno{ELOOP};
    if (file == nullptr) {
      file = TRY(open_executable(kernel, task, args.path));
    } else if (depth == 0) {
      TRY(check_executable(kernel, task, file->path()));
    }
    if (file->inode().written()) return Errno{ETXTBSY};
    char head[256];
    const size_t n = TRY(file->pread(kernel.context(), std::as_writable_bytes(std::span(head)), 0));
    if (!TRY(apply_script({head, n}, args))) break;
    file = nullptr;
  }
  Program p(kernel, task, std::move(args));
  p.comm_ = std::move(comm);
  p.image_ = TRY(read_elf(kernel.context(), *file));
  p.readable_ = kernel.mounts().access(task, file->path(), 4).has_value();
  p.file_ = std::move(file);
  if (!p.image_.interpreter.empty()) {
    p.interpreter_file_ = TRY(open_executable(kernel, task, p.image_.interpreter));
    p.interpreter_ = TRY(read_elf(kernel.context(), *p.interpreter_file_));
    if (!p.interpreter_.interpreter.empty()) return Errno{ELIBBAD};
  }
  return p;
}

Result<void> Program::lay_out(AddressSpaceRef space, vfs::Credentials creds) {
  memory_ = std::make_shared<MemoryManager>(kernel_, std::move(space));
  requests_.clear();
  keep_.clear();
  tails_.clear();
  creds_ = std::move(creds);
  add_stack(image_.exec_stack);
  if (image_.pie) {
    const uint64_t align = std::max<uint64_t>(image_.alignment, kPage);
    bias_ = (0x5555'5555'4000 + random_pages(1 << 22)) / align * align - image_.low;
  }
  // Low addresses hold the platform's jump table, for one.
  if (image_.low + bias_ < kMinAddress || image_.high + bias_ > memory_->mmap_top) return Errno{ENOMEM};
  entry_ = TRY(add_image(file_, image_, bias_));
  memory_->brk_start = memory_->brk_end = image_.high + bias_ + random_pages(1 << 13);
  if (interpreter_file_ != nullptr) {
    const uint64_t at = memory_->pick_address(interpreter_.high - interpreter_.low);
    if (at == 0) return Errno{ENOMEM};
    base_ = at - interpreter_.low;
    entry_ = TRY(add_image(interpreter_file_, interpreter_, base_));
  }
  memory_->exe = file_;
  memory_->executes = std::make_shared<vfs::WriteAccess>();
  return memory_->executes->take(file_->inode().shared_from_this(), vfs::WriteAccess::Kind::kExecutes);
}

Result<Regs> Program::map(Where where) {
  AddressSpace& space = memory_->space();
  TRY(where == Where::kOver ? space.start_over(requests_) : space.map_all(nullptr, requests_));
  for (const auto& [addr, length] : tails_) TRY(memory_->zero(addr, length));
  Regs regs{};
  regs.rsp = TRY(fill_stack());
  regs.rip = entry_;
  regs.eflags = 0x202;
  regs.cs = kUserCs, regs.ss = kUserSs;  // debuggers tell a 64-bit program by them
  regs.orig_rax = ~uint64_t{0};
  return regs;
}

}  // namespace run9::sentry
