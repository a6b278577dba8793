"""Every command of the program p9, at somebody else's server: what tests/interop/ does with each of them."""
import dataclasses
import json
import os
import shutil
import subprocess
import sys
import time


def run(*args, stdin=b"", status=0, env=None):
    """Output of a program that ends with this status."""
    done = subprocess.run(args, input=stdin, capture_output=True, timeout=60, env=env)
    if done.returncode != status:
        sys.exit(f"{' '.join(args)}: status {done.returncode}\n{done.stdout.decode()[-800:]}{done.stderr.decode()[-800:]}")
    return done.stdout


def check(is_so, what):
    if not is_so:
        sys.exit("FAIL: " + what)


def wait_for_path(path):
    for _ in range(1000):
        if os.path.exists(path):
            return
        time.sleep(0.01)
    sys.exit(f"nobody makes {path}")


@dataclasses.dataclass
class Peer:
    """A server, and what it does not have."""
    address: str
    export: str  # a directory of this machine, empty
    aname: str = ""
    has_symlinks: bool = True  # if not, it makes none
    has_xattrs: bool = True
    has_locks: bool = True  # if not, it grants every lock


class Commands:
    def __init__(self, bin_dir, peer, work):
        self.program, self.peer, self.work = os.path.join(bin_dir, "p9"), peer, work

    def line(self, command, *args, address=None):
        return [self.program, "--aname", self.peer.aname, "--timeout", "20", command, address or self.peer.address, *args]

    def p9(self, command, *args, **more):
        return run(*self.line(command, *args), **more)

    def host(self, *path):
        return os.path.join(self.peer.export, *path)

    def content(self):
        data = os.urandom(700_001)  # more than any msize that is agreed on
        self.p9("write", "f", "--sync", stdin=data)
        check(self.p9("cat", "f") == data, "content")
        self.p9("write", "f", "--append", stdin=b"more")
        check(self.p9("cat", "f", "--offset", "700001") == b"more", "append")
        self.p9("write", "f", "--offset", "700001", stdin=b"MO")
        check(self.p9("cat", "f", "--offset", "699999", "--count", "5") == data[-2:] + b"MOr", "write in the middle")
        self.p9("write", "f", "--new", stdin=b"x", status=1)

    def names(self):
        self.p9("mkdir", "-p", "d/e")
        self.p9("mv", "f", "d/e")
        check(json.loads(self.p9("stat", "d/e/f", "--json"))[0]["attr"]["size"] == 700_005, "stat")
        self.p9("write", "other", stdin=b"other")
        self.p9("mv", "-n", "other", "d/e/f", status=1)
        self.p9("rm", "other")
        self.p9("rm", "other", status=1)
        self.p9("rm", "-f", "other")
        for i in range(40):
            with open(self.host("d", f"{i:03}"), "w") as f:
                f.write("x" * i)
        sizes = [e["attr"]["size"] for e in json.loads(self.p9("ls", "d", "--json")) if e["name"] != "e"]
        check(sizes == list(range(40)), "readdir and stat")
        check(b"/d/e/f" in self.p9("ls", "-lR"), "ls -lR")
        # Some servers would follow it out of the export; our client asks component by component.
        os.symlink("/etc", self.host("d/out"))
        self.p9("cat", "d/out/passwd", status=1)
        check(json.loads(self.p9("stat", "-P", "d/out", "--json"))[0]["target"] == "/etc", "stat of a link")

    def copies(self):
        back = os.path.join(self.work, "back")
        self.p9("cp", "-rq", ":d", back)
        run("diff", "-r", "--no-dereference", back, self.host("d"))
        if not self.peer.has_symlinks:
            self.p9("cp", "-q", os.path.join(back, "out"), ":again", status=1)
            os.unlink(os.path.join(back, "out"))
            os.unlink(self.host("d/out"))
        self.p9("cp", "-rq", back, ":again")
        run("diff", "-r", "--no-dereference", back, self.host("again"))
        shutil.rmtree(back)
        self.p9("rm", "-r", "again")

    def xattrs(self):
        if not self.peer.has_xattrs:
            self.p9("xattr", "list", "d/e/f", status=1)
            return
        self.p9("xattr", "set", "d/e/f", "user.a", "value")
        check(self.p9("xattr", "get", "d/e/f", "user.a") == b"value", "xattr")
        check(b"user.a" in self.p9("xattr", "list", "d/e/f"), "xattr list")
        self.p9("xattr", "rm", "d/e/f", "user.a")
        check(self.p9("xattr", "list", "d/e/f") == b"", "xattr list")

    def locks(self):
        test = self.p9("lock", "d/e/f", "--", *self.line("lock", "d/e/f", "--test"))
        check((b"write lock from 0 length 0" in test) == self.peer.has_locks, "lock: " + test.decode())
        self.p9("lock", "-s", "d/e/f", "--", "true")

    def trace(self):
        at = os.path.join(self.work, "traced")
        trace = subprocess.Popen(self.line("trace", "--listen", "unix:" + at, "--once"), stdout=subprocess.PIPE)
        wait_for_path(at)
        run(*self.line("stat", "d/e/f", address="unix:" + at))
        said = trace.communicate(timeout=60)[0]
        os.unlink(at)
        check(all(t in said for t in (b"Tversion", b"Rattach", b"Tgetattr")), "trace")

    def numbers(self):
        check(json.loads(self.p9("statfs", "--json"))["blocks"] > 0, "statfs")
        rows = json.loads(self.p9("bench", "--json", "--seconds", "0.01", "--files", "20"))
        check(len(rows) == 8, "bench")

    def all(self):
        self.content()
        self.names()
        self.copies()
        self.xattrs()
        self.locks()
        self.trace()
        self.numbers()
        self.p9("rm", "-r", "d")
        check(os.listdir(self.peer.export) == [], "rm -r")
