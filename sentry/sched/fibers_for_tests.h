// What tests of the scheduler share: an event loop that runs fibers until all have ended, and a pipe for a host call to wait at.
#pragma once
#include <gtest/gtest.h>
#include <unistd.h>

#include <functional>
#include <memory>
#include <vector>

#include "sentry/sched/event_loop.h"

namespace run9::sentry {

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

class FibersTest : public ::testing::Test {
 protected:
  // Until all have ended.
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
  int running_ = 0;
};

}  // namespace run9::sentry
