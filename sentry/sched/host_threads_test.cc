// Each call waits for bytes of a pipe, as it would for a disk, so that the test decides when it is done.
#include "sentry/sched/host_threads.h"

#include <gtest/gtest.h>
#include <pthread.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "sentry/sched/fibers_for_tests.h"

namespace run9::sentry {
namespace {

class HostThreadsTest : public FibersTest {
 protected:
  // What the fibers said, in order, once all have ended.
  std::string said(std::vector<std::function<void()>> bodies) {
    run(std::move(bodies));
    return said_;
  }
  std::string said_;
};

TEST_F(HostThreadsTest, OthersRunMeanwhile) {
  HostThreads threads(*loop_, 1);
  const Pipe pipe;
  EXPECT_EQ(said({[&] {
                    threads.run([&] { pipe.take(); });
                    said_ += "taken ";
                  },
                  [&] {
                    said_ += "giving ";
                    pipe.give();
                  }}),
            "giving taken ");
}

TEST_F(HostThreadsTest, NoMoreThreadsThanAllowed) {
  HostThreads threads(*loop_, 2);
  const Pipe pipe;
  unsigned most = 0;
  const auto call = [&] {
    threads.run([&] { pipe.take(); });
    said_ += 'x';
  };
  const auto gives = [&] {
    for (int i = 0; i < 5; ++i) {
      most = std::max(most, threads.threads());
      pipe.give();
      sleep_ms(1);
    }
  };
  EXPECT_EQ(said({call, call, call, call, call, gives}), "xxxxx");
  EXPECT_EQ(most, 2u);
}

TEST_F(HostThreadsTest, OneThreadServesManyCallsInTurn) {
  HostThreads threads(*loop_, 8);
  unsigned most = 0;
  said({[&] {
    for (int i = 0; i < 100; ++i) {
      threads.run([] {});
      most = std::max(most, threads.threads());
    }
  }});
  EXPECT_EQ(most, 1u);
}

TEST_F(HostThreadsTest, IdleThreadsEnd) {
  HostThreads threads(*loop_, 2);
  threads.idle_ns = 1'000'000;
  said({[&] {
    threads.run([] {});
    until([&] { return threads.threads() == 0; });
    threads.run([&] { said_ += "again"; });
  }});
  EXPECT_EQ(said_, "again");
}

TEST_F(HostThreadsTest, NoneAllowedTheWorkerDoesIt) {
  HostThreads threads(*loop_, 0);
  const pthread_t here = pthread_self();
  said({[&] { threads.run([&] { EXPECT_TRUE(pthread_equal(here, pthread_self())); }); }});
  EXPECT_EQ(threads.threads(), 0u);
}

TEST_F(HostThreadsTest, SignalsAreTheWorkers) {
  HostThreads threads(*loop_, 1);
  sigset_t blocked;
  said({[&] { threads.run([&] { pthread_sigmask(SIG_BLOCK, nullptr, &blocked); }); }});
  EXPECT_EQ(sigismember(&blocked, SIGUSR1), 1);
  EXPECT_EQ(sigismember(&blocked, SIGCHLD), 1);
}

}  // namespace
}  // namespace run9::sentry
