// What the last handler of a signal saw.
#pragma once
#include <signal.h>

#include "tests/syscalls/test_util.h"

namespace run9::guest {

inline siginfo_t last_info;
inline volatile sig_atomic_t count;

inline void note(int, siginfo_t* info, void*) {
  last_info = *info;
  count = count + 1;
}

class NotingTest : public testing::Test {
 protected:
  void SetUp() override {
    count = 0;
    last_info = {};
  }
};

}  // namespace run9::guest
