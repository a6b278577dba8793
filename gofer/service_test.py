#!/usr/bin/env python3
"""run9-gofer as a service: sockets that systemd hands over, vsock, signals, reload.

usage: service_test.py BIN_DIR
"""
import os
import signal
import socket
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../tests/support"))
import ninep
from gofer import ExportTest, Gofer, free_port
from sandbox import Host, read, wait_for

BIN = sys.argv.pop(1)
LOCAL_CID = 1  # VMADDR_CID_LOCAL


class Base(ExportTest):
    def setUp(self):
        super().setUp()
        self.write("tree/f", "hello")

    def gofer(self, *args, **more):
        gofer = Gofer(BIN, *args, **more)
        self.addCleanup(gofer.stop)
        return gofer

    def client(self, **more):
        client = ninep.Client(self.at, **more)
        self.addCleanup(client.close)
        return client

    def content(self, client, name="f", fid=1):
        client.find(0, fid, name)
        client.open(fid)
        data = client.read(fid).decode()
        client.clunk(fid)
        return data


class Vsock(Base):
    def listening_port(self):
        """A loopback port of vsock's; skips where the kernel has none."""
        try:
            with socket.socket(socket.AF_VSOCK) as s:
                s.bind((LOCAL_CID, socket.VMADDR_PORT_ANY))
                return s.getsockname()[1]
        except (AttributeError, OSError) as e:
            self.skipTest(f"no loopback for vsock (module vsock_loopback): {e}")

    def test_serves_on_loopback(self):
        port = self.listening_port()
        for address in (f"vsock:{port}", f"vsock:{LOCAL_CID}:{port}"):
            with self.gofer("--export", self.tree + ":t", "--listen", address):
                with ninep.Client(f"vsock:{LOCAL_CID}:{port}") as c:
                    self.assertEqual(self.content(c), "hello")
                at = f"vsock:{LOCAL_CID}:{port}"
                out = subprocess.run([os.path.join(BIN, "p9"), "cat", at, "f"], capture_output=True, timeout=20)
                self.assertEqual(out.stdout, b"hello", out.stderr)

    def test_listens(self):
        """As much as can be seen without a peer."""
        try:
            socket.socket(socket.AF_VSOCK).close()
        except (AttributeError, OSError) as e:
            self.skipTest(f"no AF_VSOCK: {e}")
        port = free_port()
        gofer = self.gofer("--export", self.tree, "--listen", f"vsock:{port}")
        with socket.socket(socket.AF_VSOCK) as s, self.assertRaises(OSError):
            s.bind((socket.VMADDR_CID_ANY, port))
        gofer.signal(signal.SIGTERM)
        self.assertEqual(gofer.wait(), 0)


