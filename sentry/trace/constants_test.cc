#include "sentry/trace/constants.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>

namespace run9::sentry {
namespace {

std::string spelled(std::string_view word, uint64_t value) { return name_constants(word, value).value_or("none"); }

TEST(ConstantsTest, OpenFlagsAlwaysHaveAnAccessMode) {
  EXPECT_EQ("O_RDONLY|O_CLOEXEC", spelled("flags:open", O_CLOEXEC));
  EXPECT_EQ("O_WRONLY|O_CREAT|O_TRUNC", spelled("flags:open", O_WRONLY | O_CREAT | O_TRUNC));
}

TEST(ConstantsTest, WhatHasSeveralBitsIsNotTakenApart) {
  EXPECT_EQ("O_RDWR|O_TMPFILE", spelled("flags:open", O_RDWR | O_TMPFILE));
  EXPECT_EQ("O_RDONLY|O_SYNC", spelled("flags:open", O_SYNC));
  EXPECT_EQ("O_RDONLY|O_DSYNC", spelled("flags:open", O_DSYNC));
}

TEST(ConstantsTest, UnknownBitsStayANumber) {
  EXPECT_EQ("PROT_READ|PROT_WRITE|0x1000", spelled("prot", 0x1003));
  EXPECT_EQ("999", spelled("one:fcntl", 999));
  EXPECT_EQ("-2", spelled("one:clock", static_cast<uint64_t>(-2)));
}

TEST(ConstantsTest, NothingSet) {
  EXPECT_EQ("PROT_NONE", spelled("prot", 0));
  EXPECT_EQ("0", spelled("flags:at", 0));
  EXPECT_EQ("0", spelled("sig", 0));
}

TEST(ConstantsTest, OneAndFlags) {
  EXPECT_EQ("MAP_PRIVATE|MAP_ANONYMOUS", spelled("mflags", MAP_PRIVATE | MAP_ANONYMOUS));
  EXPECT_EQ("MAP_SHARED_VALIDATE", spelled("mflags", MAP_SHARED_VALIDATE));
  EXPECT_EQ("FUTEX_WAIT|FUTEX_PRIVATE_FLAG", spelled("one:futex", FUTEX_WAIT | FUTEX_PRIVATE_FLAG));
  EXPECT_EQ("CLONE_VM|CLONE_VFORK|SIGCHLD", spelled("flags:clone", CLONE_VM | CLONE_VFORK | SIGCHLD));
  EXPECT_EQ("SIGKILL", spelled("sig", SIGKILL));
  EXPECT_EQ("none", spelled("int", 1));
}

}  // namespace
}  // namespace run9::sentry
