// The threads of a serving gofer: one for each job, under the filter; and the end of them.
#pragma once
#include <atomic>

#include "gofer/connections.h"
#include "gofer/counters.h"
#include "gofer/log_limit.h"
#include "gofer/sockets.h"

namespace run9::gofer {

class Service {
 public:
  // `options` and `users` outlive it. Without users all is done with the gofer's own ids. `control`
  // may be invalid.
  static Result<std::unique_ptr<Service>> create(const Options& options, Exports exports,
                                                 std::vector<Job> jobs, UniqueFd control,
                                                 const Users* users);
  // The descriptors that it keeps, beside the exports'.
  std::vector<int> descriptors() const;
  const Exports& exports() const { return exports_; }
  // Installs the filter, says that it is ready, serves; returns when nothing more is to be served.
  // Who only has connections that it was born with serves the first on this thread, and ends by
  // signals as any process. Who listens takes SIGTERM and SIGINT for "drain" and SIGHUP for "accept
  // no more, and serve those that are here".
  Result<void> run();

 private:
  // What a job's thread has for itself.
  struct Place {
    Identity identity;
    Counters* counters = nullptr;
  };

  Service(const Options& options, Exports exports, std::vector<Job> jobs, UniqueFd control,
          const Users* users);
  void serve_job(size_t index);
  void accept_all(const Job& job, Place& place);
  void serve(const Job& job, BorrowedFd socket, Place& place);
  void answer_control_requests();
  void job_ended();
  Result<void> confine_and_start();
  void wait_for_the_end();

  const Options& options_;
  const Exports exports_;
  const std::vector<Job> jobs_;
  const UniqueFd control_;
  const Users* const users_;
  const bool listens_;
  const std::span<Counters> counters_;  // by job; empty without control_
  std::unique_ptr<Connections> connections_;
  std::unique_ptr<DescriptorPool> pool_;  // of the connections that are accepted
  LogLimit log_;
  std::atomic<uint64_t> served_ = 0;
  std::atomic<bool> gate_ = false;
  // Who listens: signalfds that are polled and never read, and an eventfd for the last thread that
  // ends.
  UniqueFd drain_signals_, reload_signal_, ended_;
  std::atomic<size_t> running_ = 0;
};

}  // namespace run9::gofer
