// IpcObjects: a sandbox's tables of named IPC objects: abstract socket names, SysV IPC. Made with the
// FutexTable that owns it.
#pragma once
#include <memory>

namespace run9::sentry {

class Kernel;
class AbstractNames;  // net/unix_socket.h
class SysvTables;     // ipc/sysv.h

class IpcObjects {
 public:
  IpcObjects();
  ~IpcObjects();
  AbstractNames& abstract_names() { return *abstract_names_; }
  SysvTables& sysv() { return *sysv_; }

 private:
  std::unique_ptr<AbstractNames> abstract_names_;
  std::unique_ptr<SysvTables> sysv_;
};

IpcObjects& ipc_objects(Kernel& kernel);

}  // namespace run9::sentry
