#include "sentry/ipc/ipc_objects.h"

#include "sentry/ipc/aio.h"
#include "sentry/ipc/futex.h"
#include "sentry/ipc/mqueue.h"
#include "sentry/ipc/sysv.h"
#include "sentry/net/port_table.h"
#include "sentry/net/unix_socket.h"
#include "sentry/task/kernel.h"

namespace run9::sentry {

IpcObjects::IpcObjects()
    : abstract_names_(std::make_unique<AbstractNames>()),
      aio_(std::make_unique<AioContexts>()),
      inet_ports_(std::make_unique<InetPorts>()),
      sysv_(std::make_unique<SysvTables>()) {}
IpcObjects::~IpcObjects() = default;

IpcObjects& ipc_objects(Kernel& kernel) { return kernel.futexes().ipc(); }

}  // namespace run9::sentry
