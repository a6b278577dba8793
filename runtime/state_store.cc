#include "runtime/state_store.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/array.hpp>
#include <cstring>
#include <sstream>

#include "runtime/config.h"
#include "runtime/json_reader.h"

namespace run9::runtime {
namespace {

namespace json = boost::json;

constexpr std::string_view kStatusNames[] = {"creating", "created", "running", "stopped", "paused"};

json::object to_json(const HostProcess& p) {
  return {{"pid", p.pid}, {"startTime", p.start_time}};
}

HostProcess read_process_id(const JsonNode& node) {
  HostProcess p;
  p.pid = static_cast<pid_t>(node.member("pid").integer(0, INT32_MAX));
  p.start_time = node.member("startTime").unsigned_integer();
  return p;
}

std::string to_text(const ContainerState& s) {
  json::object annotations;
  for (const auto& [k, v] : s.annotations) annotations[k] = v;
  json::array cgroups;
  for (const auto& c : s.cgroups) cgroups.emplace_back(c);
  return json::serialize(json::object{{"id", s.id},
                                      {"bundle", s.bundle},
                                      {"rootfs", s.rootfs},
                                      {"ociVersion", s.oci_version},
                                      {"created", s.created},
                                      {"owner", s.owner},
                                      {"status", status_name(s.status)},
                                      {"sentry", to_json(s.sentry)},
                                      {"gofer", to_json(s.gofer)},
                                      {"keeper", to_json(s.keeper)},
                                      {"cgroups", cgroups},
                                      {"annotations", annotations},
                                      {"terminal", s.terminal}}) +
         "\n";
}

Expected<ContainerState> from_text(const std::string& file, std::string_view text) {
  JsonReader reader = TRY(JsonReader::create(file, text));
  const JsonNode root = reader.root();
  ContainerState s;
  s.id = root.required("id", "delete the container with --force").string();
  s.bundle = root.member("bundle").string();
  s.rootfs = root.member("rootfs").string();
  s.oci_version = root.member("ociVersion").string();
  s.created = root.member("created").string();
  s.owner = root.member("owner").string();
  const std::string status = root.member("status").string();
  for (size_t i = 0; i < std::size(kStatusNames); ++i) {
    if (kStatusNames[i] == status) s.status = static_cast<Status>(i);
  }
  s.sentry = read_process_id(root.member("sentry"));
  s.gofer = read_process_id(root.member("gofer"));
  s.keeper = read_process_id(root.member("keeper"));
  s.cgroups = root.member("cgroups").strings();
  root.member("annotations").each_member([&](std::string_view k, JsonNode n) {
    s.annotations[std::string(k)] = n.string();
  });
  s.terminal = root.member("terminal").boolean();
  if (reader.failure()) return *reader.failure();
  return s;
}

Expected<void> make_directories(const std::string& path) {
  for (size_t at = 1; at != std::string::npos;) {
    at = path.find('/', at);
    const std::string part = path.substr(0, at);
    if (mkdir(part.c_str(), 0700) != 0 && errno != EEXIST) {
      return fail("making {}: {}; choose a directory that you may write with --root", part,
                  describe(last_errno()));
    }
    if (at != std::string::npos) ++at;
  }
  return ok();
}

// In /tmp somebody else may have been first.
Expected<void> check_ours(const std::string& root) {
  struct stat st {};
  TRY(check(lstat(root.c_str(), &st), "{}", root));
  if (S_ISDIR(st.st_mode) && st.st_uid == geteuid() && (st.st_mode & 022) == 0) return ok();
  return fail("{}: not a directory of ours that nobody else may write; choose another with --root", root);
}

sockaddr_un socket_address(const UniqueFd& dir, const char* name) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  fmt::format_to_n(address.sun_path, sizeof address.sun_path - 1, "/proc/self/fd/{}/{}", dir.get(), name);
  return address;
}

}  // namespace

std::string_view status_name(Status s) { return kStatusNames[static_cast<int>(s)]; }

Expected<void> check_container_id(std::string_view id) {
  const bool shaped =
      !id.empty() && id.size() <= 255 && id != "." && id != ".." &&
      std::all_of(id.begin(), id.end(), [](unsigned char c) {
        return std::isalnum(c) != 0 || c == '_' || c == '+' || c == '-' || c == '.';
      });
  if (shaped) return ok();
  return fail("{} is no container id; use letters, digits and \"_+-.\", at most 255", quoted(id));
}

Expected<StateDir> StateDir::create(const std::string& root, const std::string& id) {
  TRY(check_container_id(id));
  TRY(make_directories(root));
  TRY(check_ours(root));
  const std::string path = root + "/" + id;
  if (mkdir(path.c_str(), 0700) != 0) {
    if (errno == EEXIST) {
      return fail("container {} exists already; delete it, or choose another id", quoted(id));
    }
    return fail("making {}: {}", path, describe(last_errno()));
  }
  return open(root, id);
}