class Systemd(Base):
    def launch(self, sockets, *args, names=None, pid=None):
        """As systemd does: descriptors from 3 on, and variables that name their owner."""
        fds = [s.fileno() for s in sockets]

        def hand_over():
            high = [os.dup2(fd, 50 + i) for i, fd in enumerate(fds)]
            for i, fd in enumerate(high):
                os.dup2(fd, 3 + i)
            os.environ["LISTEN_PID"] = str(pid or os.getpid())
            os.environ["LISTEN_FDS"] = str(len(fds))
            if names:
                os.environ["LISTEN_FDNAMES"] = ":".join(names)
            os.execv(command[0], command)

        ready, theirs = os.pipe()
        os.dup2(theirs, 60, inheritable=True)
        command = [os.path.join(BIN, "run9-gofer"), "--ready-fd", "60", *args]
        process = subprocess.Popen(["/bin/true"], close_fds=False, preexec_fn=hand_over, stderr=subprocess.PIPE)
        os.close(60)
        os.close(theirs)
        self.addCleanup(process.wait)
        self.addCleanup(process.stderr.close)
        self.addCleanup(process.kill)
        with os.fdopen(ready, "rb") as f:
            return process, f.read(1) == b"\0"

    def listener(self, name):
        s = socket.socket(socket.AF_UNIX)
        s.bind(self.path(name))
        s.listen()
        self.addCleanup(s.close)
        return s

    def test_listening_sockets(self):
        tcp = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(tcp.close)
        _, ready = self.launch([self.listener("s"), tcp], "--export", self.tree, "--listen", "systemd")
        self.assertTrue(ready)
        for at in ("unix:" + self.path("s"), f"tcp:127.0.0.1:{tcp.getsockname()[1]}"):
            with ninep.Client(at) as c:
                self.assertEqual(self.content(c), "hello")

    def test_names_choose_sockets_and_exports(self):
        os.mkdir(self.path("other"))
        self.write("other/f", "other")
        _, ready = self.launch([self.listener("a"), self.listener("b"), self.listener("c")], "--export", self.tree + ":t",
                               "--export", self.path("other") + ":o", "--listen", "systemd:one=o", "--listen", "systemd:two",
                               names=["two", "one", "nobodys"])
        self.assertTrue(ready)
        with ninep.Client("unix:" + self.path("a")) as c:
            self.assertEqual(self.content(c), "hello")
        with ninep.Client("unix:" + self.path("b")) as c:
            self.assertEqual(self.content(c), "other")
            with self.assertRaises(PermissionError):
                c.attach(9, aname="t")

    def test_accepted_connection(self):
        """Accept=yes: the socket is a connection."""
        ours, theirs = socket.socketpair()
        process, ready = self.launch([theirs], "--export", self.tree, "--listen", "systemd")
        theirs.close()
        self.assertTrue(ready)
        ours.settimeout(20)
        with ninep.Client(ours) as c:
            self.assertEqual(self.content(c), "hello")
        self.assertEqual(process.wait(20), 0)

    def test_sockets_of_another_process(self):
        process, ready = self.launch([self.listener("s")], "--export", self.tree, "--listen", "systemd", pid=1)
        self.assertFalse(ready)
        self.assertEqual(process.wait(20), 1)
        self.assertIn(b".socket unit", process.stderr.read())

    def test_not_a_stream_socket(self):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
            process, ready = self.launch([s], "--export", self.tree, "--listen", "systemd")
        self.assertFalse(ready)
        self.assertIn(b"no stream socket", process.stderr.read())


class Signals(Base):
    def setUp(self):
        super().setUp()
        self.at = "unix:" + self.path("s")

    def start(self, *more):
        return self.gofer("--export", self.tree, "--listen", self.at, *more)

    def refused(self):
        try:
            ninep.Client(self.at, attach=False).close()
            return False
        except OSError:
            return True

    def test_sigterm_answers_what_was_asked(self):
        gofer = self.start()
        client = self.client()
        client.find(0, 1, "f")
        client.open(1)
        os.kill(gofer.pid, signal.SIGSTOP)
        for _ in range(50):  # they wait in the socket
            client.send(ninep.TREAD, b"\1\0\0\0" + bytes(8) + b"\5\0\0\0")
        gofer.signal(signal.SIGTERM)
        os.kill(gofer.pid, signal.SIGCONT)
        for _ in range(50):
            self.assertEqual(client.receive()[2][4:], b"hello")
        self.assertEqual(client.wait_for_hangup(), b"")
        self.assertEqual(gofer.wait(), 0)

    def test_sigterm_ends_idle_connections_and_listening(self):
        gofer = self.start()
        clients = [self.client() for _ in range(3)]
        gofer.signal(signal.SIGTERM)
        self.assertEqual(gofer.wait(), 0)
        for c in clients:
            self.assertEqual(c.wait_for_hangup(), b"")
        self.assertTrue(self.refused())

    def test_sigterm_is_bounded(self):
        gofer = self.start("--drain-timeout", "1")
        client = self.client()
        client.socket.setblocking(False)
        try:
            while True:  # asks, and never reads
                client.socket.send(ninep.frame(ninep.TGETATTR, 1, bytes(4) + b"\xff" * 8))
        except BlockingIOError:
            pass
        start = time.monotonic()
        gofer.signal(signal.SIGTERM)
        self.assertEqual(gofer.wait(), 0)
        self.assertLess(time.monotonic() - start, 10)

    def test_sighup_finishes(self):
        gofer = self.start()
        client = self.client()
        threads = len(Host.threads(gofer.pid))  # a sanitizer's has one of its own
        gofer.signal(signal.SIGHUP)
        wait_for(lambda: len(Host.threads(gofer.pid)) == threads - 7, "only the connection's thread of eight")
        self.assertEqual(self.content(client), "hello")
        client.close()
        self.assertEqual(gofer.wait(), 0)

    def test_sandbox_mode_ends_at_once(self):
        ours, theirs = socket.socketpair()
        gofer = self.gofer("--export", self.tree, "--listen", f"fd:{theirs.fileno()}", pass_fds=[theirs.fileno()])
        theirs.close()
        gofer.signal(signal.SIGTERM)
        self.assertEqual(gofer.wait(), -signal.SIGTERM)
        ours.close()

    def test_half_a_frame(self):
        self.start("--frame-timeout", "1")
        idle = self.client()
        half = self.client()
        half.raw(ninep.frame(ninep.TWRITE, 1, bytes(100))[:20])
        start = time.monotonic()
        self.assertEqual(half.wait_for_hangup(), b"")
        self.assertGreater(time.monotonic() - start, 0.5)
        self.assertEqual(self.content(idle), "hello")


