// Fibers that make host calls beside each other, and kernel code one at a time.
#include "sentry/sched/workers.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <set>

#include "sentry/sched/fiber.h"
#include "sentry/sched/fibers_for_tests.h"

namespace run9::sentry {
namespace {

class WorkersTest : public FibersTest {
 protected:
  void SetUp() override {
    loop_->set_workers(3);
    if (loop_->workers() == nullptr) GTEST_SKIP() << "one core: there are no further workers";
    loop_->workers()->eager = true;
  }
  template <typename Call>
  void aside(Call call) {
    Fiber* const self = loop_->current();
    ASSERT_TRUE(loop_->step_aside());
    call();
    loop_->step_back(self);
    EXPECT_EQ(loop_->current(), self);
  }
};

TEST_F(WorkersTest, OneWaitsForWhatAnotherDoesMeanwhile) {
  const Pipe pipe;
  std::string said;
  run({[&] {
         aside([&] { pipe.take(); });
         said += "taken ";
       },
       [&] {
         said += "giving ";
         pipe.give();
       }});
  EXPECT_EQ(said, "giving taken ");
  EXPECT_GT(loop_->workers()->rounds(), 0u);
}

TEST_F(WorkersTest, KernelCodeRunsOneAtATime) {
  constexpr int kFibers = 8, kTimes = 2000;
  int inside = 0, times = 0;
  std::set<pid_t> threads;
  std::vector<std::function<void()>> bodies(kFibers, [&] {
    for (int i = 0; i < kTimes; ++i) {
      EXPECT_EQ(++inside, 1);
      ++times;
      threads.insert(gettid());
      --inside;
      aside([] { usleep(1); });
      if (i % 16 == 0) loop_->yield();
    }
  });
  run(std::move(bodies));
  EXPECT_EQ(times, kFibers * kTimes);
  EXPECT_GT(threads.size(), 1u);
}

// Somebody tells one that it can go on, who is not parked and finds out by itself.
TEST_F(WorkersTest, WhoIsAsideIsNotRunTwice) {
  const Pipe pipe;
  Fiber* first = nullptr;
  int came = 0;
  run({[&] {
         first = loop_->current();
         aside([&] { pipe.take(); });
         ++came;
         loop_->yield();
       },
       [&] {
         for (int i = 0; i < 100; ++i) {
           loop_->ready(first);
           loop_->yield();
         }
         EXPECT_EQ(came, 0);
         pipe.give();
       }});
  EXPECT_EQ(came, 1);
}

// Timers and descriptors are the first one's alone, and come all the same.
TEST_F(WorkersTest, TimersFireMeanwhile) {
  bool over = false;
  run({[&] {
         while (!over) {
           aside([] { usleep(10); });
           loop_->yield();
         }
       },
       [&] {
         for (int i = 0; i < 20; ++i) sleep_ms(1);
         over = true;
       }});
  EXPECT_TRUE(over);
}

TEST_F(WorkersTest, FurtherOnesLeaveWhenThereIsNothingToDo) {
  loop_->workers()->idle_ns = 1'000'000;
  run({[&] {
         for (int i = 0; i < 50; ++i) {
           loop_->spawn([] {});
           aside([] { usleep(100); });
         }
         EXPECT_GT(loop_->workers()->threads(), 0u);
         until([&] { return loop_->workers()->threads() == 0; });
         // And come again.
         for (int i = 0; i < 50; ++i) {
           loop_->spawn([] {});
           aside([] { usleep(100); });
         }
         EXPECT_GT(loop_->workers()->threads(), 0u);
       }});
}

TEST_F(WorkersTest, OneAlone) {
  auto loop = EventLoop::create().assume_value();
  loop->set_workers(1);
  EXPECT_EQ(loop->workers(), nullptr);
  EXPECT_FALSE(loop->step_aside());
}

}  // namespace
}  // namespace run9::sentry
