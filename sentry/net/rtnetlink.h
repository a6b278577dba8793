// NETLINK_ROUTE (rtnetlink(7)): what there is to say of the interface lo, its addresses and its routes. Nothing can be changed.
#pragma once
#include "base/bytes.h"
#include "base/result.h"
#include "sentry/net/netlink_message.h"
#include "vfs/context.h"

namespace run9::sentry {

// Adds what `message`, header included, is answered with, NLMSG_DONE of a dump included; errors are for NLMSG_ERROR.
Result<void> answer_rtnetlink(const vfs::OpContext& ctx, const nlmsghdr& asked, ByteSpan message, uint32_t port, NetlinkWriter& out);

}  // namespace run9::sentry