Expected<StateDir> StateDir::open(const std::string& root, const std::string& id) {
  TRY(check_container_id(id));
  std::string path = root + "/" + id;
  auto fd = take_fd(::open(path.c_str(), O_DIRECTORY | O_CLOEXEC));
  if (!fd) {
    if (fd.error() == Errno{ENOENT}) {
      return fail("container {} does not exist (in {}); \"run9 list\" shows those that do", quoted(id), root);
    }
    return fail("{}: {}", path, describe(fd.error()));
  }
  return StateDir(std::move(path), std::move(fd).assume_value());
}

Expected<UniqueFd> StateDir::lock(int timeout_ms) const {
  constexpr int kStepMs = 10;
  UniqueFd fd = TRY(explain(take_fd(openat(fd_.get(), "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600)),
                            "{}/lock", path_));
  for (int waited = 0; flock(fd.get(), LOCK_EX | LOCK_NB) != 0; waited += kStepMs) {
    if (errno != EWOULDBLOCK && errno != EINTR) return fail("{}/lock: {}", path_, describe(last_errno()));
    if (waited >= timeout_ms) return fail("{}: another run9 command is at work on it; try again", path_);
    poll(nullptr, 0, kStepMs);
  }
  return fd;
}

Expected<void> write_atomically(BorrowedFd dir, const std::string& name, std::string_view text) {
  const std::string temporary = fmt::format(".{}.{}", name, getpid());
  UniqueFd fd = TRY(explain(
      take_fd(openat(dir.get(), temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644)),
      "writing {}", name));
  while (!text.empty()) {
    const ssize_t n = write(fd.get(), text.data(), text.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      const Errno e = last_errno();
      unlinkat(dir.get(), temporary.c_str(), 0);
      return fail("writing {}: {}", name, describe(e));
    }
    text.remove_prefix(static_cast<size_t>(n));
  }
  TRY(check(renameat(dir.get(), temporary.c_str(), dir.get(), name.c_str()), "renaming to {}", name));
  return ok();
}

Expected<void> StateDir::save(const ContainerState& state) const {
  return write_atomically(fd_.borrow(), "state.json", to_text(state));
}

Expected<ContainerState> StateDir::load() const {
  const std::string file = path_ + "/state.json";
  const std::string text = TRY(read_text_file(file));
  return from_text(file, text);
}

Expected<void> StateDir::save_processes(const ContainerState& s) const {
  std::string text = fmt::format("{} {} {} {}\n", s.sentry.pid, s.sentry.start_time, s.gofer.pid, s.gofer.start_time);
  for (const auto& directory : s.cgroups) text += directory + "\n";
  return write_atomically(fd_.borrow(), "processes", text);
}

void StateDir::load_processes(ContainerState& s) const {
  const auto text = read_text_file(path_ + "/processes");
  if (!text) return;
  std::istringstream in(text.assume_value());
  HostProcess sentry, gofer;
  if (!(in >> sentry.pid >> sentry.start_time >> gofer.pid >> gofer.start_time)) return;
  s.sentry = sentry;
  s.gofer = gofer;
  std::string directory;
  in >> std::ws;
  while (std::getline(in, directory)) s.cgroups.push_back(directory);
}

Expected<void> StateDir::remove() const {
  DIR* dir = fdopendir(fcntl(fd_.get(), F_DUPFD_CLOEXEC, 3));
  if (dir == nullptr) return fail("{}: {}", path_, describe(last_errno()));
  rewinddir(dir);
  while (const dirent* e = readdir(dir)) {
    const std::string_view name = e->d_name;
    if (name == "." || name == "..") continue;
    if (unlinkat(fd_.get(), e->d_name, 0) != 0 && (errno == EISDIR || errno == EPERM)) {
      unlinkat(fd_.get(), e->d_name, AT_REMOVEDIR);
    }
  }
  closedir(dir);
  if (rmdir(path_.c_str()) != 0 && errno != ENOENT) {
    return fail("removing {}: {}", path_, describe(last_errno()));
  }
  return ok();
}

Expected<UniqueFd> StateDir::listen(const char* name) const {
  UniqueFd fd = TRY(explain(take_fd(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0)), "socket"));
  unlinkat(fd_.get(), name, 0);
  const sockaddr_un address = socket_address(fd_, name);
  TRY(check(bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address),
            "binding {}/{}", path_, name));
  TRY(check(::listen(fd.get(), 64), "listening at {}/{}", path_, name));
  return fd;
}

Expected<UniqueFd> StateDir::connect(const char* name) const {
  UniqueFd fd = TRY(explain(take_fd(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0)), "socket"));
  const sockaddr_un address = socket_address(fd_, name);
  TRY(check(::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address),
            "no sandbox answers at {}/{}", path_, name));
  return fd;
}

std::vector<std::string> list_containers(const std::string& root) {
  std::vector<std::string> out;
  DIR* dir = opendir(root.c_str());
  if (dir == nullptr) return out;
  while (const dirent* e = readdir(dir)) {
    if (e->d_name[0] != '.' && check_container_id(e->d_name)) out.emplace_back(e->d_name);
  }
  closedir(dir);
  std::sort(out.begin(), out.end());
  return out;
}

}  // namespace run9::runtime
