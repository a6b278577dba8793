#!/usr/bin/env python3
"""Clients that mean harm to run9-gofer: what they get, and that others go on being served meanwhile.

usage: hostile_client_test.py BIN_DIR
"""
import errno
import fcntl
import os
import resource
import select
import socket
import struct
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../tests/support"))
import ninep
from hostile_client import HostileTest, Neighbour, Storm
from mounts import exchange, mount, own_mounts
from patience import room
from sandbox import Host, read, wait_for

HostileTest.bin_dir = sys.argv.pop(1)


class Frames(HostileTest):
    def test_half_frames_of_every_length(self):
        self.serve()
        request = ninep.frame(ninep.TWALK, 1, struct.pack("<IIH", 0, 1, 1) + ninep.string("neighbour"))
        with Neighbour(self.at):
            for n in range(1, len(request), 3):
                c = self.client()
                c.raw(request[:n])
                if n % 2:
                    c.close()  # killed at this byte
                else:
                    self.assertEqual(c.wait_for_hangup(), b"")

    def test_sizes_that_cannot_be(self):
        self.serve()
        with Neighbour(self.at):
            for size in (0, 4, 6, 65537, 1 << 20, 1 << 30, 0xFFFFFFFF):
                c = self.client()
                c.raw(struct.pack("<IBH", size, ninep.TREAD, 1) + b"x" * 100)
                self.assertEqual(c.wait_for_hangup(), b"", size)
        self.assertLess(self.memory(), room(16 << 20))

    def test_replies_and_garbage_instead_of_requests(self):
        self.serve()
        with Neighbour(self.at):
            c = self.client()
            for kind in (*range(1, 256, 2), 6, 106, 112, 126, 200, 254):
                c.send(kind, os.urandom(kind % 40), 7)
                self.assertEqual(c.receive()[:2], (ninep.RLERROR, 7), kind)
            # Bodies that end too early or lie about their parts' lengths.
            for body in (b"", b"\0" * 5, struct.pack("<IIH", 0, 1, 16), struct.pack("<IIHH", 0, 1, 1, 65535), struct.pack("<IIH", 0, 1, 17) + ninep.string("a") * 17):
                self.fails(errno.EINVAL, c.call, ninep.TWALK, body)
            self.assertEqual(c.walk(0, 1, "neighbour"), 1)

    def test_nothing_before_the_version(self):
        self.serve()
        s = ninep.connect(self.at)
        self.addCleanup(s.close)
        for _ in range(2):
            s.sendall(ninep.frame(ninep.TATTACH, 1, struct.pack("<II", 0, ninep.NOFID) + ninep.string("") * 2 + b"\xff" * 4))
        data = b""
        while more := s.recv(65536):
            data += more
        self.assertEqual(len(data), 11)  # one refusal, then the end

    def test_tags_in_use(self):
        """Each request is answered before the next is looked at: one reply for each, in order, whatever its tag."""
        self.serve()
        c = self.client()
        # As many at a time as a socket holds replies: a server that answers each at once sends small ones.
        for _ in range(25):
            for _ in range(20):
                c.send(ninep.TGETATTR, struct.pack("<IQ", 0, 0x7FF), 5)
                c.send(ninep.TFLUSH, struct.pack("<H", 5), 5)
            self.assertEqual([c.receive()[0] for _ in range(40)], [ninep.TGETATTR + 1, ninep.TFLUSH + 1] * 20)

    def test_who_never_reads(self):
        self.serve()
        before = self.memory()
        with Neighbour(self.at):
            c = self.client(msize=1 << 20)
            c.find(0, 1, "neighbour")
            c.open(1)
            ask = ninep.frame(ninep.TREADDIR, 1, struct.pack("<IQI", 0, 0, 1 << 20)) + ninep.frame(ninep.TGETATTR, 2, struct.pack("<IQ", 0, 0x7FF))
            with self.assertRaises(OSError):
                while True:
                    c.socket.sendall(ask * 1000)
                    self.assertLess(self.memory() - before, room(8 << 20))

    def test_lines_of_log_are_few(self):
        self.serve()
        for _ in range(300):
            c = self.client()
            c.raw(b"\n\x1b[31m\0\xff\xff\xff\xff")
            c.wait_for_hangup()
            c.close()
        text = read(self.log.name)
        self.assertLessEqual(len(text.splitlines()), 25)
        self.assertNotIn("\x1b", text)


