"""run9-gofer as a process of a test's, and a directory for it to export."""
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import unittest

from patience import patience


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def empty(directory):
    """Removes what is in it."""
    for entry in os.scandir(directory):
        shutil.rmtree(entry.path) if entry.is_dir(follow_symlinks=False) else os.remove(entry.path)


class ExportTest(unittest.TestCase):
    """Each test has a directory of its own, with an empty tree to export in it."""

    def setUp(self):
        self.work = tempfile.mkdtemp(prefix="run9-export-", dir="/var/tmp")
        self.addCleanup(shutil.rmtree, self.work, ignore_errors=True)
        self.tree = self.path("tree")
        os.mkdir(self.tree)

    def path(self, name):
        return os.path.join(self.work, name)

    def write(self, name, text):
        with open(self.path(name), "w") as f:
            f.write(text)


class Gofer:
    """Serves when the constructor returns. `before` runs in the child, before the program."""

    def __init__(self, bin_dir, *args, before=None, pass_fds=(), log=None):
        ready, theirs = os.pipe()
        self.process = subprocess.Popen([os.path.join(bin_dir, "run9-gofer"), "--ready-fd", str(theirs), *args],
                                        pass_fds=[theirs, *pass_fds], preexec_fn=before, stderr=log)
        os.close(theirs)
        with os.fdopen(ready, "rb") as f:
            if f.read(1) != b"\0":
                raise RuntimeError(f"run9-gofer does not start: status {self.process.wait(patience(20))}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    @property
    def pid(self):
        return self.process.pid

    def signal(self, number):
        self.process.send_signal(number)

    def wait(self, timeout=20):
        return self.process.wait(patience(timeout))

    def alive(self):
        return self.process.poll() is None

    def stop(self):
        """By SIGTERM: a supervisor ends its workers then."""
        if self.alive():
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(patience(15))
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
