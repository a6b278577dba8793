#include "tests/syscalls/test_util.h"

#include <ftw.h>
#include <sys/auxv.h>
#include <sys/time.h>

namespace run9::guest {
namespace {

int remove_one(const char* path, const struct stat*, int, struct FTW*) {
  remove(path);
  return 0;
}

std::string& self_path_storage() {
  static std::string path;
  return path;
}

}  // namespace

void remove_tree(const std::string& path) {
  nftw(path.c_str(), remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

TempDir::TempDir() {
  const char* base = getenv("TMPDIR");
  path_ = std::string(base != nullptr ? base : "/tmp") + "/run9test.XXXXXX";
  if (mkdtemp(path_.data()) == nullptr) {
    perror(path_.c_str());
    abort();
  }
  chmod(path_.c_str(), 0755);
}

void write_file(const std::string& path, const std::string& content, mode_t mode) {
  Fd fd(open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode));
  ASSERT_GE(fd, 0) << path << ": " << errno_name(errno);
  ASSERT_EQ(static_cast<ssize_t>(content.size()), write(fd, content.data(), content.size()));
  ASSERT_EQ(0, fchmod(fd, mode));
}

std::string read_file(const std::string& path) {
  Fd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  std::string out;
  char buffer[4096];
  ssize_t n;
  while ((n = read(fd, buffer, sizeof(buffer))) > 0) out.append(buffer, n);
  return out;
}

Mapping mapping_at(const void* at, const std::string& process) {
  const auto address = reinterpret_cast<uintptr_t>(at);
  const std::string maps = read_file("/proc/" + process + "/maps");
  for (size_t line = 0; line < maps.size(); line = maps.find('\n', line) + 1) {
    Mapping m;
    char prot[5] = {}, name[200] = {};
    if (sscanf(maps.c_str() + line, "%lx-%lx %4s %lx %*s %*s%*[ ]%199[^\n]", &m.start, &m.end, prot, &m.offset, name) < 4) break;
    m.prot = prot;
    m.name = name;
    if (address >= m.start && address < m.end) return m;
  }
  return {};
}

int touch(const volatile void* p, bool write) {
  const int status = child_status([&] {
    auto* byte = static_cast<volatile char*>(const_cast<volatile void*>(p));
    if (write) *byte = 1;
    (void)*byte;
  });
  return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

bool exists(const std::string& path) {
  struct stat st;
  return lstat(path.c_str(), &st) == 0;
}

std::string DirTest::make_file(const std::string& name, const std::string& content,
                               mode_t mode) const {
  write_file(at(name), content, mode);
  return at(name);
}

Fd DirTest::open_file(const std::string& name, const std::string& content) const {
  write_file(at(name), content);
  return Fd(open(at(name).c_str(), O_RDWR | O_CLOEXEC));
}

void await_sleep(pid_t pid, pid_t tid) {
  const std::string path =
      "/proc/" + std::to_string(pid) + "/task/" + std::to_string(tid) + "/stat";
  for (int i = 0; i < 1000; ++i) {
    const std::string stat = read_file(path);
    const size_t paren = stat.rfind(')');
    if (paren == std::string::npos) return;
    const char state = stat[paren + 2];
    if (state == 'S' || state == 'Z') return;
    usleep(500);
  }
}

const std::string& self_path() { return self_path_storage(); }

std::string helper_path(const std::string& name) {
  return self_path().substr(0, self_path().rfind('/') + 1) + name;
}

AlarmStorm::AlarmStorm(int handler_flags)
    : handler_(
          SIGALRM, +[](int) {}, handler_flags) {
  const itimerval every = {{0, 2000}, {0, 2000}};
  setitimer(ITIMER_REAL, &every, nullptr);
}

AlarmStorm::~AlarmStorm() {
  const itimerval off = {};
  setitimer(ITIMER_REAL, &off, nullptr);
}

}  // namespace run9::guest

int main(int argc, char** argv) {
  using namespace run9::guest;
  if (char* real = realpath(reinterpret_cast<const char*>(getauxval(AT_EXECFN)), nullptr)) {
    self_path_storage() = real;
    free(real);
  }
  if (argc >= 2 && strcmp(argv[1], "--helper") == 0 && helper_main != nullptr)
    return helper_main(argc - 2, argv + 2);
  // What the starting program left ignored or blocked must not decide a test.
  for (int sig = 1; sig < 32; ++sig) signal(sig, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  umask(022);
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
