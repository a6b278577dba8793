#!/usr/bin/env python3
"""Trees that change under run9-gofer's feet, and what is in them: nothing outside the export is reached, and nothing blocks.

usage: hostile_tree_test.py BIN_DIR
"""
import errno
import os
import shutil
import socket
import stat
import struct
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../tests/support"))
import ninep
from gofer import Gofer
from hostile_client import HostileTest, Neighbour, Storm
from mounts import exchange, mount, own_mounts
from sandbox import read

HostileTest.bin_dir = sys.argv.pop(1)


class Names(HostileTest):
    def test_names(self):
        self.serve()
        c = self.client()
        os.mkdir(self.host("d"))
        c.find(0, 1, "d")
        for bad in ("..", ".", "", "a/b", "/", "a\0b", "x" * 256):
            for call in (lambda n: c.mkdir(1, n), lambda n: c.symlink(1, n, "t"), lambda n: c.mknod(1, n, stat.S_IFREG | 0o600),
                         lambda n: c.link(1, c.find(0, 2, "neighbour"), n), lambda n: c.rename(0, "neighbour", 1, n),
                         lambda n: c.rename(0, n, 1, "x"), lambda n: c.unlink(1, n), lambda n: c.unlink(1, n, 0x200)):
                with self.assertRaises(OSError, msg=bad):
                    call(bad)
                try:
                    c.clunk(2)
                except OSError:
                    pass
        self.assertEqual(sorted(os.listdir(self.tree)), ["d", "neighbour"])
        for fid, name in enumerate(("a/b", "/etc", "a\0b", "d/")):
            self.fails(errno.EINVAL, c.walk, 0, 10 + fid, name)

    # --no-jail: in the jail there is no outside that a link could lead to. What is tested is the other wall.

    def test_symlink_swaps(self):
        """A directory that is a link to the outside every other moment."""
        os.mkdir(self.host("d"))
        self.write("tree/d/f", "inside")
        os.symlink("../outside", self.host("link"))
        self.serve("--no-jail")
        with Neighbour(self.at), Storm(lambda: exchange(self.host("d"), self.host("link"))):
            c = self.client()
            good = 0
            for i in range(3000):
                try:
                    c.find(0, 1, "d", "f")
                    c.open(1)
                    self.assertEqual(c.read(1), b"inside")
                    good += 1
                except OSError:
                    pass
                try:
                    c.clunk(1)
                except OSError:
                    pass
            self.assertGreater(good, 0)

    def test_a_file_swapped_for_a_link_or_a_fifo(self):
        self.write("tree/f", "inside")
        os.symlink("../outside/f", self.host("link"))
        os.mkfifo(self.host("fifo"))
        self.serve("--no-jail")

        def swap():
            for other in ("link", "fifo"):
                exchange(self.host("f"), self.host(other))
                exchange(self.host("f"), self.host(other))

        with Neighbour(self.at), Storm(swap):
            c = self.client()
            good = 0
            for flags in [os.O_RDONLY, os.O_RDWR] * 1500:
                c.find(0, 1, "f")
                try:
                    c.open(1, flags)
                    self.assertEqual(c.read(1), b"inside")
                    good += 1
                except OSError as e:
                    self.assertIn(e.errno, (errno.ESTALE, errno.ELOOP, errno.EPERM, errno.ENXIO))
                c.clunk(1)
            self.assertGreater(good, 0)
        self.assertEqual(read(os.path.join(self.outside, "f")), "SECRET")

    def test_rename_storm(self):
        """Two clients rename a tree into and out of each other's while a third walks up and down in it."""
        for d in ("a", "b", "a/x", "a/x/y"):
            os.mkdir(self.host(d))
        self.write("tree/a/x/y/f", "inside")
        self.serve()

        def rename(client, source, to):
            try:
                client.rename(source, "x", to, "x")
            except OSError as e:
                self.assertIn(e.errno, (errno.ENOENT, errno.ESTALE))

        movers = [self.client(), self.client()]
        for m in movers:
            m.find(0, 1, "a")
            m.find(0, 2, "b")
        root = os.stat(self.tree).st_ino
        with Neighbour(self.at), Storm(lambda: rename(movers[0], 1, 2)), Storm(lambda: rename(movers[1], 2, 1)):
            c = self.client()
            found = 0
            for _ in range(2000):
                for top in ("a", "b"):
                    if c.walk(0, 5, top, "x", "y", "f") == 4:
                        found += 1
                        c.clunk(5)
                    if c.walk(0, 5, top, "x", "..", "..", "..", "..") == 6:
                        qid = struct.unpack_from("<Q", c.call(ninep.TGETATTR, struct.pack("<IQ", 5, 0x7FF)), 8 + 5)[0]
                        self.assertEqual(qid, root)
                        c.clunk(5)
            self.assertGreater(found, 0)

    def test_moved_out_of_the_export(self):
        """Who holds a directory that the host moves away finds no way up."""
        os.makedirs(self.host("d/e"))
        self.serve()
        c = self.client()
        c.find(0, 1, "d", "e")
        os.rename(self.host("d"), os.path.join(self.outside, "d"))
        root = c.getattr(0)
        for ups in range(1, 6):
            c.find(1, 2, *[".."] * ups)
            self.assertNotIn("f", self.names(c, 2))
            c.clunk(2)
        c.find(1, 2, *[".."] * 6)
        self.assertEqual(c.getattr(2)[0], root[0])
        self.assertEqual(sorted(n for n in self.names(c, 2) if n[0] != "."), ["neighbour"])

    @staticmethod
    def names(c, fid):
        c.walk(fid, 77)
        try:
            c.open(77, os.O_DIRECTORY)
            return c.readdir(77)
        finally:
            c.clunk(77)

    def test_a_directory_that_is_gone(self):
        os.mkdir(self.host("d"))
        self.write("tree/d/f", "x")
        self.serve()
        c = self.client()
        c.find(0, 1, "d")
        c.find(0, 2, "d", "f")
        shutil.rmtree(self.host("d"))
        self.write("tree/d", "another")
        self.fails(errno.ENOENT, c.mkdir, 1, "new")
        self.fails(errno.ENOENT, c.walk, 1, 3, "f")
        self.fails(errno.ENOENT, c.link, 1, c.find(0, 4, "neighbour"), "l")
        self.assertEqual(c.getattr(2)[3], 1)  # attributes, by the descriptor


