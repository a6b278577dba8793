// Calls that name memory in many places: messages, sets of descriptors, requests whose argument is a structure. What they say must
// not depend on where it lies (at the end of a page, in many parts, where nothing may be written), nor on how large it is.
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <termios.h>
#include <time.h>

#include <algorithm>
#include <numeric>

#include "tests/syscalls/test_util.h"

namespace run9::guest {
namespace {

struct Pair {
  Fd a, b;
  explicit Pair(int type) {
    int fds[2];
    if (sys(SYS_socketpair, AF_UNIX, type, 0, fds) != 0) abort();
    a = Fd(fds[0]);
    b = Fd(fds[1]);
  }
};

std::string pattern(size_t size) {
  std::string s(size, 0);
  uint32_t x = 12345;
  for (char& c : s) c = static_cast<char>((x = x * 1103515245 + 12345) >> 16);
  return s;
}

// `size` bytes in `parts` parts of different length, each in a string of its own.
std::vector<std::string> cut(const std::string& all, size_t parts) {
  std::vector<std::string> out;
  size_t at = 0;
  for (size_t i = 0; i < parts; ++i) {
    const size_t left = all.size() - at;
    const size_t n = i + 1 == parts ? left : std::min(left, all.size() / parts + (i % 3) - 1);
    out.push_back(all.substr(at, n));
    at += n;
  }
  return out;
}

std::vector<iovec> vectors(std::vector<std::string>& parts) {
  std::vector<iovec> out;
  for (std::string& s : parts) out.push_back({s.data(), s.size()});
  return out;
}

// A page that can only be read, with one object in it.
template <typename T>
class ReadOnly {
 public:
  explicit ReadOnly(const T& value) {
    memcpy(page_.start(), &value, sizeof value);
    mprotect(page_.start(), kPage, PROT_READ);
  }
  T* operator&() const { return reinterpret_cast<T*>(page_.start()); }

