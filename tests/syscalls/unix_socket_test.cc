// Sockets of the AF_UNIX family: pairs, names, messages, passed descriptors and credentials.
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>

#include "tests/syscalls/test_util.h"

namespace run9::guest {
namespace {

struct Pair {
  Fd a, b;
  explicit Pair(int type = SOCK_STREAM) {
    int fds[2];
    if (sys(SYS_socketpair, AF_UNIX, type, 0, fds) != 0) abort();
    a = Fd(fds[0]);
    b = Fd(fds[1]);
  }
};

class UnixSocketTest : public DirTest {
 protected:
  sockaddr_un address(const std::string& name) const {
    sockaddr_un out = {};
    out.sun_family = AF_UNIX;
    strcpy(out.sun_path, at(name).c_str());
    return out;
  }
  Fd make(int type = SOCK_STREAM) const { return Fd(sys(SYS_socket, AF_UNIX, type, 0)); }
  Fd listener(const std::string& name, int type = SOCK_STREAM) const {
    Fd fd = make(type);
    const sockaddr_un a = address(name);
    EXPECT_OK(sys(SYS_bind, fd, &a, sizeof(a)));
    EXPECT_OK(sys(SYS_listen, fd, 5));
    return fd;
  }
};

TEST_F(UnixSocketTest, SocketErrors) {
  EXPECT_ERR(EAFNOSUPPORT, sys(SYS_socket, 99, SOCK_STREAM, 0));
  EXPECT_ERR(EINVAL, sys(SYS_socket, AF_UNIX, 77, 0));
  EXPECT_ERR(EPROTONOSUPPORT, sys(SYS_socket, AF_UNIX, SOCK_STREAM, 99));
  EXPECT_ERR(ESOCKTNOSUPPORT, sys(SYS_socket, AF_UNIX, SOCK_RDM, 0));
  int fds[2];
  EXPECT_ERR(EAFNOSUPPORT, sys(SYS_socketpair, 99, SOCK_STREAM, 0, fds));
  EXPECT_ERR(EFAULT, sys(SYS_socketpair, AF_UNIX, SOCK_STREAM, 0, bad()));
  Fd fd(sys(SYS_socket, AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  EXPECT_EQ(FD_CLOEXEC, fcntl(fd, F_GETFD));
  EXPECT_NE(0, fcntl(fd, F_GETFL) & O_NONBLOCK);
}

TEST_F(UnixSocketTest, NotASocket) {
  Fd file(open("/dev/null", O_RDWR));
  sockaddr_un a = address("s");
  socklen_t size = sizeof(a);
  char c;
  EXPECT_ERR(ENOTSOCK, sys(SYS_bind, file, &a, size));
  EXPECT_ERR(ENOTSOCK, sys(SYS_connect, file, &a, size));
  EXPECT_ERR(ENOTSOCK, sys(SYS_listen, file, 1));
  EXPECT_ERR(ENOTSOCK, sys(SYS_accept, file, nullptr, nullptr));
  EXPECT_ERR(ENOTSOCK, sys(SYS_sendto, file, &c, 1, 0, nullptr, 0));
  EXPECT_ERR(ENOTSOCK, sys(SYS_recvfrom, file, &c, 1, 0, nullptr, nullptr));
  EXPECT_ERR(ENOTSOCK, sys(SYS_shutdown, file, SHUT_RD));
  EXPECT_ERR(ENOTSOCK, sys(SYS_getsockname, file, &a, &size));
  EXPECT_ERR(ENOTSOCK, sys(SYS_getpeername, file, &a, &size));
  for (long nr : {SYS_bind, SYS_connect}) EXPECT_ERR(EBADF, sys(nr, dead_fd(), &a, size));
  EXPECT_ERR(EBADF, sys(SYS_listen, dead_fd(), 1));
  EXPECT_ERR(EBADF, sys(SYS_accept, dead_fd(), nullptr, nullptr));
  EXPECT_ERR(EBADF, sys(SYS_sendto, dead_fd(), &c, 1, 0, nullptr, 0));
  EXPECT_ERR(EBADF, sys(SYS_recvfrom, dead_fd(), &c, 1, 0, nullptr, nullptr));
  EXPECT_ERR(EBADF, sys(SYS_shutdown, dead_fd(), SHUT_RD));
}

TEST_F(UnixSocketTest, StreamPair) {
  Pair s;
  char buffer[16] = {};
  EXPECT_EQ(5, write(s.a, "hello", 5));
  EXPECT_EQ(3, sys(SYS_recvfrom, s.b, buffer, 3, 0, nullptr, nullptr));
  EXPECT_EQ(2, sys(SYS_recvfrom, s.b, buffer, 16, MSG_PEEK, nullptr, nullptr));
  EXPECT_EQ(2, read(s.b, buffer, 16));
  EXPECT_ERR(EAGAIN, sys(SYS_recvfrom, s.b, buffer, 16, MSG_DONTWAIT, nullptr, nullptr));
  EXPECT_EQ(2, sys(SYS_sendto, s.b, "ok", 2, 0, nullptr, 0));
  int n = 0;
  EXPECT_OK(ioctl(s.a, FIONREAD, &n));
  EXPECT_EQ(2, n);
  EXPECT_EQ(2, read(s.a, buffer, 16));
  EXPECT_ERR(EFAULT, sys(SYS_sendto, s.a, bad(), 4, 0, nullptr, 0));
  ASSERT_EQ(1, write(s.a, "x", 1));
  EXPECT_ERR(EFAULT, sys(SYS_recvfrom, s.b, bad(), 4, 0, nullptr, nullptr));
  EXPECT_ERR(ESPIPE, lseek(s.a, 0, SEEK_CUR));
  s.a.reset();
  EXPECT_EQ(1, read(s.b, buffer, 16));
  EXPECT_EQ(0, read(s.b, buffer, 16));
  signal(SIGPIPE, SIG_IGN);
  EXPECT_ERR(EPIPE, write(s.b, "x", 1));
  signal(SIGPIPE, SIG_DFL);
  EXPECT_ERR(EPIPE, sys(SYS_sendto, s.b, "x", 1, MSG_NOSIGNAL, nullptr, 0));
}

TEST_F(UnixSocketTest, WaitAllCollectsPieces) {
  Pair s;
  const pid_t pid = spawn([&] {
    for (char c = 'a'; c < 'f'; ++c) write(s.a, &c, 1);
  });
  char buffer[8] = {};
  EXPECT_EQ(5, recv(s.b, buffer, 5, MSG_WAITALL));
  EXPECT_STREQ("abcde", buffer);
  EXPECT_EQ(0, reap(pid));
}

TEST_F(UnixSocketTest, DatagramsAndPacketsKeepTheirBorders) {
  for (int type : {SOCK_DGRAM, SOCK_SEQPACKET}) {
    Pair s(type);
    char buffer[16] = {};
    EXPECT_EQ(3, write(s.a, "abc", 3));
    EXPECT_EQ(2, write(s.a, "de", 2));
    EXPECT_EQ(1, read(s.b, buffer, 1));             // the rest is dropped
    EXPECT_EQ(2, recv(s.b, buffer, 1, MSG_TRUNC));  // the real length
    EXPECT_EQ(0, write(s.a, "", 0));
    EXPECT_EQ(0, read(s.b, buffer, 16));
  }
}

TEST_F(UnixSocketTest, Shutdown) {
  Pair s;
  char c;
  EXPECT_OK(sys(SYS_shutdown, s.a, SHUT_WR));
  EXPECT_EQ(0, read(s.b, &c, 1));
  EXPECT_EQ(1, write(s.b, "x", 1));
  EXPECT_EQ(1, read(s.a, &c, 1));
  signal(SIGPIPE, SIG_IGN);
  EXPECT_ERR(EPIPE, write(s.a, "x", 1));
  signal(SIGPIPE, SIG_DFL);
  EXPECT_ERR(EINVAL, sys(SYS_shutdown, s.a, 9));
}

TEST_F(UnixSocketTest, BindListenConnectAccept) {
  Fd server = listener("s");
  struct stat st;
  ASSERT_OK(stat(at("s").c_str(), &st));
  EXPECT_TRUE(S_ISSOCK(st.st_mode));
  const pid_t pid = spawn([&] {
    Fd client = make();
    const sockaddr_un a = address("s");
    ASSERT_OK(sys(SYS_connect, client, &a, sizeof(a)));
    EXPECT_EQ(4, write(client, "ping", 4));
    char buffer[8] = {};
    EXPECT_EQ(4, read(client, buffer, 8));
    EXPECT_STREQ("pong", buffer);
  });
  sockaddr_un peer;
  socklen_t size = sizeof(peer);
  Fd connection(sys(SYS_accept4, server, &peer, &size, SOCK_CLOEXEC));
  ASSERT_OK(+connection);
  EXPECT_EQ(FD_CLOEXEC, fcntl(connection, F_GETFD));
  EXPECT_EQ(2u, size);  // a client without a name
  char buffer[8] = {};
  EXPECT_EQ(4, read(connection, buffer, 8));
  EXPECT_EQ(4, write(connection, "pong", 4));
  ucred cred = {};
  socklen_t cred_size = sizeof(cred);
  EXPECT_OK(sys(SYS_getsockopt, connection, SOL_SOCKET, SO_PEERCRED, &cred, &cred_size));
  EXPECT_EQ(pid, cred.pid);
  EXPECT_EQ(geteuid(), cred.uid);
  EXPECT_EQ(0, reap(pid));
  size = sizeof(peer);
  EXPECT_OK(sys(SYS_getsockname, connection, &peer, &size));
  EXPECT_EQ(at("s"), peer.sun_path);
  size = sizeof(peer);
  EXPECT_OK(sys(SYS_getpeername, connection, &peer, &size));
  EXPECT_EQ(2u, size);
}

TEST_F(UnixSocketTest, ConnectAndAcceptErrors) {
  Fd server = listener("s"), client = make();
  sockaddr_un a = address("s"), missing = address("x");
  EXPECT_ERR(ENOENT, sys(SYS_connect, client, &missing, sizeof(missing)));
  EXPECT_ERR(EFAULT, sys(SYS_connect, client, bad(), sizeof(a)));
  EXPECT_ERR(EINVAL, sys(SYS_connect, client, &a, 1));
  make_file("f");
  const sockaddr_un file = address("f");
  EXPECT_ERR(ECONNREFUSED, sys(SYS_connect, client, &file, sizeof(file)));
  EXPECT_ERR(EADDRINUSE, sys(SYS_bind, client, &a, sizeof(a)));
  EXPECT_ERR(EINVAL, sys(SYS_bind, server, &missing, sizeof(missing)));  // it has a name
  EXPECT_ERR(EFAULT, sys(SYS_bind, client, bad(), sizeof(a)));
  EXPECT_ERR(EINVAL, sys(SYS_bind, client, &a, 200));
  EXPECT_ERR(EINVAL, sys(SYS_accept4, server, nullptr, nullptr, 1));
  EXPECT_ERR(EINVAL, sys(SYS_accept, client, nullptr, nullptr));  // it does not listen
  EXPECT_ERR(EINVAL, sys(SYS_listen, client, 5));                 // it has no name
  ASSERT_OK(fcntl(server, F_SETFL, O_NONBLOCK));
  EXPECT_ERR(EAGAIN, sys(SYS_accept, server, nullptr, nullptr));
  ASSERT_OK(connect(client, reinterpret_cast<sockaddr*>(&a), sizeof(a)));
  EXPECT_ERR(EISCONN, sys(SYS_connect, client, &a, sizeof(a)));
  EXPECT_ERR(EFAULT, sys(SYS_accept, server, bad(), bad()));
  server.reset();
  Fd late = make();
  EXPECT_ERR(ECONNREFUSED, sys(SYS_connect, late, &a, sizeof(a)));
  char c;
  socklen_t size = sizeof(a);
  EXPECT_ERR(ENOTCONN, sys(SYS_getpeername, late, &a, &size));
  EXPECT_ERR(ENOTCONN, write(late, "x", 1));
  EXPECT_ERR(EINVAL, read(late, &c, 1));
}

TEST_F(UnixSocketTest, AbstractNamesAndAutobind) {
  Fd server = make();
  sockaddr_un a = {};
  a.sun_family = AF_UNIX;
  const std::string name = "run9-abstract-" + std::to_string(getpid());
  memcpy(a.sun_path + 1, name.data(), name.size());
  const socklen_t size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
  EXPECT_OK(sys(SYS_bind, server, &a, size));
  EXPECT_OK(sys(SYS_listen, server, 1));
  Fd client = make();
  EXPECT_OK(sys(SYS_connect, client, &a, size));
  Fd other = make();
  EXPECT_ERR(EADDRINUSE, sys(SYS_bind, other, &a, size));
  sa_family_t family = AF_UNIX;
  EXPECT_OK(sys(SYS_bind, other, &family, sizeof(family)));  // the kernel picks a name
  sockaddr_un got;
  socklen_t got_size = sizeof(got);
  EXPECT_OK(sys(SYS_getsockname, other, &got, &got_size));
  EXPECT_EQ(8u, got_size);
  EXPECT_EQ(0, got.sun_path[0]);
}

TEST_F(UnixSocketTest, DatagramByName) {
  Fd receiver = make(SOCK_DGRAM), sender = make(SOCK_DGRAM);
  sockaddr_un to = address("r"), from = address("s"), got = {};
  ASSERT_OK(sys(SYS_bind, receiver, &to, sizeof(to)));
  ASSERT_OK(sys(SYS_bind, sender, &from, sizeof(from)));
  EXPECT_EQ(2, sys(SYS_sendto, sender, "hi", 2, 0, &to, sizeof(to)));
  char buffer[8] = {};
  socklen_t size = sizeof(got);
  EXPECT_EQ(2, sys(SYS_recvfrom, receiver, buffer, 8, 0, &got, &size));
  EXPECT_EQ(at("s"), got.sun_path);
  EXPECT_ERR(ENOTCONN, sys(SYS_sendto, sender, "x", 1, 0, nullptr, 0));
  const sockaddr_un missing = address("x");
  EXPECT_ERR(ENOENT, sys(SYS_sendto, sender, "x", 1, 0, &missing, sizeof(missing)));
  EXPECT_OK(sys(SYS_connect, sender, &to, sizeof(to)));
  EXPECT_EQ(1, write(sender, "y", 1));
  EXPECT_EQ(1, read(receiver, buffer, 8));
  EXPECT_ERR(EOPNOTSUPP, sys(SYS_listen, receiver, 1));
}

// One message with a data byte and room for control data.
struct Message {
  char data[16] = "x";
  iovec v = {data, 1};
  alignas(cmsghdr) char control[256] = {};
  msghdr header = {};
  Message() {
    header.msg_iov = &v;
    header.msg_iovlen = 1;
  }
  void add(int type, const void* bytes, size_t size) {
    header.msg_control = control;
    header.msg_controllen = CMSG_SPACE(size);
    cmsghdr* c = CMSG_FIRSTHDR(&header);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = type;
    c->cmsg_len = CMSG_LEN(size);
    memcpy(CMSG_DATA(c), bytes, size);
  }
  void make_room() {
    header.msg_control = control;
    header.msg_controllen = sizeof(control);
  }
};

TEST_F(UnixSocketTest, SendmsgGathersRecvmsgScatters) {
  Pair s;
  iovec out[2] = {{const_cast<char*>("ab"), 2}, {const_cast<char*>("cde"), 3}};
  msghdr m = {};
  m.msg_iov = out;
  m.msg_iovlen = 2;
  EXPECT_EQ(5, sys(SYS_sendmsg, s.a, &m, 0));
  char x[3] = {}, y[8] = {};
  iovec in[2] = {{x, 2}, {y, 7}};
  m.msg_iov = in;
  EXPECT_EQ(5, sys(SYS_recvmsg, s.b, &m, 0));
  EXPECT_STREQ("ab", x);
  EXPECT_STREQ("cde", y);
  EXPECT_EQ(0, m.msg_flags);
  EXPECT_ERR(EFAULT, sys(SYS_sendmsg, s.a, bad(), 0));
  EXPECT_ERR(EFAULT, sys(SYS_recvmsg, s.b, bad(), 0));
  m.msg_iov = bad<iovec>();
  EXPECT_ERR(EFAULT, sys(SYS_sendmsg, s.a, &m, 0));
  EXPECT_ERR(EBADF, sys(SYS_sendmsg, dead_fd(), &m, 0));
  EXPECT_ERR(EBADF, sys(SYS_recvmsg, dead_fd(), &m, 0));
  m.msg_iov = in;
  m.msg_iovlen = 2000;
  EXPECT_ERR(EMSGSIZE, sys(SYS_sendmsg, s.a, &m, 0));
}

TEST_F(UnixSocketTest, PassesDescriptors) {
  Pair s;
  Fd file = open_file("f", "content");
  Message out, in;
  const int fd = file;
  out.add(SCM_RIGHTS, &fd, sizeof(fd));
  ASSERT_EQ(1, sendmsg(s.a, &out.header, 0));
  file.reset();
  unlink(at("f").c_str());
  in.make_room();
  ASSERT_EQ(1, recvmsg(s.b, &in.header, MSG_CMSG_CLOEXEC));
  cmsghdr* c = CMSG_FIRSTHDR(&in.header);
  ASSERT_NE(nullptr, c);
  EXPECT_EQ(SCM_RIGHTS, c->cmsg_type);
  EXPECT_EQ(CMSG_LEN(4), c->cmsg_len);
  Fd got(*reinterpret_cast<int*>(CMSG_DATA(c)));
  EXPECT_EQ(FD_CLOEXEC, fcntl(got, F_GETFD));
  char buffer[16] = {};
  EXPECT_EQ(7, read(got, buffer, 16));
  Message wrong;
  const int closed = dead_fd();
  wrong.add(SCM_RIGHTS, &closed, sizeof(closed));
  EXPECT_ERR(EBADF, sendmsg(s.a, &wrong.header, 0));
  // Without room for them the descriptors are dropped, and the flag says so.
  const int null = open("/dev/null", O_RDONLY);
  Message again, small;
  again.add(SCM_RIGHTS, &null, sizeof(null));
  ASSERT_EQ(1, sendmsg(s.a, &again.header, 0));
  close(null);
  ASSERT_EQ(1, recvmsg(s.b, &small.header, 0));
  EXPECT_EQ(MSG_CTRUNC, small.header.msg_flags & MSG_CTRUNC);
}

TEST_F(UnixSocketTest, PassesCredentials) {
  Pair s;
  const int on = 1;
  ASSERT_OK(sys(SYS_setsockopt, s.b, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)));
  ASSERT_EQ(1, write(s.a, "x", 1));
  Message in;
  in.make_room();
  ASSERT_EQ(1, recvmsg(s.b, &in.header, 0));
  cmsghdr* c = CMSG_FIRSTHDR(&in.header);
  ASSERT_NE(nullptr, c);
  EXPECT_EQ(SCM_CREDENTIALS, c->cmsg_type);
  const auto* cred = reinterpret_cast<const ucred*>(CMSG_DATA(c));
  EXPECT_EQ(getpid(), cred->pid);
  EXPECT_EQ(geteuid(), cred->uid);
}

TEST_F(UnixSocketTest, ManyMessagesAtOnce) {
  Pair s(SOCK_DGRAM);
  Message m[3];
  mmsghdr v[3] = {};
  for (int i = 0; i < 3; ++i) v[i].msg_hdr = m[i].header;
  EXPECT_EQ(3, sys(SYS_sendmmsg, s.a, v, 3, 0));
  EXPECT_EQ(1u, v[2].msg_len);
  EXPECT_EQ(3, sys(SYS_recvmmsg, s.b, v, 3, MSG_DONTWAIT, nullptr));
  EXPECT_ERR(EAGAIN, sys(SYS_recvmmsg, s.b, v, 3, MSG_DONTWAIT, nullptr));
  EXPECT_ERR(EBADF, sys(SYS_sendmmsg, dead_fd(), v, 3, 0));
  EXPECT_ERR(EFAULT, sys(SYS_sendmmsg, s.a, bad(), 3, 0));
  EXPECT_ERR(EBADF, sys(SYS_recvmmsg, dead_fd(), v, 3, 0, nullptr));
}

TEST_F(UnixSocketTest, Options) {
  Pair s;
  int value = 0;
  socklen_t size = sizeof(value);
  EXPECT_OK(sys(SYS_getsockopt, s.a, SOL_SOCKET, SO_TYPE, &value, &size));
  EXPECT_EQ(SOCK_STREAM, value);
  EXPECT_OK(sys(SYS_getsockopt, s.a, SOL_SOCKET, SO_DOMAIN, &value, &size));
  EXPECT_EQ(AF_UNIX, value);
  EXPECT_OK(sys(SYS_getsockopt, s.a, SOL_SOCKET, SO_ERROR, &value, &size));
  EXPECT_EQ(0, value);
  EXPECT_OK(sys(SYS_getsockopt, s.a, SOL_SOCKET, SO_SNDBUF, &value, &size));
  EXPECT_GT(value, 1000);
  value = 8192;
  EXPECT_OK(sys(SYS_setsockopt, s.a, SOL_SOCKET, SO_SNDBUF, &value, sizeof(value)));
  const timeval soon = {0, 1000};
  EXPECT_OK(sys(SYS_setsockopt, s.a, SOL_SOCKET, SO_RCVTIMEO, &soon, sizeof(soon)));
  char c;
  EXPECT_ERR(EAGAIN, read(s.a, &c, 1));
  EXPECT_ERR(ENOPROTOOPT, sys(SYS_getsockopt, s.a, SOL_SOCKET, 9999, &value, &size));
  EXPECT_ERR(ENOPROTOOPT, sys(SYS_setsockopt, s.a, SOL_SOCKET, 9999, &value, sizeof(value)));
  EXPECT_ERR(EFAULT, sys(SYS_getsockopt, s.a, SOL_SOCKET, SO_TYPE, bad(), &size));
  EXPECT_ERR(EFAULT, sys(SYS_getsockopt, s.a, SOL_SOCKET, SO_TYPE, &value, bad()));
  EXPECT_ERR(EFAULT, sys(SYS_setsockopt, s.a, SOL_SOCKET, SO_SNDBUF, bad(), 4));
  EXPECT_ERR(EINVAL, sys(SYS_setsockopt, s.a, SOL_SOCKET, SO_SNDBUF, &value, 1));
  EXPECT_ERR(EBADF, sys(SYS_getsockopt, dead_fd(), SOL_SOCKET, SO_TYPE, &value, &size));
  EXPECT_ERR(EBADF, sys(SYS_setsockopt, dead_fd(), SOL_SOCKET, SO_TYPE, &value, 4));
}

TEST_F(UnixSocketTest, PollStates) {
  Pair s;
  pollfd p = {s.a, POLLIN | POLLOUT | POLLRDHUP, 0};
  EXPECT_EQ(1, poll(&p, 1, 0));
  EXPECT_EQ(POLLOUT, p.revents);
  ASSERT_EQ(1, write(s.b, "x", 1));
  EXPECT_EQ(1, poll(&p, 1, -1));
  EXPECT_EQ(POLLIN | POLLOUT, p.revents);
  s.b.reset();
  EXPECT_EQ(1, poll(&p, 1, -1));
  EXPECT_EQ(POLLIN | POLLOUT | POLLHUP | POLLRDHUP, p.revents);
  Fd server = listener("s");
  p = {server, POLLIN, 0};
  EXPECT_EQ(0, poll(&p, 1, 0));
  Fd client = make();
  const sockaddr_un a = address("s");
  ASSERT_OK(connect(client, reinterpret_cast<const sockaddr*>(&a), sizeof(a)));
  EXPECT_EQ(1, poll(&p, 1, -1));
}

TEST_F(UnixSocketTest, BlockedReceiverIsInterrupted) {
  Pair s;
  char c;
  AlarmStorm storm;
  EXPECT_ERR(EINTR, sys(SYS_recvfrom, s.a, &c, 1, 0, nullptr, nullptr));
}

TEST_F(UnixSocketTest, MuchDataBothWays) {
  Pair s;
  const pid_t pid = spawn([&] {
    s.a.reset();
    char buffer[8192];
    ssize_t n;
    while ((n = read(s.b, buffer, sizeof(buffer))) > 0) {
      for (ssize_t done = 0; done < n;) {
        const ssize_t w = write(s.b, buffer + done, n - done);
        ASSERT_GT(w, 0);
        done += w;
      }
    }
  });
  s.b.reset();
  std::string chunk(5000, 'z'), back(5000, 0);
  for (int i = 0; i < 100; ++i) {
    chunk[i] = static_cast<char>(i);
    ASSERT_EQ(5000, write(s.a, chunk.data(), 5000));
    ASSERT_EQ(5000, recv(s.a, back.data(), 5000, MSG_WAITALL));
    ASSERT_EQ(chunk, back);
  }
  s.a.reset();
  EXPECT_EQ(0, reap(pid));
}

}  // namespace
}  // namespace run9::guest
