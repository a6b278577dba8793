// run9-fuse: mounts any 9P2000.L server on the host. README.md.
#include <malloc.h>
#include <signal.h>
#include <unistd.h>

#include <CLI/CLI.hpp>

#include "base/log.h"
#include "fuse-bridge/fuse_ops.h"
#include "p9/transport/address.h"
#include "p9/transport/blocking_channel.h"

namespace run9::fuse {
namespace {

struct CommandLine {
  std::string address;
  std::string aname;
  std::string uname;
  uint32_t uid = 0;
  uint32_t msize = 128 * 1024;
  bool plain = false;
  MountOptions mount;
};

int run(const CommandLine& c) {
  const auto address = p9::parse_address(c.address);
  if (!address) {
    log_error("{}: write unix:PATH, unix:@NAME, tcp:HOST:PORT, vsock:CID:PORT or fd:N", run9::quoted(c.address));
    return 2;
  }
  auto socket = p9::dial(*address);
  if (!socket) {
    log_error("cannot connect to {}: {}; is the server running?", run9::quoted(c.address), describe(socket.assume_error()));
    return 3;
  }
  p9::BlockingChannel channel(std::move(socket.assume_value()));
  p9::Client client(channel, {.msize = c.msize, .dialect = !c.plain});
  if (const auto started = client.start(); !started) {
    log_error("{} speaks no 9P2000.L: {}", run9::quoted(c.address), describe(started.assume_error()));
    return 3;
  }
  const auto root = client.attach(c.aname, c.uname, c.uid);
  if (!root) {
    log_error("cannot attach to export {}: {}; --aname chooses it", run9::quoted(c.aname), describe(root.assume_error()));
    return 3;
  }
  Bridge bridge(client, root.assume_value(), c.uid);
  return serve(bridge, c.mount);
}

}  // namespace
}  // namespace run9::fuse

int main(int argc, char** argv) {
  run9::fuse::CommandLine c;
  c.uid = geteuid();
  CLI::App app("run9-fuse: mounts a 9P2000.L server");
  app.add_option("ADDRESS", c.address, "unix:PATH, unix:@NAME, tcp:HOST:PORT, vsock:CID:PORT or fd:N")->required();
  app.add_option("MOUNTPOINT", c.mount.mount_point)->required();
  app.add_option("--aname", c.aname, "the export (default: the server's first)");
  app.add_option("--uname", c.uname, "the user's name that the server is told");
  app.add_option("--uid", c.uid, "the user's number (default: yours)");
  app.add_option("--msize", c.msize, "largest message to ask for")->check(CLI::Range(4096u, 1u << 20));
  app.add_flag("--plain", c.plain, "speak 9P2000.L even where the server knows 9P2000.L.x");
  app.add_option("--cache", c.mount.cache_seconds, "seconds that the kernel believes names and attributes (default 1)")
      ->check(CLI::NonNegativeNumber);
  app.add_option("-o", c.mount.fuse_options, "mount options: allow_other, ro ...");
  app.add_flag("-f,--foreground", c.mount.foreground, "stay");
  app.add_flag("-d,--debug", c.mount.debug, "print every request (with -f)");
  CLI11_PARSE(app, argc, argv);
  run9::set_log(STDERR_FILENO, run9::LogLevel::kWarn, "run9-fuse");
  // As in cli/main.cc: frames come and go.
  mallopt(M_MMAP_THRESHOLD, 64 << 20);
  mallopt(M_TRIM_THRESHOLD, 64 << 20);
  signal(SIGPIPE, SIG_IGN);
  return run9::fuse::run(c);
}
