#!/usr/bin/env python3
"""run9-metrics in front of a gofer (and of a sandbox).

usage: service_test.py BIN_DIR
"""
import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../tests/support"))
import ninep
from gofer import ExportTest, Gofer, free_port
from sandbox import Run9, wait_for

BIN = sys.argv.pop(1)


class Metrics(ExportTest):
    def setUp(self):
        super().setUp()
        self.control = self.path("control")

    def gofer(self, *args):
        gofer = Gofer(BIN, "--export", self.tree, "--listen", "unix:" + self.path("s"), "--control", "unix:" + self.control, *args)
        self.addCleanup(gofer.stop)
        return gofer

    def start(self, *args):
        self.port = free_port()
        process = subprocess.Popen([os.path.join(BIN, "run9-metrics"), "--listen", f"127.0.0.1:{self.port}", *args])
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)

        def listens():
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                return True
            except OSError:
                return False

        wait_for(listens, "run9-metrics listens")
        return process

    def get(self, path, method="GET"):
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            c.request(method, path)
            r = c.getresponse()
            return r.status, r.read().decode()
        finally:
            c.close()

    def value(self, name, text=None):
        """The sample's value, once the answers of a second ago are gone."""
        text = text or self.get("/metrics")[1]
        found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.M)
        return float(found.group(1)) if found else None

    def test_counts_what_a_gofer_did(self):
        self.write("tree/f", "x" * 1000)
        self.gofer()
        self.start("--gofer", "files=" + self.control)
        with ninep.Client("unix:" + self.path("s")) as c:
            c.find(0, 1, "f")
            c.open(1)
            for _ in range(5):
                c.read(1, 1000)
            with self.assertRaises(OSError):
                c.open(1)
            c.raw(ninep.frame(ninep.TREAD + 1, 1, b""))  # a reply
            self.assertEqual(c.receive()[0], ninep.RLERROR)
            text = self.get("/metrics")[1]
            self.assertEqual(self.value('run9_gofer_requests_total{gofer="files",type="Tread"}', text), 5)
            self.assertEqual(self.value('run9_gofer_request_errors_total{gofer="files",type="Tlopen"}', text), 1)
            self.assertEqual(self.value('run9_gofer_requests_total{gofer="files",type="other"}', text), 1)
            self.assertEqual(self.value('run9_gofer_received_bytes_total{gofer="files",type="Tread"}', text), 5 * 23)
            self.assertEqual(self.value('run9_gofer_sent_bytes_total{gofer="files",type="Tread"}', text), 5 * 1011)
            self.assertGreater(self.value('run9_gofer_request_seconds_total{gofer="files",type="Tread"}', text), 0)
            self.assertEqual(self.value('run9_gofer_connections{gofer="files"}', text), 1)
            self.assertEqual(self.value('run9_gofer_connection_places{gofer="files"}', text), 8)
            self.assertEqual(self.value('run9_gofer_fids{gofer="files"}', text), 2)
            self.assertEqual(self.value('run9_up{kind="gofer",name="files"}', text), 1)
        wait_for(lambda: self.value('run9_gofer_connections{gofer="files"}') == 0, "no connection")
        self.assertEqual(self.value('run9_gofer_connections_total{gofer="files"}'), 1)

    def test_health(self):
        gofer = self.gofer()
        self.start("--gofer", "files=" + self.control)
        self.assertEqual(self.get("/health"), (200, "ok\n"))
        gofer.stop()
        wait_for(lambda: self.get("/health")[0] == 503, "the gofer's end to show")
        self.assertIn('gofer "files" does not answer', self.get("/health")[1])
        self.assertEqual(self.value('run9_up{kind="gofer",name="files"}'), 0)

    def test_who_never_answers(self):
        """A socket where nobody accepts: two seconds, then it is down, and others are not held up for longer."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as s:
            s.bind(self.path("silent"))
            s.listen()
            self.gofer()
            self.start("--gofer", "silent=" + self.path("silent"), "--gofer", "files=" + self.control)
            start = time.monotonic()
            status, text = self.get("/health")
            self.assertLess(time.monotonic() - start, 10)
            self.assertEqual((status, text), (503, 'gofer "silent" does not answer\n'))

    def test_what_is_not_protobuf(self):
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as s:
            s.bind(self.path("liar"))
            s.listen()
            self.start("--gofer", "liar=" + self.path("liar"))
            s.settimeout(0.01)
            stop = time.monotonic() + 20
            client = subprocess.Popen([sys.executable, "-c", f"import urllib.request as u; u.urlopen('http://127.0.0.1:{self.port}/health')"],
                                      stderr=subprocess.DEVNULL)
            while client.poll() is None and time.monotonic() < stop:
                try:
                    c, _ = s.accept()
                    c.send(b"\xff" * 5000)
                    c.close()
                except OSError:
                    pass
            self.assertEqual(client.wait(20), 1)  # 503
            self.assertEqual(self.get("/health")[0], 503)

    def test_http(self):
        self.gofer()
        process = self.start("--gofer", "files=" + self.control)
        self.assertEqual(self.get("/")[0], 404)
        self.assertEqual(self.get("/metrics", "POST")[0], 405)
        self.assertEqual(self.get("/metrics", "HEAD"), (200, ""))
        for bad in (b"\0" * 100, b"GET /" + b"a" * 20000 + b" HTTP/1.1\r\n\r\n", b"POST / HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n" + b"x" * 5000):
            with socket.create_connection(("127.0.0.1", self.port)) as c:
                c.settimeout(20)
                try:
                    c.sendall(bad)
                    while c.recv(65536):
                        pass
                except ConnectionError:
                    pass
        half = [socket.create_connection(("127.0.0.1", self.port)) for _ in range(20)]
        for c in half:
            c.sendall(b"GET /met")
        self.assertEqual(self.get("/health")[0], 200)
        for c in half:
            c.close()
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(20), 0)

    def test_says_what_is_wrong(self):
        def fails(*args):
            done = subprocess.run([os.path.join(BIN, "run9-metrics"), *args], capture_output=True, text=True, timeout=20)
            self.assertNotEqual(done.returncode, 0)
            return done.stderr

        self.assertIn("nobody to ask", fails())
        self.assertIn("NAME=SOCKET", fails("--gofer", "x"))
        self.assertIn("ADDRESS:PORT", fails("--gofer", "x=y", "--listen", "localhost"))
        self.assertIn("cannot listen", fails("--gofer", "x=y", "--listen", "192.0.2.1:1"))

    def test_sandboxes(self):
        with Run9(BIN, "metrics") as run9:
            run9.detached("c", run9.bundle("b", ["sleep", "1000"]))
            os.mkdir(os.path.join(run9.root, "ended"))  # without a socket
            self.start("--sandboxes", run9.root)
            text = self.get("/metrics")[1]
            self.assertEqual(self.value('run9_sandbox_processes{sandbox="c"}', text), 1)
            self.assertGreater(self.value('run9_sandbox_guest_events_total{sandbox="c"}', text), 0)
            self.assertNotIn("ended", text)
            # Its gofer has opened at least what it runs.
            self.assertEqual(self.value('run9_up{kind="gofer",name="sandbox/c"}', text), 1)
            self.assertGreater(self.value('run9_gofer_requests_total{gofer="sandbox/c",type="Twalkx"}', text), 0)
            self.assertGreater(self.value('run9_gofer_descriptors_donated_total{gofer="sandbox/c"}', text), 0)
            self.assertEqual(self.get("/health"), (200, "ok\n"))


if __name__ == "__main__":
    unittest.main()
