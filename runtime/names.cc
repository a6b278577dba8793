#include "runtime/names.h"

#include <linux/capability.h>
#include <sys/resource.h>

#include <algorithm>
#include <charconv>
#include <csignal>
#include <iterator>
#include <limits>
#include <utility>

namespace run9::runtime {
namespace {

// In the order of linux/capability.h, so that the index is the number.
constexpr std::string_view kCapabilities[] = {
    "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID",
    "SETPCAP", "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW",
    "IPC_LOCK", "IPC_OWNER", "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT",
    "SYS_ADMIN", "SYS_BOOT", "SYS_NICE", "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD",
    "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP", "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG",
    "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF", "CHECKPOINT_RESTORE"};
static_assert(std::size(kCapabilities) == CAP_LAST_CAP + 1 && kLastCapability == CAP_LAST_CAP);

// In the order of x86-64's numbers from 1.
constexpr std::string_view kSignals[] = {
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV",
    "USR2", "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU",
    "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS"};
static_assert(std::size(kSignals) == SIGSYS);
constexpr int kFirstRealTime = 34;  // glibc keeps 32 and 33
constexpr int kLastRealTime = 64;

// In the order of x86-64's numbers from 0.
const std::vector<std::string_view> kRlimits = {
    "RLIMIT_CPU", "RLIMIT_FSIZE", "RLIMIT_DATA", "RLIMIT_STACK", "RLIMIT_CORE", "RLIMIT_RSS",
    "RLIMIT_NPROC", "RLIMIT_NOFILE", "RLIMIT_MEMLOCK", "RLIMIT_AS", "RLIMIT_LOCKS",
    "RLIMIT_SIGPENDING", "RLIMIT_MSGQUEUE", "RLIMIT_NICE", "RLIMIT_RTPRIO", "RLIMIT_RTTIME"};

std::string upper(std::string_view s) {
  std::string out(s);
  std::transform(out.begin(), out.end(), out.begin(),
                 [](unsigned char c) { return static_cast<char>(c >= 'a' && c <= 'z' ? c - 32 : c); });
  return out;
}

template <typename T>
std::optional<T> parse_number(std::string_view s) {
  T v{};
  const auto [end, error] = std::from_chars(s.data(), s.data() + s.size(), v);
  if (error != std::errc{} || end != s.data() + s.size()) return {};
  return v;
}

// "RTMIN+3", "RTMAX-1".
std::optional<int> real_time_signal(std::string_view name) {
  const bool from_min = name.starts_with("RTMIN");
  if (!from_min && !name.starts_with("RTMAX")) return {};
  const int base = from_min ? kFirstRealTime : kLastRealTime;
  name.remove_prefix(5);
  if (name.empty()) return base;
  if (name[0] != (from_min ? '+' : '-')) return {};
  const auto offset = parse_number<int>(name.substr(1));
  if (!offset || *offset < 0 || *offset > kLastRealTime - kFirstRealTime) return {};
  return from_min ? base + *offset : base - *offset;
}

}  // namespace

std::optional<int> capability_number(std::string_view name) {
  std::string s = upper(name);
  if (s.starts_with("CAP_")) s.erase(0, 4);
  const auto* at = std::find(std::begin(kCapabilities), std::end(kCapabilities), s);
  if (at == std::end(kCapabilities)) return {};
  return static_cast<int>(at - std::begin(kCapabilities));
}

std::string capability_name(int number) {
  return "CAP_" + std::string(kCapabilities[number]);
}

std::optional<int> signal_number(std::string_view name) {
  if (const auto n = parse_number<int>(name)) {
    return *n >= 0 && *n <= kLastRealTime ? n : std::nullopt;
  }
  std::string s = upper(name);
  if (s.starts_with("SIG")) s.erase(0, 3);
  if (const auto rt = real_time_signal(s)) return rt;
  if (s == "POLL") s = "IO";
  if (s == "CLD") s = "CHLD";
  if (s == "IOT") s = "ABRT";
  const auto* at = std::find(std::begin(kSignals), std::end(kSignals), s);
  if (at == std::end(kSignals)) return {};
  return static_cast<int>(at - std::begin(kSignals)) + 1;
}

std::optional<int> rlimit_number(std::string_view name) {
  const auto at = std::find(kRlimits.begin(), kRlimits.end(), name);
  if (at == kRlimits.end()) return {};
  return static_cast<int>(at - kRlimits.begin());
}

const std::vector<std::string_view>& rlimit_names() { return kRlimits; }

std::string printable(std::string_view text) {
  std::string out;
  for (const char c : text) out += static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? '?' : c;
  return out;
}

std::optional<uint64_t> parse_size(std::string_view text) {
  const size_t digits = std::min(text.find_first_not_of("0123456789"), text.size());
  const auto n = parse_number<uint64_t>(text.substr(0, digits));
  if (!n) return {};
  std::string unit = upper(text.substr(digits));
  int shift = 0;
  if (!unit.empty() && unit != "B") {
    const size_t at = std::string_view("KMGT").find(unit[0]);
    if (at == std::string_view::npos) return {};
    shift = 10 * (static_cast<int>(at) + 1);
    unit.erase(0, 1);
    if (!unit.empty() && unit != "B" && unit != "IB") return {};
  }
  if (*n > (std::numeric_limits<uint64_t>::max() >> shift)) return {};
  return *n << shift;
}

}  // namespace run9::runtime
