#include "cli/report.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <boost/json/serialize.hpp>
#include <cstring>
#include <iterator>

namespace run9::cli {

namespace {

std::string_view usual_hint(Errno e) {
  switch (to_int(e)) {
    case EROFS: return "the server exports this tree read-only";
    case EISDIR: return "it is a directory: use -r";
    case ENOTEMPTY: return "the directory is not empty: rm -r removes what is in it too";
    case ELOOP: return "too many symbolic links on the way, or a circle of them";
    case EOPNOTSUPP: return "the server does not implement this operation";
    case EMSGSIZE: return "the request is larger than the agreed frame size: raise --msize";
    case EIO: return "the server failed, or the connection was lost; its log may say more";
    case EPROTO: return "the server's answer is not valid 9P2000.L; `p9 trace` shows the messages";
    case ESTALE: return "the file was replaced on the server meanwhile: try again";
    case ENFILE:
    case EMFILE: return "the server has no room for another open file";
    default: return {};
  }
}

std::string errno_name(Errno e) {
  const char* name = strerrorname_np(to_int(e));
  return name != nullptr ? name : std::to_string(to_int(e));
}

// The length of the valid UTF-8 sequence at the start of s, 0 if there is none.
size_t utf8_length(std::string_view s) {
  const auto at = [&](size_t i) { return static_cast<unsigned char>(s[i]); };
  const unsigned char lead = at(0);
  if (lead < 0x80) return 1;
  const size_t n = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
  if (lead < 0xc2 || lead > 0xf4 || s.size() < n) return 0;
  for (size_t i = 1; i < n; ++i) {
    if ((at(i) & 0xc0) != 0x80) return 0;
  }
  // Longer forms than needed, surrogates, and what is past U+10FFFF.
  const unsigned char second = at(1);
  if ((lead == 0xe0 && second < 0xa0) || (lead == 0xed && second >= 0xa0) ||
      (lead == 0xf0 && second < 0x90) || (lead == 0xf4 && second >= 0x90)) {
    return 0;
  }
  return n;
}

}  // namespace

Errno Reporter::fail(std::string_view what, std::string_view subject, Errno error, std::string_view hint) {
  if (hint.empty()) hint = usual_hint(error);
  const std::string cause = strerror(to_int(error));
  if (json()) {
    boost::json::object o{{"error", errno_name(error)}, {"cause", cause}, {"what", json_text(what)}, {"subject", json_text(subject)}};
    if (!hint.empty()) o["fix"] = hint;
    fmt::print(stderr, "{}\n", boost::json::serialize(o));
    return error;
  }
  fmt::print(stderr, "p9: cannot {} {}: {} ({})\n", what, printable(subject), cause, errno_name(error));
  if (!hint.empty()) fmt::print(stderr, "p9: {}\n", hint);
  return error;
}

void Reporter::warn(std::string_view what, std::string_view subject, std::string_view why) {
  if (json()) {
    const boost::json::object o{{"warning", why}, {"what", what}, {"subject", json_text(subject)}};
    fmt::print(stderr, "{}\n", boost::json::serialize(o));
  } else {
    fmt::print(stderr, "p9: {} {}: {}\n", what, printable(subject), why);
  }
}

void Reporter::result(const boost::json::value& document) const {
  fmt::print("{}\n", boost::json::serialize(document));
}

std::string printable(std::string_view name) {
  std::string out;
  for (const char c : name) {
    if (static_cast<unsigned char>(c) >= 0x20 && c != 0x7f) out.push_back(c);
    else fmt::format_to(std::back_inserter(out), "\\x{:02x}", static_cast<unsigned char>(c));
  }
  return out;
}

std::string json_text(std::string_view bytes) {
  std::string out;
  while (!bytes.empty()) {
    const size_t n = utf8_length(bytes);
    if (n == 0) out += "\xef\xbf\xbd";
    else out += bytes.substr(0, n);
    bytes.remove_prefix(n == 0 ? 1 : n);
  }
  return out;
}

std::string local_time(const p9::Time& t) {
  const auto seconds = static_cast<time_t>(t.sec);
  tm parts{};
  char text[64];
  if (localtime_r(&seconds, &parts) == nullptr) return fmt::format("@{}", seconds);
  text[strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &parts)] = '\0';
  return text;
}

std::string type_name(uint32_t mode) {
  switch (mode & S_IFMT) {
    case S_IFREG: return "file";
    case S_IFDIR: return "directory";
    case S_IFLNK: return "symlink";
    case S_IFIFO: return "fifo";
    case S_IFSOCK: return "socket";
    case S_IFCHR: return "character device";
    case S_IFBLK: return "block device";
    default: return "unknown";
  }
}

std::string mode_text(uint32_t mode) {
  static constexpr std::string_view kLetters = "?pc?d?b?-?l?s???";
  std::string out(1, kLetters[mode >> 12 & 15]);
  for (int i = 8; i >= 0; --i) out.push_back((mode >> i & 1) != 0 ? "xwr"[i % 3] : '-');
  const auto special = [&](uint32_t bit, size_t at, char set) {
    if ((mode & bit) != 0) out[at] = out[at] == 'x' ? set : static_cast<char>(set - 'a' + 'A');
  };
  special(S_ISUID, 3, 's');
  special(S_ISGID, 6, 's');
  special(S_ISVTX, 9, 't');
  return out;
}

std::string size_text(double bytes) {
  static constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  size_t unit = 0;
  while (bytes >= 1024 && unit + 1 < std::size(kUnits)) {
    bytes /= 1024;
    ++unit;
  }
  return unit == 0 ? fmt::format("{:.0f} B", bytes) : fmt::format("{:.1f} {}", bytes, kUnits[unit]);
}

}  // namespace run9::cli
