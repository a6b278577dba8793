// Each call waits for bytes of a pipe, as it would for a disk, so that the test decides when it is done.
#include "sentry/sched/host_threads.h"

#include <gtest/gtest.h>
#include <pthread.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <vector>

namespace run9::sentry {
namespace {

class Pipe {
 public:
  Pipe() {
    int ends[2];
    EXPECT_EQ(pipe(ends), 0);
    reader_ = UniqueFd(ends[0]);
    writer_ = UniqueFd(ends[1]);
  }
  void take() const {
    char c;
    EXPECT_EQ(read(reader_.get(), &c, 1), 1);
  }
  void give() const { EXPECT_EQ(write(writer_.get(), "x", 1), 1); }

 private:
  UniqueFd reader_, writer_;
};

class HostThreadsTest : public ::testing::Test {
 protected:
  // What the fibers said, in order, once all have ended.
  std::string said(std::vector<std::function<void()>> bodies) {
    for (auto& body : bodies) {
      ++running_;
      loop_->spawn([this, body = std::move(body)] {
        body();
        if (--running_ == 0) loop_->stop();
      });
    }
    loop_->run();
    return said_;
  }
  void sleep_ms(uint64_t ms) {
    Timer timer(*loop_, [this, fiber = loop_->current()] { loop_->ready(fiber); });
    timer.arm(EventLoop::now_ns() + ms * 1'000'000);
    loop_->park();
  }
  void until(const std::function<bool()>& holds) {
    for (int i = 0; i < 5000 && !holds(); ++i) sleep_ms(1);
    EXPECT_TRUE(holds());
  }

  std::unique_ptr<EventLoop> loop_ = EventLoop::create().assume_value();
  std::string said_;
  int running_ = 0;
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
