// IpcObjects: a sandbox's tables of named IPC objects: abstract socket names, ports, SysV IPC, POSIX message queues, AIO contexts.
// Made with the FutexTable that owns it.
#pragma once
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>

namespace run9::sentry {

class Kernel;
class AbstractNames;  // net/unix_socket.h
class AioContexts;    // ipc/aio.h
struct InetPorts;     // net/port_table.h
class SysvTables;     // ipc/sysv.h
struct PosixQueue;    // ipc/mqueue.h

using NetlinkPorts = std::set<std::pair<int, uint32_t>>;  // protocols and ports

class IpcObjects {
 public:
  IpcObjects();
  ~IpcObjects();
  AbstractNames& abstract_names() { return *abstract_names_; }
  AioContexts& aio() { return *aio_; }
  InetPorts& inet_ports() { return *inet_ports_; }
  NetlinkPorts& netlink_ports() { return netlink_ports_; }  // those in use
  SysvTables& sysv() { return *sysv_; }
  // By name, without the slash.
  std::map<std::string, std::shared_ptr<PosixQueue>, std::less<>>& posix_queues() { return posix_queues_; }

 private:
  std::unique_ptr<AbstractNames> abstract_names_;
  std::unique_ptr<AioContexts> aio_;
  std::unique_ptr<InetPorts> inet_ports_;
  std::unique_ptr<SysvTables> sysv_;
  NetlinkPorts netlink_ports_;
  std::map<std::string, std::shared_ptr<PosixQueue>, std::less<>> posix_queues_;
};

IpcObjects& ipc_objects(Kernel& kernel);

}  // namespace run9::sentry
