#!/usr/bin/env python3
"""Drives the program p9 against run9-gofer: each command, over a unix socket and over tcp, and what it says when
something is wrong.

usage: cli_test.py BIN_DIR
"""
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../tests/support"))
from gofer import Gofer, empty, free_port

BIN = sys.argv.pop(1)
P9 = os.path.join(BIN, "p9")


class Cli(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.work = tempfile.mkdtemp(prefix="run9-p9-", dir="/var/tmp")
        cls.unix = "unix:" + os.path.join(cls.work, "socket")
        cls.tcp = f"tcp:127.0.0.1:{free_port()}"
        cls.tree = os.path.join(cls.work, "tree")
        os.makedirs(cls.tree)
        os.makedirs(os.path.join(cls.work, "ro"))
        cls.gofer = Gofer(BIN, "--listen", cls.unix, "--listen", cls.tcp, "--export", cls.tree + ":t",
                          "--export", os.path.join(cls.work, "ro") + ":fixed:ro")

    @classmethod
    def tearDownClass(cls):
        cls.gofer.stop()
        shutil.rmtree(cls.work)

    def setUp(self):
        empty(self.tree)

    def run_p9(self, *args, stdin=b"", status=0):
        done = subprocess.run([P9, *args], input=stdin, capture_output=True, timeout=60)
        self.assertEqual(done.returncode, status, (args, done.stdout[-500:], done.stderr[-500:]))
        return done.stdout, done.stderr.decode()

    def ok(self, command, *args, stdin=b"", address=None):
        return self.run_p9(command, address or self.unix, *args, stdin=stdin)[0]

    def json(self, command, *args, **more):
        return json.loads(self.ok(command, *args, "--json", **more))

    def fails(self, command, *args, status=1, says=(), address=None):
        """It ends with this status, and its message has these words: the cause, and what to do."""
        _, err = self.run_p9(command, address or self.unix, *args, status=status)
        for word in says:
            self.assertIn(word, err)

    def host(self, *names):
        return os.path.join(self.tree, *names)

    def put(self, name, content=b"text\n"):
        with open(self.host(name), "wb") as f:
            f.write(content)

    def test_write_and_cat(self):
        for address in self.unix, self.tcp:
            for plain in [], ["--plain"]:
                self.ok("write", "f", *plain, stdin=b"one\n", address=address)
                self.ok("write", "f", "-a", *plain, stdin=b"two\n", address=address)
                self.assertEqual(self.ok("cat", "f", *plain, address=address), b"one\ntwo\n")
        self.ok("write", "f", "--offset", "2", stdin=b"X")
        self.assertEqual(self.ok("cat", "/f"), b"onX\ntwo\n")
        self.assertEqual(self.ok("cat", "f", "--offset", "4", "--count", "2"), b"tw")
        self.ok("write", "f", "--mode", "600", "--sync", stdin=b"")
        self.assertEqual(os.path.getsize(self.host("f")), 0)
        self.assertEqual(self.json("write", "g", stdin=b"12345")["written"], 5)
        self.fails("write", "g", "--new", says=["EEXIST"])

    def test_large_and_odd_sizes(self):
        for size in 0, 1, 4095, 3 * 512 * 1024 - 72, 5_000_001:
            data = os.urandom(size)
            for address in self.unix, self.tcp:
                for msize in "4096", "65536", "1048576":
                    if size > 3_000_000 and msize == "4096":
                        continue
                    self.ok("write", "big", "--msize", msize, stdin=data, address=address)
                    self.assertEqual(self.ok("cat", "big", "--msize", msize, address=address), data)

    def test_ls_and_stat(self):
        os.makedirs(self.host("dir/deep"))
        self.put("dir/file", b"123")
        os.symlink("dir/file", self.host("link"))
        os.symlink("/dir", self.host("up"))
        self.put("odd \x1b[31m name")
        self.assertEqual(self.ok("ls").decode().splitlines(), ["dir/", "link", "odd \\x1b[31m name", "up"])
        self.assertEqual(self.ok("ls", "up").decode().splitlines(), ["deep/", "file"])
        self.assertEqual(self.ok("ls", "-R", "dir").decode().splitlines(), ["dir/deep/", "dir/file"])
        for plain in [], ["--plain"]:
            line = self.ok("ls", "-l", "dir/file", *plain).decode()
            self.assertTrue(line.startswith("-rw-r--r--"), line)
            entries = {e["name"]: e for e in self.json("ls", "/dir", *plain)}
            self.assertEqual(entries["file"]["attr"]["size"], 3)
            self.assertEqual(entries["deep"]["attr"]["type"], "directory")
        self.assertEqual(self.json("stat", "link")[0]["attr"]["size"], 3)
        self.assertEqual(self.json("stat", "-P", "link")[0]["target"], "dir/file")
        st = os.stat(self.host("dir/file"))
        attr = self.json("stat", "dir/../dir/./file")[0]["attr"]
        self.assertEqual((attr["mode"], attr["mtime"]["sec"]), (f"{st.st_mode & 0o7777:04o}", int(st.st_mtime)))
        self.assertIn(b"size 3", self.ok("stat", "dir/file"))
        self.assertGreater(self.json("statfs")["blocks"], 0)
        self.assertIn(b"free", self.ok("statfs", "dir"))

    def test_many_names(self):
        os.mkdir(self.host("many"))
        for i in range(1500):
            self.put(f"many/{i:04}" + "x" * 50, b"")
        for more in [], ["--plain"], ["--plain", "--msize", "8192"]:
            self.assertEqual([e["name"] for e in self.json("ls", "many", *more)], sorted(os.listdir(self.host("many"))))
        self.ok("rm", "-r", "many")
        self.assertFalse(os.path.exists(self.host("many")))

    def test_names_that_are_no_utf8(self):
        with open(os.fsencode(self.tree) + b"/\xff\xc0", "wb"):
            pass
        self.assertEqual(self.json("ls")[0]["name"], "\ufffd\ufffd")

    def test_tree_changes(self):
        self.ok("mkdir", "-p", "a/b/c", "-m", "700")
        self.assertEqual(stat.S_IMODE(os.stat(self.host("a/b/c")).st_mode), 0o700)
        self.ok("mkdir", "-p", "a/b/c")
        self.ok("write", "a/f", stdin=b"1")
        self.ok("mv", "a/f", "a/b")  # into it
        self.assertEqual(self.ok("cat", "a/b/f"), b"1")
        self.ok("mv", "a/b/f", "g")
        self.put("h")
        for plain in [], ["--plain"]:
            self.fails("mv", "-n", "g", "h", *plain, says=["EEXIST", "-n keeps"])
        self.ok("mv", "g", "h")
        self.assertEqual(self.ok("cat", "h"), b"1")
        self.fails("rm", "a", says=["EISDIR", "use -r"])
        self.ok("rm", "-r", "a", "h")
        self.assertEqual(os.listdir(self.tree), [])
        self.ok("rm", "-f", "h")

    def test_links_stay_inside(self):
        os.symlink("../../../../etc/passwd", self.host("out"))
        os.symlink("/etc/passwd", self.host("abs"))
        os.symlink("round", self.host("round"))
        for name in "out", "abs", "../../../etc/passwd":
            self.fails("cat", name, says=["ENOENT", "/etc"])
        self.fails("cat", "round", says=["ELOOP"])
        os.symlink("a", self.host("keep"))
        self.ok("rm", "keep")
        self.assertFalse(os.path.islink(self.host("keep")))

    def test_copies(self):
        local = os.path.join(self.work, "local")
        os.makedirs(os.path.join(local, "in/ner"))
        data = os.urandom(2_000_000)
        with open(os.path.join(local, "in/ner/big"), "wb") as f:
            f.write(data)
        os.chmod(os.path.join(local, "in/ner/big"), 0o751)
        os.symlink("ner", os.path.join(local, "in/link"))
        os.mkfifo(os.path.join(local, "in/pipe"))
        for address in self.unix, self.tcp:
            told = json.loads(self.ok("cp", "-r", "--json", os.path.join(local, "in"), ":/", address=address))
            self.assertEqual((told["bytes"], told["files"], told["symlinks"], told["skipped"]), (len(data), 1, 1, 1))
            with open(self.host("in/ner/big"), "rb") as f:
                self.assertEqual(f.read(), data)
            self.assertEqual(stat.S_IMODE(os.stat(self.host("in/ner/big")).st_mode), 0o751)
            self.ok("cp", "-r", ":in", ":again", address=address)
            self.ok("cp", "-r", ":again", os.path.join(local, "back"), address=address)
            with open(os.path.join(local, "back/ner/big"), "rb") as f:
                self.assertEqual(f.read(), data)
            self.assertEqual(os.readlink(os.path.join(local, "back/link")), "ner")
            shutil.rmtree(os.path.join(local, "back"))
            self.ok("rm", "-r", "in", "again", address=address)
        self.put("f", b"123")
        self.ok("cp", ":f", ":g")
        self.assertEqual(self.ok("cat", "g"), b"123")
        self.fails("cp", ":f", ":f", says=["same file"])
        self.fails("cp", "f", "g", says=["start with ':'"])
        self.fails("cp", "/no/such", ":x", says=["ENOENT"])
        os.mkdir(self.host("d"))
        self.fails("cp", ":d", ":e", says=["use -r"])
        self.ok("cp", ":f", ":d/")
        self.assertEqual(os.listdir(self.host("d")), ["f"])
        # Into a place where a link waits: the link is not followed.
        os.symlink("/etc/hostname", os.path.join(local, "f"))
        self.fails("cp", ":f", local + "/", says=["ELOOP"])

    def test_xattrs(self):
        self.put("f")
        try:
            os.setxattr(self.host("f"), "user.probe", b"1")
        except OSError as e:
            self.skipTest(f"no xattrs in /var/tmp: {e}")
        os.removexattr(self.host("f"), "user.probe")
        self.ok("xattr", "set", "f", "user.a", "one")
        self.ok("xattr", "set", "f", "user.b", "")
        self.assertEqual(self.json("xattr", "list", "f"), ["user.a", "user.b"])
        self.assertEqual(self.ok("xattr", "get", "f", "user.a"), b"one")
        self.ok("xattr", "rm", "f", "user.a")
        self.fails("xattr", "get", "f", "user.a", says=["ENODATA", "p9 xattr ADDRESS list"])
        self.fails("xattr", "rm", "f", "user.a", says=["ENODATA"])
        self.fails("xattr", "get", "f", says=["name"])

    def test_locks(self):
        self.put("f")
        self.assertEqual(self.ok("lock", "-t", "f"), b"free\n")
        inner = [P9, "lock", self.unix, "f"]
        said = self.run_p9("lock", self.unix, "f", "--", *inner, "--", "true", status=1)[1]
        self.assertIn("EAGAIN", said)
        out, _ = self.run_p9("lock", self.unix, "f", "--", *inner, "--test")
        self.assertIn(b"write lock from 0 length 0", out)
        self.run_p9("lock", self.unix, "f", "-s", "--", *inner, "-s", "--", "true")
        self.run_p9("lock", self.unix, "f", "--length", "1", "--", *inner, "--start", "1", "--", "true")
        self.run_p9("lock", self.unix, "f", "--", "sh", "-c", "exit 7", status=7)
        self.fails("lock", "f", says=["command"])
        # --wait gets it when the first lets it go.
        go = os.path.join(self.work, "go")
        os.mkfifo(go)
        first = subprocess.Popen([P9, "lock", self.unix, "f", "--", "cat", go], stdout=subprocess.DEVNULL)
        while self.ok("lock", "-t", "f") == b"free\n":
            time.sleep(0.01)
        second = subprocess.Popen([P9, "lock", self.unix, "f", "--wait", "--", "true"])
        with open(go, "w"):
            pass
        self.assertEqual((first.wait(20), second.wait(20)), (0, 0))

    @staticmethod
    def listening():
        accepts = "00010000"  # __SO_ACCEPTCON
        with open("/proc/net/unix") as sockets:
            return "".join(line for line in sockets if line.split()[3] == accepts)

    def test_trace(self):
        self.put("f", b"seen")
        at = "unix:" + os.path.join(self.work, "traced")
        for more in [], ["--count"]:
            trace = subprocess.Popen([P9, "trace", self.unix, "--listen", at, "--once", *more], stdout=subprocess.PIPE)
            # Its name is there before it listens, and --once takes no connection that is but a try.
            while f" {at[5:]}\n" not in self.listening():
                time.sleep(0.01)
            self.assertEqual(self.ok("cat", "f", address=at), b"seen")
            out = trace.communicate(timeout=20)[0].decode()
            self.assertIn("Tversion", out)
            self.assertIn("Rread", out)
            if not more:
                self.assertIn('"9P2000.L.x"', out)
            os.remove(at[5:])
        self.put("taken")
        self.run_p9("trace", self.unix, "--listen", "unix:" + self.host("taken"), status=1)

    def test_bench(self):
        rows = self.json("bench", "--seconds", "0.01", "--files", "20")
        self.assertIn("getattr", [r["name"] for r in rows])
        messages = {r["name"]: r["messages"] for r in rows}
        self.assertEqual(messages["walk of 3 names, getattr, clunk"], 3)
        self.assertEqual(messages["readdir and stat of 20"], 1)
        self.assertIn(b"null", self.ok("bench", "--plain", "--seconds", "0.01", "--files", "20"))
        self.assertEqual(os.listdir(self.tree), [])

    def test_read_only_export(self):
        ro = ["--aname", "fixed"]
        self.assertEqual(self.ok("ls", *ro), b"")
        for args in (["write", "f"], ["mkdir", "d"]):
            self.fails(*args, *ro, says=["EROFS", "read-only"])

    def test_what_goes_wrong(self):
        self.run_p9("ls", "somewhere", status=3)
        nowhere = "unix:" + os.path.join(self.work, "nowhere")
        self.fails("ls", address=nowhere, status=3, says=["ENOENT", "is the server running"])
        self.fails("ls", address=f"tcp:127.0.0.1:{free_port()}", status=3, says=["ECONNREFUSED", "nothing listens"])
        self.fails("ls", address="unix:" + "x" * 200, status=3, says=["ENAMETOOLONG", "107"])
        self.fails("ls", "--aname", "other", status=3, says=["--aname", "attach"])
        self.fails("ls", "nothing", says=["ENOENT", "/nothing"])
        self.fails("cat", "/", says=["EISDIR", "p9 ls"])
        self.fails("mkdir", "a/b", says=["ENOENT"])
        self.fails("mkdir", "x", "-m", "abc", says=["octal"])
        self.run_p9("ls", status=2)
        self.run_p9("nonsense", self.unix, status=2)
        self.put("f")
        self.fails("ls", "f/g", says=["ENOTDIR"])
        _, err = self.run_p9("cat", self.unix, "gone", "--json", status=1)
        told = json.loads(err)
        self.assertEqual((told["error"], told["subject"]), ("ENOENT", "/gone"))

    def test_servers_that_are_none(self):
        """Garbage, silence and a closed connection: an error, in time."""
        for answer in b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\xff" * 64, b"", None:
            ours = socket.socket()
            ours.bind(("127.0.0.1", 0))
            ours.listen()
            p9 = subprocess.Popen([P9, "ls", f"tcp:127.0.0.1:{ours.getsockname()[1]}", "--timeout", "0.5"],
                                  stderr=subprocess.PIPE)
            peer, _ = ours.accept()
            if answer is not None:
                peer.recv(100)
                peer.sendall(answer)
                peer.close()
            err = p9.communicate(timeout=20)[1].decode()
            self.assertEqual(p9.returncode, 3, err)
            self.assertIn("9P", err)
            peer.close()
            ours.close()

    def test_a_server_that_dies(self):
        at = "unix:" + os.path.join(self.work, "short-lived")
        gofer = Gofer(BIN, "--listen", at, "--export", self.tree + ":t")
        self.put("f")
        # It is killed while p9 waits for the standard input.
        p9 = subprocess.Popen([P9, "write", at, "f"], stdin=subprocess.PIPE, stderr=subprocess.PIPE)
        while os.path.getsize(self.host("f")) != 0:
            time.sleep(0.01)
        gofer.process.kill()
        gofer.wait()
        err = p9.communicate(b"x" * 100)[1].decode()
        self.assertEqual(p9.returncode, 1)
        self.assertIn("connection was lost", err)


if __name__ == "__main__":
    signal.alarm(110)
    unittest.main(verbosity=1)
