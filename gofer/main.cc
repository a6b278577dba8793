// run9-gofer: serves host directories over 9P2000.L to the sockets it was given. README.md.
#include <malloc.h>
#include <signal.h>
#include <sys/stat.h>

#include <thread>

#include "base/log.h"
#include "base/sanitizer.h"
#include "gofer/jail.h"
#include "gofer/service.h"
#include "gofer/supervisor.h"

namespace run9::gofer {
namespace {

Result<void> serve(const Options& options, const SocketSource& source) {
  signal(SIGPIPE, SIG_IGN);
  signal(SIGXFSZ, SIG_IGN);
  // A socket's file is for whom the caller's umask lets.
  std::vector<Job> jobs = TRY(make_jobs(options, source));
  UniqueFd control = TRY(SocketSource::open_control(options.control));
  umask(0);
  std::optional<Users> users;
  if (options.jail.ids == Ids::kChanging) users = TRY(Users::load());
  if (!options.no_jail) sanitizer::before_jail();
  Exports exports = TRY(options.no_jail ? open_exports(options.jail) : enter_jail(options.jail));
  const auto service = TRY(Service::create(options, std::move(exports), std::move(jobs),
                                           std::move(control), users ? &*users : nullptr));
  std::vector<int> keep = service->descriptors();
  keep.push_back(options.log_fd);
  if (options.ready_fd >= 0) keep.push_back(options.ready_fd);
  if (!options.no_jail) TRY(drop_privileges(keep, service->exports(), options.jail.ids));
  return service->run();
}

}  // namespace
}  // namespace run9::gofer

int main(int argc, char** argv) {
  using namespace run9;
  // One arena: glibc shrinks any other after a look at /proc/sys/vm/overcommit_memory, and the
  // filter kills for an open.
  mallopt(M_ARENA_MAX, 1);
  std::string error;
  auto options = gofer::parse_options({argv + 1, argv + argc}, error);
  if (!options) {
    log_error("run9-gofer: {}", error);
    return 2;
  }
  // Polling on the only CPU would keep the client from asking.
  if (std::thread::hardware_concurrency() < 2) options->busy_poll = std::chrono::microseconds(0);
  set_log(options->log_fd, options->debug ? LogLevel::kDebug : LogLevel::kWarn, "run9-gofer");
  const gofer::SocketSource source;
  const auto done =
      options->config.empty() ? gofer::serve(*options, source) : gofer::supervise(*options, source);
  if (!done) log_error("{}", describe(done.assume_error()));
  return done ? 0 : 1;
}
