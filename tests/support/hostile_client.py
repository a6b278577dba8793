"""What tests of hostile clients share: a neighbour who must be answered meanwhile, and a gofer that must be well afterwards."""
import errno
import os
import threading
import time

import ninep
from gofer import ExportTest, Gofer
from sandbox import Host, wait_for

SLOWEST_ANSWER = 5  # seconds; the machine may be busy


class Neighbour(threading.Thread):
    """A client that asks all the time, and notes how long the slowest answer took."""

    def __init__(self, address):
        super().__init__()
        self.client = ninep.Client(address)
        self.stopped = threading.Event()
        self.count = 0
        self.slowest = 0
        self.problem = None

    def run(self):
        c = self.client
        try:
            while not self.stopped.is_set():
                start = time.monotonic()
                c.find(0, 1, "neighbour")
                c.open(1)
                assert c.read(1) == b"content"
                c.clunk(1)
                self.count += 1
                self.slowest = max(self.slowest, time.monotonic() - start)
        except (OSError, AssertionError) as e:
            self.problem = e

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        seen = self.count
        end = time.monotonic() + SLOWEST_ANSWER
        while self.count < seen + 2 and self.problem is None and time.monotonic() < end:
            time.sleep(0.01)  # it is still being answered
        self.stopped.set()
        self.join()
        self.client.close()
        if self.problem is None and self.count < seen + 2:
            self.problem = f"no answer in {SLOWEST_ANSWER} s"
        if self.problem is not None:
            raise AssertionError(f"the neighbour: {self.problem!r}")
        assert self.slowest < SLOWEST_ANSWER, f"the neighbour waited for {self.slowest:.1f} s"


class Storm(threading.Thread):
    """Calls a function over and over, beside the test."""

    def __init__(self, step):
        super().__init__()
        self.step = step
        self.stopped = threading.Event()

    def run(self):
        while not self.stopped.is_set():
            self.step()

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stopped.set()
        self.join()


class HostileTest(ExportTest):
    bin_dir = None  # of the programs
    options = ("--frame-timeout", "1")

    def setUp(self):
        super().setUp()
        self.outside = self.path("outside")
        os.mkdir(self.outside)
        self.write("tree/neighbour", "content")
        self.write("outside/f", "SECRET")

    def host(self, name):
        return os.path.join(self.tree, name)

    def serve(self, *more, before=None, flags=""):
        self.at = "unix:" + self.path("s")
        self.log = open(self.path("log"), "w")
        self.addCleanup(self.log.close)
        self.gofer = Gofer(self.bin_dir, "--export", self.tree + ":t" + flags, "--listen", self.at, *self.options, *more, before=before,
                           log=self.log)
        self.addCleanup(self.check_the_gofer)
        self.descriptors = len(os.listdir(f"/proc/{self.gofer.pid}/fd")) if os.geteuid() == 0 else None

    def check_the_gofer(self):
        """Alive, and nothing of the clients that are gone is left in it."""
        problem = None
        if not self.gofer.alive():
            problem = f"the gofer has ended: {self.gofer.process.returncode}"
        elif self.descriptors is not None:
            try:
                wait_for(lambda: len(os.listdir(f"/proc/{self.gofer.pid}/fd")) <= self.descriptors, "all descriptors closed")
            except AssertionError as e:
                problem = e
        self.gofer.stop()
        if problem:
            self.fail(problem)

    def memory(self):
        """Bytes that are the gofer's own."""
        return int(Host.status(self.gofer.pid)["RssAnon"].split()[0]) * 1024

    def client(self, **more):
        c = ninep.Client(self.at, **more)
        self.addCleanup(c.close)
        return c

    def fails(self, error, call, *args, **more):
        with self.assertRaises(OSError) as caught:
            call(*args, **more)
        self.assertEqual(errno.errorcode.get(caught.exception.errno), errno.errorcode[error])
