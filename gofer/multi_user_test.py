#!/usr/bin/env python3
"""run9-gofer --multi-user: each attach acts with its user's ids, whatever else is done on the same thread.

usage: multi_user_test.py BIN_DIR (as root)
"""
import contextlib
import errno
import os
import shutil
import stat
import struct
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../tests/support"))
import ninep
from gofer import Gofer, empty, free_port
from mounts import MS_BIND, mount, own_mounts
from sandbox import Host, read, skip

BIN = sys.argv.pop(1)
ALICE, BOB, CAROL, NOBODY = 61001, 61002, 61003, 65534
STAFF, WHEEL = 61100, 61200
PASSWD = f"""root:x:0:0:root:/root:/bin/sh
alice:x:{ALICE}:{STAFF}::/:/bin/false
bob:x:{BOB}:{STAFF}::/:/bin/false
carol:x:{CAROL}:{CAROL}::/:/bin/false
"""
GROUP = f"root:x:0:\nstaff:x:{STAFF}:\nwheel:x:{WHEEL}:alice\ncarol:x:{CAROL}:\n"


@contextlib.contextmanager
def acting_as(uid):
    """What connects in here has this user's SO_PEERCRED."""
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)


class MultiUser(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.work = tempfile.mkdtemp(prefix="run9-users-", dir="/var/tmp")
        os.chmod(cls.work, 0o755)
        for name, text in (("passwd", PASSWD), ("group", GROUP)):
            with open(os.path.join(cls.work, name), "w") as f:
                f.write(text)
        cls.tree = os.path.join(cls.work, "tree")
        cls.unix = "unix:" + os.path.join(cls.work, "s")
        cls.tcp = f"tcp:127.0.0.1:{free_port()}"
        os.mkdir(cls.tree)

        def own_users():
            """The host's users are ours; and a socket for everybody."""
            own_mounts()
            for name in ("passwd", "group"):
                mount(None, "/etc/" + name, source=os.path.join(cls.work, name), flags=MS_BIND)
            os.umask(0)

        cls.gofer = Gofer(BIN, "--multi-user", "--export", cls.tree + ":t", "--listen", cls.unix, "--listen", cls.tcp, before=own_users)

    @classmethod
    def tearDownClass(cls):
        cls.gofer.stop()
        shutil.rmtree(cls.work)

    def setUp(self):
        empty(self.tree)
        os.chmod(self.tree, 0o777)

    def host(self, name):
        return os.path.join(self.tree, name)

    def file(self, name, uid=0, gid=0, mode=0o600, text="secret"):
        with open(self.host(name), "w") as f:
            f.write(text)
        os.chown(self.host(name), uid, gid)
        os.chmod(self.host(name), mode)

    def directory(self, name, uid=0, gid=0, mode=0o700):
        os.mkdir(self.host(name))
        os.chown(self.host(name), uid, gid)
        os.chmod(self.host(name), mode)

    def connect(self, peer=0, at=None, **user):
        with acting_as(peer):
            client = ninep.Client(at or self.unix, **user)
        self.addCleanup(client.close)
        return client

    def fails(self, error, call, *args, **more):
        with self.assertRaises(OSError) as caught:
            call(*args, **more)
        self.assertEqual(errno.errorcode[caught.exception.errno], errno.errorcode[error])

    def owner(self, name):
        st = os.lstat(self.host(name))
        return st.st_uid, st.st_gid

    def test_new_files_are_the_users(self):
        c = self.connect(uid=ALICE)
        c.walk(0, 1)
        c.create(1, "f")
        c.mkdir(0, "d")
        c.symlink(0, "l", "target")
        c.mknod(0, "p", stat.S_IFIFO | 0o600)
        for name in "fdlp":
            self.assertEqual(self.owner(name), (ALICE, STAFF), name)
        # A group of the user's own can be asked for, another cannot; and half a file is none.
        c.mkdir(0, "g", gid=WHEEL)
        self.assertEqual(self.owner("g"), (ALICE, WHEEL))
        self.fails(errno.EPERM, c.mkdir, 0, "h", gid=CAROL)
        self.assertFalse(os.path.exists(self.host("h")))

    def test_permissions_are_the_hosts(self):
        self.file("alices", ALICE, STAFF)
        self.file("groups", CAROL, WHEEL, 0o640)
        self.directory("private", CAROL, CAROL)
        self.file("private/f", ALICE, STAFF, 0o666)
        for user, name, error in (("alice", "alices", 0), ("bob", "alices", errno.EACCES), ("root", "alices", 0),
                                  ("alice", "groups", 0), ("bob", "groups", errno.EACCES), ("carol", "groups", 0)):
            c = self.connect(uname=user)
            c.find(0, 1, name)
            if error:
                self.fails(error, c.open, 1)
            else:
                c.open(1)
                self.assertEqual(c.read(1), b"secret", (user, name))
        c = self.connect(uname="alice")
        self.assertEqual(c.walk(0, 1, "private", "f"), 1)
        self.fails(errno.EACCES, c.walk, c.find(0, 2, "private"), 3, "f")
        c.find(0, 4, "groups")
        self.fails(errno.EACCES, c.open, 4, os.O_RDWR)
        self.fails(errno.EPERM, c.setattr, 4, mode=0o777)
        self.fails(errno.EPERM, c.setattr, 4, uid=ALICE)
        os.chmod(self.tree, 0o1777)  # sticky
        self.fails(errno.EPERM, c.unlink, 0, "groups")
        c.unlink(0, "alices")

    def test_a_directory_that_may_be_read_and_not_searched(self):
        self.directory("d", ALICE, STAFF, 0o400)
        self.file("d/f", ALICE, STAFF)
        for user, error in (("alice", 0), ("bob", errno.EACCES)):
            c = self.connect(uname=user)
            c.find(0, 1, "d")
            if error:
                self.fails(error, c.open, 1)
            else:
                c.open(1)
                self.assertIn("f", c.readdir(1))

    def test_set_id_bits_go_with_a_write(self):
        self.file("suid", ALICE, STAFF, 0o6777)
        c = self.connect(uid=BOB)
        c.find(0, 1, "suid")
        c.open(1, os.O_RDWR)
        c.write(1, b"x")
        self.assertEqual(os.stat(self.host("suid")).st_mode & 0o7777, 0o777)

    def test_nothing_leaks_between_attaches(self):
        """Every request on a thing of root's or alice's, as bob, right after the same one as its owner."""
        self.file("f", ALICE, STAFF)
        self.directory("d", ALICE, STAFF)
        self.file("d/x", ALICE, STAFF)
        c = self.connect(version=ninep.DIALECT)  # root may attach as anyone
        c.attach(100, uid=ALICE)
        c.attach(200, uid=BOB)
        fids = {}
        for base in (0, 100, 200):
            fids[base] = c.find(base, base + 1, "f"), c.find(base, base + 2, "d")
        calls = {
            "open": lambda c, f, d: (c.walk(f, 90), c.open(90), c.clunk(90)),
            "open to write": lambda c, f, d: (c.walk(f, 91), c.open(91, os.O_WRONLY), c.clunk(91)),
            "walk": lambda c, f, d: (c.find(d, 92, "x"), c.clunk(92)),
            "create": lambda c, f, d: (c.walk(d, 93), c.create(93, "new"), c.clunk(93), c.unlink(d, "new")),
            "mkdir": lambda c, f, d: (c.mkdir(d, "sub"), c.unlink(d, "sub", 0x200)),
            "symlink": lambda c, f, d: (c.symlink(d, "link", "x"), c.unlink(d, "link")),
            "mknod": lambda c, f, d: (c.mknod(d, "node", stat.S_IFREG | 0o600), c.unlink(d, "node")),
            "link": lambda c, f, d: (c.link(d, f, "hard"), c.unlink(d, "hard")),
            "rename": lambda c, f, d: (c.rename(d, "x", d, "y"), c.rename(d, "y", d, "x")),
            "readdir": lambda c, f, d: (c.walk(d, 94), c.open(94, os.O_DIRECTORY), c.readdir(94), c.clunk(94)),
            "make": lambda c, f, d: (c.make(d, "made", stat.S_IFLNK, "x"), c.unlink(d, "made")),
            "copy": lambda c, f, d: c.copy(f, 0, f, 100, 1),
            "sync": lambda c, f, d: c.syncfs(f),
            "chmod": lambda c, f, d: c.setattr(f, mode=0o600),
            "truncate": lambda c, f, d: c.setattr(f, size=3),
        }
        for name, call in calls.items():
            for owner in (0, 100):
                with self.subTest(call=name, after=owner):
                    call(c, *fids[owner])
                    with self.assertRaises(OSError) as caught:
                        call(c, *fids[200])
                    self.assertIn(caught.exception.errno, (errno.EACCES, errno.EPERM))
                    for fid in (90, 91, 92, 93, 94):
                        with contextlib.suppress(OSError):
                            c.clunk(fid)
        for name in ("f", "d", "d/x"):
            self.assertEqual(self.owner(name), (ALICE, STAFF))
        for base, error in ((0, 0), (200, errno.EACCES), (100, 0), (200, errno.EACCES)):
            self.assertEqual(c.mopen(base, "f"), [error], base)
        # Nor does one user's fid lend its rights to another's.
        self.directory("bobs", BOB, STAFF)
        bobs = c.find(200, 300, "bobs")
        self.fails(errno.EPERM, c.link, bobs, fids[100][0], "stolen")
        self.fails(errno.EPERM, c.rename, fids[100][1], "x", bobs, "stolen")
        self.assertEqual(os.listdir(self.host("bobs")), [])
        self.file("bobs/f", BOB, STAFF)
        self.fails(errno.EXDEV, c.copy, fids[100][0], 0, c.find(bobs, 301, "f"), 0, 1)
        # What bob makes in between is his.
        c.setattr(fids[0][0], mode=0o600)
        c.mkdir(bobs, "own")
        c.syncfs(fids[0][0])
        c.make(bobs, "made", stat.S_IFREG | 0o600)
        c.copy(fids[0][0], 0, fids[0][0], 10, 1)
        c.make(bobs, "link", stat.S_IFLNK, "f")
        for name in ("own", "made", "link"):
            self.assertEqual(self.owner(f"bobs/{name}"), (BOB, STAFF), name)

    def test_nothing_is_left_for_the_next_connection(self):
        """More connections than threads: each thread has served root and alice before bob."""
        self.file("f", ALICE, STAFF)
        for _ in range(20):
            for user, error in ((0, 0), (ALICE, 0), (BOB, errno.EACCES)):
                with self.connect(uid=user) as c:
                    c.find(0, 1, "f")
                    if error:
                        self.fails(error, c.open, 1)
                    else:
                        c.open(1)

    def test_the_peer_decides_who_it_may_be(self):
        for name, uid in (("alice", ALICE), ("bob", BOB), ("root", 0)):
            self.connect(uname=name)
            self.connect(uid=uid)
        c = self.connect(peer=BOB, attach=False)
        for user in ({"uid": ALICE}, {"uid": 0}, {"uname": "alice"}, {"uname": "root"}, {"uname": "bob", "uid": 0}):
            self.fails(errno.EPERM, c.attach, 1, **user)
        for fid, user in enumerate(({"uid": BOB}, {"uname": "bob"}, {}, {"uname": "alice", "uid": BOB})):
            c.attach(10 + fid, **user)  # the number wins
            c.mkdir(10 + fid, f"d{fid}")
            self.assertEqual(self.owner(f"d{fid}"), (BOB, STAFF))
        stranger = self.connect(peer=12345, attach=False)
        for user in ({}, {"uid": 12345}, {"uid": ALICE}):
            self.fails(errno.EPERM, stranger.attach, 1, **user)

    def test_unknown_users(self):
        c = self.connect(attach=False)
        for user in ({"uid": 61999}, {"uname": "mallory"}, {"uname": "../etc"}, {"uname": "61001"}):
            self.fails(errno.EPERM, c.attach, 1, **user)

    def test_root_of_another_machine_is_nobody(self):
        self.file("roots", mode=0o600)
        c = self.connect(at=self.tcp, uid=0)
        c.find(0, 1, "roots")
        self.fails(errno.EACCES, c.open, 1)
        c.mkdir(0, "d")
        self.assertEqual(self.owner("d"), (NOBODY, NOBODY))
        self.fails(errno.EPERM, c.attach, 5)
        c.attach(6, uid=ALICE)
        c.mkdir(6, "e")
        self.assertEqual(self.owner("e"), (ALICE, STAFF))

    def test_attributes(self):
        self.file("f", ALICE, STAFF, 0o644)
        c = self.connect(uid=ALICE)
        c.find(0, 1, "f")

        def set_attribute(name, value):
            c.walk(1, 2)
            c.call(ninep.TXATTRCREATE, struct.pack("<I", 2) + ninep.string(name) + struct.pack("<QI", len(value), 0))
            c.write(2, value)
            c.clunk(2)

        acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in (
            (1, 6, 0xFFFFFFFF), (2, 4, BOB), (4, 4, 0xFFFFFFFF), (0x10, 4, 0xFFFFFFFF), (0x20, 0, 0xFFFFFFFF)))
        try:
            set_attribute("user.a", b"v")
            set_attribute("system.posix_acl_access", acl)
        except OSError as e:
            if e.errno == errno.EOPNOTSUPP:
                self.skipTest("no ACLs on this file system")
            raise
        self.assertEqual(os.getxattr(self.host("f"), "system.posix_acl_access"), acl)
        for name in ("security.capability", "trusted.x", "user.run9.trusted.x", "system.other"):
            with self.assertRaises(OSError) as caught:
                set_attribute(name, b"v")
            self.assertEqual(caught.exception.errno, errno.EOPNOTSUPP)
            with contextlib.suppress(OSError):
                c.clunk(2)
        for user, error in ((BOB, 0), (CAROL, errno.EACCES)):  # the ACL counts
            other = self.connect(uid=user)
            other.find(0, 1, "f")
            if error:
                self.fails(error, other.open, 1)
            else:
                other.open(1)

    def test_attributes_of_a_file_that_one_may_not_open(self):
        self.file("f", ALICE, STAFF, 0)
        acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in (
            (1, 0, 0xFFFFFFFF), (2, 4, BOB), (4, 0, 0xFFFFFFFF), (0x10, 4, 0xFFFFFFFF), (0x20, 0, 0xFFFFFFFF)))
        try:
            os.setxattr(self.host("f"), "user.a", b"v")
            os.setxattr(self.host("f"), "system.posix_acl_access", acl)
        except OSError as e:
            if e.errno == errno.EOPNOTSUPP:
                self.skipTest("no ACLs on this file system")
            raise
        changed = acl.replace(struct.pack("<HHI", 2, 4, BOB), struct.pack("<HHI", 2, 0, BOB))

        def get(c, name):
            size = struct.unpack("<Q", c.call(ninep.TXATTRWALK, struct.pack("<II", 1, 2) + ninep.string(name)))[0]
            value = c.read(2, size)
            c.clunk(2)
            return value

        def put(c, name, value):
            c.walk(1, 2)
            c.call(ninep.TXATTRCREATE, struct.pack("<I", 2) + ninep.string(name) + struct.pack("<QI", len(value), 0))
            c.write(2, value)
            c.clunk(2)

        # As on the host: names and the ACL are anybody's to read, user.* is for those who may read the file.
        for user in ALICE, CAROL:
            c = self.connect(uid=user)
            c.find(0, 1, "f")
            self.fails(errno.EACCES, c.open, 1)
            self.assertEqual(get(c, "system.posix_acl_access"), acl)
            self.assertEqual(set(get(c, "").split(b"\0")) - {b""}, {b"user.a", b"system.posix_acl_access"})
            self.fails(errno.EACCES, get, c, "user.a")
            self.fails(errno.EACCES, c.open, 1)
        self.fails(errno.EPERM, put, c, "system.posix_acl_access", changed)
        self.assertEqual(os.getxattr(self.host("f"), "system.posix_acl_access"), acl)
        c = self.connect(uid=ALICE)
        c.find(0, 1, "f")
        put(c, "system.posix_acl_access", changed)
        self.assertEqual(os.getxattr(self.host("f"), "system.posix_acl_access"), changed)

    def test_what_the_host_sees(self):
        def threads():
            """(fsuid, groups, effective capabilities) of each thread."""
            found = []
            for tid in Host.threads(self.gofer.pid):
                s = Host.status(f"{self.gofer.pid}/task/{tid}")
                found.append((int(s["Uid"].split()[3]), sorted(map(int, s["Groups"].split())), int(s["CapEff"], 16)))
            return found

        c = self.connect(uid=ALICE)
        c.getattr(0)
        alice = (ALICE, [STAFF, WHEEL], 0xC0)  # SETUID and SETGID
        before = threads().count(alice)
        self.assertGreater(before, 0)
        c.attach(1, uid=0)
        c.getattr(1)
        self.assertEqual(threads().count(alice), before - 1)
        status = Host.status(self.gofer.pid)
        self.assertEqual([status[k].lstrip("0") for k in ("CapPrm", "CapInh", "CapBnd", "CapAmb")], ["df", "", "", ""])
        self.assertIn("NoNewPrivs:\t1", read(f"/proc/{self.gofer.pid}/status"))


class WithoutRights(unittest.TestCase):
    def test_must_be_root(self):
        with tempfile.TemporaryDirectory(dir="/var/tmp") as work, open(os.path.join(work, "log"), "w+") as log:
            os.chmod(work, 0o777)
            with self.assertRaisesRegex(RuntimeError, "status 1"):
                Gofer(BIN, "--multi-user", "--export", work, "--listen", f"unix:{work}/s", log=log,
                      before=lambda: (os.setgid(BOB), os.setuid(BOB)))
            self.assertIn("must be started by root", read(log.name))


if __name__ == "__main__":
    if os.geteuid() != 0:
        skip("only root can act for others")
    unittest.main()
