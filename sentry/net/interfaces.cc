#include "sentry/net/interfaces.h"

#include <net/if.h>
#include <net/if_arp.h>
#include <netinet/in.h>
#include <sys/ioctl.h>

#include <cstring>
#include <string_view>

#include "sentry/task/kernel.h"

namespace run9::sentry {
namespace {

constexpr char kName[] = "lo";

sockaddr address(uint32_t host_order) {
  sockaddr_in in{.sin_family = AF_INET, .sin_addr = {htonl(host_order)}};
  sockaddr out;
  static_assert(sizeof in == sizeof out);
  std::memcpy(&out, &in, sizeof out);
  return out;
}

// SIOCGIFCONF: with a null buffer, only how much there is.
Result<uint64_t> list(Task& task, uint64_t arg) {
  auto conf = TRY(task.memory().read(UserPtr<ifconf>{arg}));
  if (conf.ifc_len < 0) return Errno{EINVAL};
  const bool room = conf.ifc_buf == nullptr || static_cast<size_t>(conf.ifc_len) >= sizeof(ifreq);
  if (conf.ifc_buf != nullptr && room) {
    ifreq entry{};
    std::memcpy(entry.ifr_name, kName, sizeof kName);
    entry.ifr_addr = address(INADDR_LOOPBACK);
    TRY(task.memory().write(UserPtr<ifreq>{reinterpret_cast<uint64_t>(conf.ifc_buf)}, entry));
  }
  conf.ifc_len = room ? sizeof(ifreq) : 0;
  TRY(task.memory().write(UserPtr<ifconf>{arg}, conf));
  return 0;
}

bool answer(uint32_t request, bool inet, ifreq& r) {
  switch (request) {
    case SIOCGIFFLAGS: r.ifr_flags = IFF_UP | IFF_LOOPBACK | IFF_RUNNING; return true;
    case SIOCGIFINDEX: r.ifr_ifindex = kLoopbackIndex; return true;
    case SIOCGIFMTU: r.ifr_mtu = kLoopbackMtu; return true;
    case SIOCGIFMETRIC: r.ifr_metric = 0; return true;
    case SIOCGIFTXQLEN: r.ifr_qlen = 1000; return true;
    case SIOCGIFHWADDR: r.ifr_hwaddr = {.sa_family = ARPHRD_LOOPBACK, .sa_data = {}}; return true;
    default: break;
  }
  if (!inet) return false;
  switch (request) {
    case SIOCGIFADDR:
    case SIOCGIFDSTADDR: r.ifr_addr = address(INADDR_LOOPBACK); return true;
    case SIOCGIFNETMASK: r.ifr_netmask = address(IN_CLASSA_NET); return true;
    case SIOCGIFBRDADDR: r.ifr_broadaddr = address(INADDR_ANY); return true;
    default: return false;
  }
}

}  // namespace

Result<uint64_t> interface_ioctl(vfs::OpContext& ctx, int family, uint32_t request, uint64_t arg) {
  Task* task = task_of(ctx);
  if (task == nullptr) return Errno{ENOTTY};
  if (request == SIOCGIFCONF) return list(*task, arg);
  ifreq r{};
  if (request != SIOCGIFNAME && !answer(request, family == AF_INET, r)) return Errno{ENOTTY};
  r = TRY(task->memory().read(UserPtr<ifreq>{arg}));
  if (request == SIOCGIFNAME) {
    if (r.ifr_ifindex != kLoopbackIndex) return Errno{ENODEV};
    std::memcpy(r.ifr_name, kName, sizeof kName);
  } else {
    r.ifr_name[IFNAMSIZ - 1] = '\0';
    if (std::string_view(r.ifr_name) != kName) return Errno{ENODEV};
    (void)answer(request, family == AF_INET, r);
  }
  TRY(task->memory().write(UserPtr<ifreq>{arg}, r));
  return 0;
}

}  // namespace run9::sentry
