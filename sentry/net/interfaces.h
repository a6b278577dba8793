// The sandbox's network interfaces: `lo`, and no other.
#pragma once
#include "vfs/context.h"

namespace run9::sentry {

inline constexpr int kLoopbackIndex = 1;
inline constexpr int kLoopbackMtu = 65536;

// netdevice(7), of a socket of `family`. ENOTTY for what is no question about interfaces.
Result<uint64_t> interface_ioctl(vfs::OpContext& ctx, int family, uint32_t request, uint64_t arg);

}  // namespace run9::sentry