class Reload(Base):
    def setUp(self):
        super().setUp()
        self.at = "unix:" + self.path("s")
        os.mkdir(self.path("new"))
        self.write("new/f", "reloaded")
        self.config(f"export {self.tree}:t", f"listen {self.at}")

    def config(self, *lines):
        self.write("conf", "# ours\n" + "\n".join(lines) + "\n")

    def start(self, **more):
        return self.gofer("--config", self.path("conf"), **more)

    def workers(self, gofer):
        return Host.children(gofer.pid)

    def test_serves_and_ends(self):
        gofer = self.start()
        with ninep.Client(self.at, aname="t") as c:
            self.assertEqual(self.content(c), "hello")
        worker = self.workers(gofer)
        self.assertEqual(len(worker), 1)
        gofer.signal(signal.SIGTERM)
        self.assertEqual(gofer.wait(), 0)
        self.assertFalse(Host.alive(worker[0]))
        self.assertFalse(os.path.exists(self.path("s")), "the socket's file is still there")

    def test_sighup_serves_the_new_exports(self):
        gofer = self.start()
        old = self.workers(gofer)
        before = self.client()
        self.config(f"export {self.path('new')}:n", f"listen {self.at}", f"listen unix:{self.path('second')}")
        gofer.signal(signal.SIGHUP)
        wait_for(lambda: os.path.exists(self.path("second")) and len(self.workers(gofer)) == 2, "two workers")

        def serves_new():
            with ninep.Client(self.at) as c:
                return self.content(c) == "reloaded"

        wait_for(serves_new, "the new export")
        # Who was there before stays with what it had, as long as it likes.
        self.assertEqual(self.content(before), "hello")
        before.close()
        wait_for(lambda: not Host.alive(old[0]), "the end of the first worker")
        with ninep.Client("unix:" + self.path("second"), aname="n") as c:
            self.assertEqual(self.content(c), "reloaded")

    def test_a_bad_file_changes_nothing(self):
        log = open(self.path("log"), "w+b")
        self.addCleanup(log.close)
        gofer = self.start(log=log)
        for lines in (["export"], ["export /no/such/place:x", f"listen {self.at}"], ["colour blue"]):
            self.config(*lines)
            size = os.path.getsize(self.path("log"))
            gofer.signal(signal.SIGHUP)
            wait_for(lambda: "as it was before" in read(self.path("log"))[size:], f"a line of log on {lines}")
            with ninep.Client(self.at) as c:
                self.assertEqual(self.content(c), "hello")

    def test_a_bad_file_at_the_start(self):
        self.config("export /no/such/place", f"listen {self.at}")
        with self.assertRaisesRegex(RuntimeError, "status 1"):
            self.start(log=subprocess.DEVNULL)
        self.assertFalse(os.path.exists(self.path("s")))

    def test_a_dead_worker_ends_the_service(self):
        gofer = self.start(log=subprocess.DEVNULL)
        os.kill(self.workers(gofer)[0], signal.SIGKILL)
        self.assertEqual(gofer.wait(), 1)

    def test_workers_end_with_the_supervisor(self):
        gofer = self.start()
        worker = self.workers(gofer)[0]
        gofer.process.kill()
        gofer.wait()
        wait_for(lambda: not Host.alive(worker), "the worker's end")


if __name__ == "__main__":
    unittest.main()
