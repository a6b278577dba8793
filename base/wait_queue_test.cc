#include "base/wait_queue.h"

#include <gtest/gtest.h>
#include <poll.h>

#include <functional>

namespace run9 {
namespace {

struct Counter : Waiter {
  int told = 0;
  std::function<void()> then;
  void on_notify(uint32_t) override {
    ++told;
    if (then) then();
  }
};

TEST(WaitQueueTest, TellsOnlyWhoCares) {
  WaitQueue q;
  Counter in, out;
  q.add(in, POLLIN);
  q.add(out, POLLOUT);
  q.notify(POLLIN);
  EXPECT_EQ(in.told, 1);
  EXPECT_EQ(out.told, 0);
  q.notify(POLLHUP);
  EXPECT_EQ(out.told, 1);
}

TEST(WaitQueueTest, OneExclusiveWaiterIsTold) {
  WaitQueue q;
  Counter a, b;
  q.add_exclusive(a);
  q.add_exclusive(b);
  q.notify();
  EXPECT_EQ(a.told + b.told, 1);
  q.notify_all();
  EXPECT_EQ(a.told + b.told, 3);
}

TEST(WaitQueueTest, ACallbackMayUnlinkTheNextWaiter) {
  WaitQueue q;
  Counter a, b, c;
  q.add(a);
  q.add(b);
  q.add(c);
  a.then = [&] { b.unlink(); };
  q.notify();
  EXPECT_EQ(b.told, 0);
  EXPECT_EQ(c.told, 1);
}

}  // namespace
}  // namespace run9