class Special(HostileTest):
    def test_fifos_sockets_and_devices(self):
        os.mkfifo(self.host("fifo"))
        s = socket.socket(socket.AF_UNIX)
        self.addCleanup(s.close)
        s.bind(self.host("socket"))
        names = ["fifo", "socket"]
        if os.geteuid() == 0:
            os.mknod(self.host("null"), stat.S_IFCHR | 0o666, os.makedev(1, 3))
            os.mknod(self.host("disk"), stat.S_IFBLK | 0o666, os.makedev(7, 0))
            names += ["null", "disk"]
        self.serve()
        with Neighbour(self.at):
            c = self.client()
            for name in names:
                for flags in (os.O_RDONLY, os.O_WRONLY, os.O_RDWR, os.O_RDONLY | os.O_TRUNC, os.O_NONBLOCK, os.O_DIRECTORY):
                    c.find(0, 1, name)
                    self.assertNotEqual(c.getattr(1)[0] & stat.S_IFMT(0o170000), 0)
                    with self.assertRaises(OSError, msg=(name, flags)):
                        c.open(1, flags)
                    c.clunk(1)
                c.walk(0, 1)
                with self.assertRaises(OSError):
                    c.create(1, name)
                c.clunk(1)
            for kind in (stat.S_IFCHR, stat.S_IFBLK):
                for major, minor in ((1, 3), (0, 0), (7, 0)):
                    self.fails(errno.EPERM, c.mknod, 0, "made", kind | 0o666, major, minor)

    def test_procfs_is_no_export(self):
        for where in ("/proc", "/proc/self"):
            done = subprocess.run([os.path.join(self.bin_dir, "run9-gofer"), "--export", where, "--listen", "unix:" + self.path("p")],
                                  capture_output=True, timeout=20)
            self.assertEqual(done.returncode, 1, where)
            os.unlink(self.path("p"))

    def mounts(self):
        own_mounts()
        for kind in ("tmpfs", "proc"):
            mount(kind, self.host(kind))
        self.write("tree/tmpfs/f", "mounted")

    def test_mount_points(self):
        if os.geteuid() != 0:
            self.skipTest("mounts")
        for kind in ("tmpfs", "proc"):
            os.mkdir(self.host(kind))
        self.serve(before=self.mounts)
        c = self.client()
        for kind in ("tmpfs", "proc"):  # an export ends where its file system does
            self.fails(errno.EXDEV, c.find, 0, 1, kind, "f")
        self.check_crossing()

    def check_crossing(self):
        self.gofer.stop()
        os.unlink(self.path("s"))
        self.gofer = Gofer(self.bin_dir, "--export", self.tree + ":t:xdev", "--listen", self.at, before=self.mounts, log=self.log)
        c = self.client()
        c.open(c.find(0, 1, "tmpfs", "f"))
        self.assertEqual(c.read(1), b"mounted")
        # A window into the host's kernel is none: it looks empty.
        c.open(c.find(0, 2, "proc"), os.O_DIRECTORY)
        self.assertEqual(sorted(c.readdir(2)), [".", ".."])
        for names in (("1", "root"), ("self", "exe"), ("sys",)):
            self.fails(errno.ENOENT, c.find, 0, 3, "proc", *names)

    def test_read_only_is_the_mounts_too(self):
        if os.geteuid() != 0:
            self.skipTest("looks into another mount namespace")
        self.serve(flags=":ro")
        rows = [line.split() for line in read(f"/proc/{self.gofer.pid}/mountinfo").splitlines()]
        options = next(r[5].split(",") for r in rows if r[4] == "/export0")
        self.assertLessEqual({"ro", "nosuid", "nodev"}, set(options))


if __name__ == "__main__":
    unittest.main()