class Locks(HostileTest):
    """Tlockx that waits: the one request that is not answered at once."""

    def serve_locks(self):
        self.serve()
        self.held = open(self.host("neighbour"), "r+")
        self.addCleanup(self.held.close)
        fcntl.lockf(self.held, fcntl.LOCK_EX)

    def locker(self):
        c = self.client(version=ninep.DIALECT)
        c.find(0, 1, "neighbour")
        c.open(1, os.O_RDWR)
        return c

    def threads(self):
        return len(Host.threads(self.gofer.pid))

    def no_reply(self, c):
        self.assertEqual(select.select([c.socket], [], [], 0.05)[0], [])

    def test_granted_later(self):
        self.serve_locks()
        with Neighbour(self.at):
            c = self.locker()
            self.assertEqual(c.lockx(1), 1)
            tag = c.send_lockx(1)
            self.assertEqual(c.read(1), b"content")  # others go on being answered
            self.no_reply(c)
            fcntl.lockf(self.held, fcntl.LOCK_UN)
            self.assertEqual(c.receive(), (ninep.TLOCKX + 1, tag, b"\0"))
            with self.assertRaises(BlockingIOError):
                fcntl.lockf(self.held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.assertEqual(c.lockx(1, ninep.UNLCK), 0)
            fcntl.lockf(self.held, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def test_whole_files(self):
        self.serve_locks()
        fcntl.flock(self.held, fcntl.LOCK_EX)
        c = self.locker()
        self.assertEqual(c.lockx(1, flags=ninep.LOCK_WHOLE), 1)
        tag = c.send_lockx(1, flags=ninep.LOCK_WHOLE | ninep.LOCK_WAIT)
        fcntl.flock(self.held, fcntl.LOCK_UN)
        self.assertEqual(c.receive(), (ninep.TLOCKX + 1, tag, b"\0"))
        with self.assertRaises(BlockingIOError):
            fcntl.flock(self.held, fcntl.LOCK_SH | fcntl.LOCK_NB)
        self.fails(errno.EINVAL, c.lockx, 1, flags=ninep.LOCK_WHOLE, length=1)

    def test_flushed(self):
        self.serve_locks()
        before = self.threads()
        c = self.locker()
        for _ in range(50):
            tag = c.send_lockx(1)
            flush = c.flush(tag)
            self.assertEqual(c.receive(), (ninep.RLERROR, tag, struct.pack("<I", errno.EINTR)))
            self.assertEqual(c.receive(), (ninep.TFLUSH + 1, flush, b""))
        self.assertEqual(self.threads(), before)
        # What was given up is nobody's.
        fcntl.lockf(self.held, fcntl.LOCK_UN)
        fcntl.lockf(self.held, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def test_too_many_and_gone(self):
        self.serve_locks()
        before = self.threads()
        with Neighbour(self.at):
            c = self.locker()
            tags = [c.send_lockx(1, start=n, length=1) for n in range(64)]
            c.send_lockx(1)
            self.assertEqual(c.receive()[::2], (ninep.RLERROR, struct.pack("<I", errno.ENOLCK)))
            self.assertEqual(self.threads(), before + 64)
            c.clunk(1)  # they wait by themselves
            c.flush(tags[5])
            self.assertEqual(c.receive()[:2], (ninep.RLERROR, tags[5]))
            c.receive()
            c.close()
            wait_for(lambda: self.threads() == before, "all waits over")
            # A new session ends them too, and answers none.
            c = self.locker()
            c.send_lockx(1)
            c.call(ninep.TVERSION, struct.pack("<I", 65536) + ninep.string(ninep.DIALECT), ninep.NOTAG)
            self.assertEqual(self.threads(), before)

    def test_a_tag_that_waits(self):
        self.serve_locks()
        c = self.locker()
        tag = c.send_lockx(1)
        c.send(ninep.TGETATTR, struct.pack("<IQ", 0, 0x7FF), tag)
        self.assertEqual(c.wait_for_hangup(), b"")

    def test_what_cannot_be(self):
        self.serve_locks()
        c = self.locker()
        for kind, flags, start, length in ((3, 0, 0, 0), (1, 4, 0, 0), (1, 0, 1 << 63, 0), (1, 0, 1 << 62, 1 << 62)):
            self.fails(errno.EINVAL, c.lockx, 1, kind, flags, start, length)
        self.fails(errno.EBADF, c.lockx, 0)  # not open
        c.clunk(1)
        c.find(0, 1, "neighbour")
        c.open(1)
        self.fails(errno.EBADF, c.lockx, 1)  # not open for writing
        plain = self.client()
        plain.find(0, 1, "neighbour")
        plain.open(1)
        self.fails(errno.EOPNOTSUPP, plain.lockx, 1)


class Sockets(HostileTest):
    def listener(self, path, kind=socket.SOCK_STREAM):
        s = socket.socket(socket.AF_UNIX, kind)
        self.addCleanup(s.close)
        s.bind(path)
        if kind != socket.SOCK_DGRAM:
            s.listen(1)
        return s

    def test_not_without_the_option(self):
        self.serve()
        self.listener(self.host("socket"))
        c = self.client(version=ninep.DIALECT)
        c.find(0, 1, "socket")
        self.fails(errno.EOPNOTSUPP, c.sock, 1)

    def test_what_is_connected_to(self):
        self.serve("--host-sockets")
        inside, outside = self.listener(self.host("socket")), self.listener(os.path.join(self.outside, "socket"))
        datagrams = self.listener(self.host("datagrams"), socket.SOCK_DGRAM)
        os.symlink(os.path.join(self.outside, "socket"), self.host("link"))
        os.mkfifo(self.host("fifo"))
        with Neighbour(self.at):
            c = self.client(version=ninep.DIALECT)
            for fid, name in enumerate(("socket", "link", "fifo", "neighbour", "datagrams"), 1):
                c.find(0, fid, name)
            c.sock(1)
            inside.accept()[0].close()
            for fid in (0, 2, 3, 4):
                self.fails(errno.ECONNREFUSED, c.sock, fid)
            for kind in (0, 3, 4, 1 << 31, socket.SOCK_STREAM | socket.SOCK_NONBLOCK):
                self.fails(errno.EINVAL, c.sock, 1, kind)
            self.fails(errno.EPROTOTYPE, c.sock, 1, socket.SOCK_SEQPACKET)
            self.fails(errno.EPROTOTYPE, c.sock, 5)
            c.sock(5, socket.SOCK_DGRAM)
            # A name that is somebody else's by now.
            os.unlink(self.host("socket"))
            self.fails(errno.ENOENT, c.sock, 1)
            other = self.listener(self.host("socket"))
            self.fails(errno.ESTALE, c.sock, 1)
            os.unlink(self.host("socket"))
            os.symlink(os.path.join(self.outside, "socket"), self.host("socket"))
            self.fails(errno.ESTALE, c.sock, 1)
            self.assertEqual(select.select([outside, other, datagrams], [], [], 0)[0], [])

    def test_a_link_that_comes_in_between(self):
        """connect(2) follows links: what they name is looked for below the gofer's root, where nothing else is."""
        self.serve("--host-sockets")
        self.listener(self.host("a"))
        outside = self.listener(os.path.join(self.outside, "socket"))
        os.symlink(os.path.join(self.outside, "socket"), self.host("b"))
        with Storm(lambda: exchange(self.host("a"), self.host("b"))), Neighbour(self.at):
            c = self.client(version=ninep.DIALECT)
            for n in range(1, 2000):
                c.find(0, n, "a")
                try:
                    c.sock(n)
                except OSError as e:
                    self.assertIn(e.errno, (errno.ECONNREFUSED, errno.ESTALE, errno.ENOENT, errno.EAGAIN))
        self.assertEqual(select.select([outside], [], [], 0)[0], [])

    def test_a_full_queue(self):
        self.serve("--host-sockets")
        self.listener(self.host("socket"))
        with Neighbour(self.at):
            c = self.client(version=ninep.DIALECT)
            c.find(0, 1, "socket")
            with self.assertRaises(BlockingIOError):
                for _ in range(10):
                    c.sock(1)


class Limits(HostileTest):
    def test_a_million_fids(self):
        """There are 65536 for a connection; walks beyond are ENFILE, and the memory is bounded."""
        self.serve()
        with Neighbour(self.at):
            c = self.client(msize=1 << 20)
            refused = 0
            for first in range(1, 1_000_000, 2000):
                frames = b"".join(ninep.frame(ninep.TWALK, 1, struct.pack("<IIH", 0, fid, 0)) for fid in range(first, first + 2000))
                c.raw(frames)
                kinds = [c.receive()[0] for _ in range(2000)]
                refused += kinds.count(ninep.RLERROR)
                if refused and first > 100_000:
                    break  # it goes on like this
            self.assertGreater(refused, 2000)
            self.assertLess(self.memory(), room(64 << 20))
            c.close()

    def test_descriptors_are_shared_out(self):
        """Two connections that take what they can get leave a third one its share."""
        for i in range(600):
            self.write(f"tree/n{i}", "")
        self.serve(before=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024)))
        with Neighbour(self.at):
            greedy = [self.client() for _ in range(2)]
            for c in greedy:
                with self.assertRaises(OSError) as caught:
                    for i in range(600):
                        c.find(0, 1000 + i, f"n{i}")
                        c.open(c.find(0, 5000 + i, f"n{i}"))
                self.assertEqual(caught.exception.errno, errno.ENFILE)
            third = self.client()
            for i in range(20):
                third.open(third.find(0, 10 + i, f"n{i}"))
        # What they held is there again.
        for c in (*greedy, third):
            c.close()
        last = self.client()
        wait_for(lambda: self.takes(last, 100), "descriptors that were given back")

    @staticmethod
    def takes(c, count):
        try:
            for i in range(count):
                c.find(0, 10 + i, f"n{i}")
            return True
        except OSError:
            return False
        finally:
            for i in range(count):
                try:
                    c.clunk(10 + i)
                except OSError:
                    pass

    def test_big_attributes(self):
        self.serve()
        with Neighbour(self.at):
            c = self.client()
            for size in (1 << 30, 1 << 62, 65537):
                c.find(0, 1, "neighbour")
                with self.assertRaises(OSError):
                    c.call(ninep.TXATTRCREATE, struct.pack("<I", 1) + ninep.string("user.q") + struct.pack("<QI", size, 0))
                c.clunk(1)
            self.assertLess(self.memory(), room(16 << 20))

    def test_no_space_is_an_errno(self):
        if os.geteuid() != 0:
            self.skipTest("mounts a small tmpfs")

        def small():
            own_mounts()
            mount("tmpfs", self.tree, "size=64k,nr_inodes=20")
            self.write("tree/neighbour", "content")

        self.serve(before=small)
        with Neighbour(self.at):
            c = self.client()
            c.walk(0, 1)
            c.create(1, "big")
            with self.assertRaises(OSError) as caught:
                for i in range(100):
                    c.write(1, b"x" * 60000, i * 60000)
            self.assertEqual(caught.exception.errno, errno.ENOSPC)
            with self.assertRaises(OSError) as caught:
                for i in range(100):
                    c.mkdir(0, f"d{i}")
            self.assertEqual(caught.exception.errno, errno.ENOSPC)
            self.fails(errno.EINVAL, c.setattr, 1, size=1 << 63)


if __name__ == "__main__":
    unittest.main()
