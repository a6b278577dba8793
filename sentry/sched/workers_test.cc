// Fibers that make host calls beside each other, and kernel code one at a time.
#include "sentry/sched/workers.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <set>

#include "sentry/sched/event_loop.h"
#include "sentry/sched/fiber.h"

namespace run9::sentry {
namespace {

class WorkersTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (sysconf(_SC_NPROCESSORS_ONLN) < 2) GTEST_SKIP() << "one core: there are no further workers";
    loop_ = EventLoop::create().assume_value();
    loop_->set_workers(3);
    loop_->workers()->eager = true;
  }
  // Until all fibers have ended.
  void run(std::vector<std::function<void()>> bodies) {
    for (auto& body : bodies) {
      ++running_;
      loop_->spawn([this, body = std::move(body)] {
        body();
        if (--running_ == 0) loop_->stop();
      });
    }
    loop_->run();
  }
  template <typename Call>
  void aside(Call call) {
    Fiber* const self = loop_->current();
    ASSERT_TRUE(loop_->step_aside());
    call();
    loop_->step_back(self);
    EXPECT_EQ(loop_->current(), self);
  }
  void sleep_ms(uint64_t ms) {
    Timer timer(*loop_, [this, fiber = loop_->current()] { loop_->ready(fiber); });
    timer.arm(EventLoop::now_ns() + ms * 1'000'000);
    loop_->park();
  }

  std::unique_ptr<EventLoop> loop_;
  int running_ = 0;
};

TEST_F(WorkersTest, OneWaitsForWhatAnotherDoesMeanwhile) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  const UniqueFd reader(ends[0]), writer(ends[1]);
  std::string said;
  char c = 0;
  run({[&] {
         aside([&] { EXPECT_EQ(read(reader.get(), &c, 1), 1); });
         said += "taken ";
       },
       [&] {
         said += "giving ";
         EXPECT_EQ(write(writer.get(), "x", 1), 1);
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
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  const UniqueFd reader(ends[0]), writer(ends[1]);
  Fiber* first = nullptr;
  int came = 0;
  char c = 0;
  run({[&] {
         first = loop_->current();
         aside([&] { EXPECT_EQ(read(reader.get(), &c, 1), 1); });
         ++came;
         loop_->yield();
       },
       [&] {
         for (int i = 0; i < 100; ++i) {
           loop_->ready(first);
           loop_->yield();
         }
         EXPECT_EQ(came, 0);
         EXPECT_EQ(write(writer.get(), "x", 1), 1);
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
         for (int i = 0; i < 5000 && loop_->workers()->threads() > 0; ++i) sleep_ms(1);
         EXPECT_EQ(loop_->workers()->threads(), 0u);
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