 private:
  Straddle page_;
};

class MessagePartsTest : public testing::TestWithParam<int> {};

TEST_P(MessagePartsTest, AnySizeInAnyParts) {
  const Pair p(GetParam());
  const int large = 1 << 20;
  EXPECT_OK(setsockopt(p.a, SOL_SOCKET, SO_SNDBUF, &large, sizeof large));
  for (const size_t size : {1, 15, 16, 17, 100, 900, 960, 1024, 1800, 2048, 4097, 32768, 40000, 70000}) {
    for (const size_t parts : {1, 2, 5, 60, 64, 65, 200}) {
      for (const size_t into : {1, 3, 13, 64, 70}) {
        const std::string sent = pattern(size);
        auto from = cut(sent, parts);
        auto to = cut(std::string(size, 0), into);
        auto out = vectors(from), in = vectors(to);
        msghdr m = {.msg_iov = out.data(), .msg_iovlen = out.size()};
        ASSERT_EQ(static_cast<long>(size), sys(SYS_sendmsg, p.a, &m, 0)) << size << " in " << parts;
        msghdr r = {.msg_iov = in.data(), .msg_iovlen = in.size(), .msg_flags = -1};
        ASSERT_EQ(static_cast<long>(size), sys(SYS_recvmsg, p.b, &r, MSG_WAITALL)) << size << " into " << into;
        EXPECT_EQ(sent, std::accumulate(to.begin(), to.end(), std::string())) << size << " in " << parts << " into " << into;
        EXPECT_EQ(0, r.msg_flags);
        EXPECT_EQ(0u, r.msg_controllen);
      }
    }
  }
}

TEST_P(MessagePartsTest, EverythingAtTheEndOfAPage) {
  const Pair p(GetParam());
  const Straddle header, array, data, control;
  for (const size_t size : {1, 16, 100, 1500, 4096}) {
    memset(data.start(), 'x', kPage);
    auto* const m = header.last<msghdr>(sizeof(msghdr));
    auto* const vec = array.last<iovec>(sizeof(iovec));
    *vec = {data.last(size), size};
    auto* const c = control.last<cmsghdr>(CMSG_LEN(sizeof(int)));
    *c = {.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
    const int fd = 1;
    memcpy(CMSG_DATA(c), &fd, sizeof fd);
    *m = {.msg_iov = vec, .msg_iovlen = 1, .msg_control = c, .msg_controllen = CMSG_LEN(sizeof(int))};
    ASSERT_EQ(static_cast<long>(size), sys(SYS_sendmsg, p.a, m, 0));
    memset(data.start(), 0, kPage);
    memset(c, 0, CMSG_LEN(sizeof(int)));
    *m = {.msg_iov = vec, .msg_iovlen = 1, .msg_control = c, .msg_controllen = CMSG_LEN(sizeof(int))};
    ASSERT_EQ(static_cast<long>(size), sys(SYS_recvmsg, p.b, m, 0));
    EXPECT_EQ(std::string(size, 'x'), std::string(data.last(size), size));
    ASSERT_EQ(SCM_RIGHTS, c->cmsg_type);
    EXPECT_EQ(CMSG_LEN(sizeof(int)), c->cmsg_len);
    int got = -1;
    memcpy(&got, CMSG_DATA(c), sizeof got);
    EXPECT_OK(close(got));
  }
}

TEST_P(MessagePartsTest, OneBytePastTheEndOfAPage) {
  const Pair p(GetParam());
  const Straddle header, array, data, control;
  char byte = 'b';
  iovec good = {&byte, 1};
  EXPECT_ERR(EFAULT, sys(SYS_sendmsg, p.a, header.last(sizeof(msghdr) - 1), 0));
  const auto send = [&](msghdr m) { return sys(SYS_sendmsg, p.a, &m, 0); };
  EXPECT_ERR(EFAULT, send({.msg_iov = array.last<iovec>(sizeof(iovec) - 1), .msg_iovlen = 1}));
  iovec past = {data.last(99), 100};
  EXPECT_ERR(EFAULT, send({.msg_iov = &past, .msg_iovlen = 1}));
  EXPECT_ERR(EFAULT, sys(SYS_write, p.a, data.last(99), 100));
  EXPECT_ERR(EFAULT, sys(SYS_writev, p.a, &past, 1));
  EXPECT_ERR(EFAULT, send({.msg_iov = &good, .msg_iovlen = 1, .msg_control = control.last(15), .msg_controllen = 16}));
  EXPECT_ERR(EMSGSIZE, send({.msg_iov = &good, .msg_iovlen = 1025}));
  const Straddle two(2);
  const Pipe pipe;
  EXPECT_ERR(EFAULT, sys(SYS_write, pipe.w, data.last(99), 100));
  EXPECT_EQ(4096, sys(SYS_write, pipe.w, two.last(5000), 5001));
  char small;
  EXPECT_ERR(EAGAIN, recv(p.b, &small, 1, MSG_DONTWAIT)) << "something of a bad message has been sent";

  const auto receive = [&](msghdr m) { return sys(SYS_recvmsg, p.b, &m, MSG_DONTWAIT); };
  ASSERT_EQ(1, send({.msg_iov = &good, .msg_iovlen = 1}));
  EXPECT_ERR(EFAULT, sys(SYS_recvmsg, p.b, header.last(sizeof(msghdr) - 1), 0));
  EXPECT_ERR(EFAULT, receive({.msg_iov = array.last<iovec>(sizeof(iovec) - 1), .msg_iovlen = 1}));
  EXPECT_ERR(EMSGSIZE, receive({.msg_iov = &good, .msg_iovlen = 1025}));
  byte = 0;
  EXPECT_EQ(1, receive({.msg_iov = &good, .msg_iovlen = 1}));
  EXPECT_EQ('b', byte);
}

TEST_P(MessagePartsTest, RightsAreCutToTheRoomForThem) {
  for (size_t room = 0; room <= CMSG_SPACE(3 * sizeof(int)); ++room) {
    const Pair p(GetParam());
    char byte = 'r';
    iovec vec = {&byte, 1};
    alignas(cmsghdr) char sent[CMSG_SPACE(3 * sizeof(int))] = {};
    auto* const c = reinterpret_cast<cmsghdr*>(sent);
    *c = {.cmsg_len = CMSG_LEN(3 * sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
    const int fds[] = {0, 1, 2};
    memcpy(CMSG_DATA(c), fds, sizeof fds);
    msghdr m = {.msg_iov = &vec, .msg_iovlen = 1, .msg_control = sent, .msg_controllen = sizeof sent};
    ASSERT_EQ(1, sys(SYS_sendmsg, p.a, &m, 0));
    alignas(cmsghdr) char got[sizeof sent + 1];
    memset(got, 'G', sizeof got);
    m = {.msg_iov = &vec, .msg_iovlen = 1, .msg_control = got, .msg_controllen = room};
    ASSERT_EQ(1, sys(SYS_recvmsg, p.b, &m, 0));
    const size_t fit = room < CMSG_LEN(sizeof(int)) ? 0 : std::min<size_t>(3, (room - CMSG_LEN(0)) / sizeof(int));
    EXPECT_EQ(fit < 3 ? MSG_CTRUNC : 0, m.msg_flags & MSG_CTRUNC) << room;
    EXPECT_EQ('G', got[m.msg_controllen]) << room;
    if (fit == 0) {
      EXPECT_EQ(0u, m.msg_controllen) << room;
      continue;
    }
    const auto* const r = reinterpret_cast<const cmsghdr*>(got);
    EXPECT_EQ(CMSG_LEN(fit * sizeof(int)), r->cmsg_len) << room;
    for (size_t i = 0; i < fit; ++i) {
      int fd = -1;
      memcpy(&fd, CMSG_DATA(r) + i * sizeof fd, sizeof fd);
      EXPECT_OK(close(fd));
    }
  }
}

TEST_P(MessagePartsTest, WhereNothingMayBeWritten) {
  const Pair p(GetParam());
  char byte = 'w';
  iovec vec = {&byte, 1};
  const ReadOnly header(msghdr{.msg_iov = &vec, .msg_iovlen = 1});
  ASSERT_EQ(1, sys(SYS_sendmsg, p.a, &header, 0)) << "sending writes nothing";
  EXPECT_ERR(EFAULT, sys(SYS_recvmsg, p.b, &header, 0));
  const Straddle page;
  mprotect(page.start(), kPage, PROT_READ);
  ASSERT_EQ(1, write(p.a, &byte, 1));
  iovec in = {page.start(), 1};
  msghdr m = {.msg_iov = &in, .msg_iovlen = 1};
  EXPECT_ERR(EFAULT, sys(SYS_recvmsg, p.b, &m, MSG_DONTWAIT));
}

INSTANTIATE_TEST_SUITE_P(All, MessagePartsTest, testing::Values(SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET),
                         [](const auto& i) { return i.param == SOCK_STREAM ? "Stream" : i.param == SOCK_DGRAM ? "Datagram" : "Packet"; });

TEST(MessageTest, NamesOfSenders) {
  const TempDir dir;
  const auto named = [&](const std::string& name) {
    sockaddr_un a = {.sun_family = AF_UNIX, .sun_path = {}};
    strcpy(a.sun_path, (dir / name).c_str());
    return a;
  };
  const Fd one(socket(AF_UNIX, SOCK_DGRAM, 0)), two(socket(AF_UNIX, SOCK_DGRAM, 0));
  sockaddr_un first = named("1"), second = named("2");
  ASSERT_OK(bind(one, reinterpret_cast<sockaddr*>(&first), sizeof first));
  ASSERT_OK(bind(two, reinterpret_cast<sockaddr*>(&second), sizeof second));
  char byte = 'n';
  iovec vec = {&byte, 1};
  for (const socklen_t room : {0u, 1u, 5u, 110u, 200u}) {
    msghdr m = {.msg_name = &second, .msg_namelen = sizeof second, .msg_iov = &vec, .msg_iovlen = 1};
    ASSERT_EQ(1, sys(SYS_sendmsg, one, &m, 0));
    char name[200];
    memset(name, 'N', sizeof name);
    m = {.msg_name = name, .msg_namelen = room, .msg_iov = &vec, .msg_iovlen = 1};
    ASSERT_EQ(1, sys(SYS_recvmsg, two, &m, 0));
    const size_t size = offsetof(sockaddr_un, sun_path) + strlen(first.sun_path) + 1;
    EXPECT_EQ(size, m.msg_namelen) << room;
    const size_t written = std::min<size_t>(room, size);
    EXPECT_EQ(0, memcmp(name, &first, written)) << room;
    EXPECT_EQ('N', name[written]) << room;
  }
}

class SetsTest : public testing::Test {
 protected:
  Pipe empty_, full_;
  void SetUp() override { full_.notify(); }
  void TearDown() override {}
};

TEST_F(SetsTest, SetsMayOverlap) {
  fd_set set;
  FD_ZERO(&set);
  FD_SET(full_.r, &set);
  FD_SET(full_.w, &set);
  timeval none = {};
  // What can be written is found last, and stays.
  EXPECT_EQ(2, sys(SYS_select, full_.w + 1, &set, &set, nullptr, &none));
  EXPECT_FALSE(FD_ISSET(full_.r, &set));
  EXPECT_TRUE(FD_ISSET(full_.w, &set));
}

TEST_F(SetsTest, AtTheEndOfAPage) {
  const Straddle in, out, except, time;
  memset(in.last(8), 0, 8);
  memset(out.last(8), 0, 8);
  memset(except.last(8), 0, 8);
  auto* const t = time.last<timeval>(sizeof(timeval));
  *t = {};
  ASSERT_LT(full_.w, 64);
  *in.last<uint64_t>(8) = uint64_t{1} << full_.r | uint64_t{1} << empty_.r;
  *out.last<uint64_t>(8) = uint64_t{1} << full_.w;
  EXPECT_EQ(2, sys(SYS_select, 64, in.last(8), out.last(8), except.last(8), t));
  EXPECT_EQ(uint64_t{1} << full_.r, *in.last<uint64_t>(8));
  EXPECT_EQ(uint64_t{1} << full_.w, *out.last<uint64_t>(8));
  EXPECT_ERR(EFAULT, sys(SYS_select, 64, in.last(7), out.last(8), except.last(8), t));
  EXPECT_ERR(EFAULT, sys(SYS_select, 64, in.last(8), out.last(8), except.last(8), time.last(15)));
}

TEST_F(SetsTest, TimeThatCannotBeWrittenIsNoError) {
  fd_set set;
  FD_ZERO(&set);
  FD_SET(full_.r, &set);
  const ReadOnly short_while(timeval{.tv_sec = 0, .tv_usec = 1000});
  EXPECT_EQ(1, sys(SYS_select, full_.r + 1, &set, nullptr, nullptr, &short_while));
  EXPECT_EQ(0, sys(SYS_select, 0, nullptr, nullptr, nullptr, &short_while));
  const ReadOnly same(timespec{.tv_sec = 0, .tv_nsec = 1000'000});
  EXPECT_EQ(1, sys(SYS_pselect6, full_.r + 1, &set, nullptr, nullptr, &same, nullptr));
  pollfd p = {full_.r, POLLIN, 0};
  EXPECT_EQ(1, sys(SYS_ppoll, &p, 1, &same, nullptr, 8));
  EXPECT_EQ(0, sys(SYS_ppoll, nullptr, 0, &same, nullptr, 8));
}

TEST_F(SetsTest, TheTimeThatIsLeft) {
  timespec t = {.tv_sec = 100, .tv_nsec = 0};
  fd_set set;
  FD_ZERO(&set);
  FD_SET(full_.r, &set);
  EXPECT_EQ(1, sys(SYS_pselect6, full_.r + 1, &set, nullptr, nullptr, &t, nullptr));
  EXPECT_TRUE(t.tv_sec == 99 && t.tv_nsec > 0) << t.tv_sec << "." << t.tv_nsec;
  t = {.tv_sec = 0, .tv_nsec = 1};
  EXPECT_EQ(0, sys(SYS_ppoll, nullptr, 0, &t, nullptr, 8));
  EXPECT_TRUE(t.tv_sec == 0 && t.tv_nsec == 0);
}

TEST_F(SetsTest, MasksOfPselect) {
  const uint64_t none = 0;
  struct {
    const void* mask;
    size_t size;
  } good = {&none, 8}, short_one = {&none, 7}, nowhere = {bad(), 8};
  timespec t = {};
  EXPECT_EQ(0, sys(SYS_pselect6, 0, nullptr, nullptr, nullptr, &t, &good));
  EXPECT_ERR(EINVAL, sys(SYS_pselect6, 0, nullptr, nullptr, nullptr, &t, &short_one));
  EXPECT_ERR(EFAULT, sys(SYS_pselect6, 0, nullptr, nullptr, nullptr, &t, &nowhere));
  EXPECT_ERR(EFAULT, sys(SYS_pselect6, 0, nullptr, nullptr, nullptr, &t, bad()));
}

TEST_F(SetsTest, ManyDescriptors) {
  std::vector<uint64_t> in(2048 / 64 + 1, 0);
  in[static_cast<size_t>(full_.r) / 64] |= uint64_t{1} << full_.r % 64;
  timeval none = {};
  for (const int count : {full_.r + 1, 512, 1023, 1024, 1025, 2048, 1 << 30}) {
    auto set = in;
    EXPECT_EQ(1, sys(SYS_select, count, set.data(), nullptr, nullptr, &none)) << count;
  }
  EXPECT_ERR(EINVAL, sys(SYS_select, -1, in.data(), nullptr, nullptr, &none));
}

TEST(RequestTest, AtTheEndOfAPage) {
  const Pair p(SOCK_STREAM);
  ASSERT_EQ(3, write(p.a, "abc", 3));
  const Straddle page;
  auto* const n = page.last<int>(sizeof(int));
  EXPECT_OK(sys(SYS_ioctl, p.b, FIONREAD, n));
  EXPECT_EQ(3, *n);
  EXPECT_ERR(EFAULT, sys(SYS_ioctl, p.b, FIONREAD, page.last(3)));
  *n = 1;
  EXPECT_OK(sys(SYS_ioctl, p.b, FIONBIO, n));
  EXPECT_NE(0, fcntl(p.b, F_GETFL) & O_NONBLOCK);
  EXPECT_ERR(EFAULT, sys(SYS_ioctl, p.b, FIONBIO, page.last(3)));

  EXPECT_OK(sys(SYS_prctl, PR_SET_NAME, memcpy(page.last(3), "ab", 3)));
  EXPECT_OK(sys(SYS_prctl, PR_GET_NAME, page.last(16)));
  EXPECT_STREQ("ab", page.last(16));
  EXPECT_ERR(EFAULT, sys(SYS_prctl, PR_GET_NAME, page.last(15)));
  EXPECT_ERR(EFAULT, sys(SYS_prctl, PR_SET_NAME, memset(page.last(3), 'x', 3)));
}

TEST(RequestTest, Locks) {
  const TempDir dir;
  const Fd file(open((dir / "f").c_str(), O_RDWR | O_CREAT, 0600));
  const Straddle page;
  auto* const lock = page.last<struct flock>(sizeof(struct flock));
  *lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 3, .l_len = 4};
  EXPECT_OK(sys(SYS_fcntl, file, F_SETLK, lock));
  in_child([&] {
    *lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET};
    EXPECT_OK(sys(SYS_fcntl, file, F_GETLK, lock));
    EXPECT_EQ(F_WRLCK, lock->l_type);
    EXPECT_EQ(3, lock->l_start);
    EXPECT_EQ(4, lock->l_len);
    EXPECT_EQ(getppid(), lock->l_pid);
  });
  EXPECT_ERR(EFAULT, sys(SYS_fcntl, file, F_SETLK, page.last(sizeof(struct flock) - 1)));
  const ReadOnly asked(*lock);
  EXPECT_OK(sys(SYS_fcntl, file, F_OFD_SETLK, &ReadOnly(flock{.l_type = F_UNLCK})));
  EXPECT_ERR(EFAULT, sys(SYS_fcntl, file, F_GETLK, &asked));
}

}  // namespace
}  // namespace run9::guest
