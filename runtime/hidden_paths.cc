#include "runtime/hidden_paths.h"

#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <functional>
#include <iterator>
#include <set>

#include "runtime/config.h"

namespace run9::runtime {
namespace {

constexpr uint32_t kFirstUserId = 1000;
constexpr std::string_view kSecretFiles[] = {
    "/etc/shadow", "/etc/shadow-",    "/etc/gshadow",      "/etc/gshadow-",
    "/etc/sudoers", "/etc/krb5.keytab", "/etc/security/opasswd"};
constexpr std::string_view kSecretDirectories[] = {"/etc/ssl/private", "/etc/sudoers.d",
    "/var/lib/private", "/lost+found"};
// Covered by the guest's own.
constexpr std::string_view kCovered[] = {"/proc", "/sys", "/dev", "/run", "/tmp"};

struct Account {
  uint32_t uid = 0;
  std::string home;
};

// /etc/passwd by hand: NSS needs shared libraries, which a static program had better not load.
std::vector<Account> read_accounts() {
  std::vector<Account> out;
  const auto text = read_text_file("/etc/passwd");
  if (!text) return out;
  std::string_view rest = text.assume_value();
  while (!rest.empty()) {
    std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(line.size() + 1, rest.size()));
    std::vector<std::string_view> fields;
    for (size_t colon = 0; colon != std::string_view::npos;) {
      colon = line.find(':');
      fields.push_back(line.substr(0, colon));
      if (colon != std::string_view::npos) line.remove_prefix(colon + 1);
    }
    Account a;
    if (fields.size() < 6) continue;
    std::from_chars(fields[2].data(), fields[2].data() + fields[2].size(), a.uid);
    a.home = fields[5];
    out.push_back(std::move(a));
  }
  return out;
}

std::vector<std::string> entries(const std::string& directory) {
  std::vector<std::string> out;
  DIR* dir = opendir(directory.c_str());
  if (dir == nullptr) return out;
  while (const dirent* e = readdir(dir)) {
    if (e->d_name[0] != '.') out.push_back(directory + "/" + e->d_name);
  }
  closedir(dir);
  return out;
}

// A home that is "/" or a system directory hides more than it should.
bool is_home(const std::string& path) {
  struct stat st {};
  return is_below(path, "/home") || path == "/root" ||
         (std::count(path.begin(), path.end(), '/') >= 2 && !is_below(path, "/usr") && !is_below(path, "/var/run") &&
          !is_below(path, "/dev") && lstat(path.c_str(), &st) == 0 && S_ISDIR(st.st_mode));
}

}  // namespace

bool is_below(std::string_view path, std::string_view dir) {
  if (dir == "/") return path.starts_with('/');
  return path.starts_with(dir) && (path.size() == dir.size() || path[dir.size()] == '/');
}

HiddenPaths hidden_paths(const std::string& cwd, const std::vector<std::string>& expose) {
  std::set<std::string> directories{"/root"};
  std::set<std::string> files(std::begin(kSecretFiles), std::end(kSecretFiles));
  for (const auto& path : entries("/etc/ssh")) {
    if (path.ends_with("_key")) files.insert(path);
  }
  for (const auto& home : entries("/home")) directories.insert(home);
  std::string own;
  for (const Account& a : read_accounts()) {
    if (a.uid == geteuid()) own = a.home;
    else if (a.uid >= kFirstUserId && a.uid < 65534 && is_home(a.home)) directories.insert(a.home);
  }
  // An ordinary user's own home is what the command works on; root's is a store of keys.
  if (geteuid() != 0) std::erase_if(directories, [&](const auto& d) { return d == own; });
  directories.insert(std::begin(kSecretDirectories), std::end(kSecretDirectories));
  const auto wanted = [&](const std::string& hidden) {
    const auto meets = [&](const std::string& p) { return is_below(p, hidden) || is_below(hidden, p); };
    return is_below(cwd, hidden) || std::any_of(expose.begin(), expose.end(), meets);
  };
  HiddenPaths out;
  std::copy_if(files.begin(), files.end(), std::back_inserter(out.files), std::not_fn(wanted));
  std::copy_if(directories.begin(), directories.end(), std::back_inserter(out.directories), std::not_fn(wanted));
  out.directories.insert(out.directories.end(), std::begin(kCovered), std::end(kCovered));
  // What is not there needs no hiding, and the gofer complains about it.
  std::erase_if(out.directories, [](const std::string& d) {
    struct stat st {};
    return lstat(d.c_str(), &st) != 0 || !S_ISDIR(st.st_mode);
  });
  return out;
}

}  // namespace run9::runtime
