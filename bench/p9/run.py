#!/usr/bin/env python3
"""Measures our 9P client and gofer beside diod, hugelgupf's p9ufs and the host's own system calls, in one run, and
writes bench/p9_results.md.

usage: bench/p9/run.py [--bin DIR] [--rounds N] [--seconds S]

Every figure is the best median of several rounds, the subjects in turns. diod is Debian's package. p9ufs is built
outside the tree: GOBIN=DIR go install github.com/hugelgupf/p9/cmd/p9ufs@v0.3.0, and found in PATH. Either is left out
when it is not there.
"""
import argparse, contextlib, os, shutil, socket, statistics, subprocess, sys, tempfile, time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PATH = os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin"
ROWS = {"null": "null request (Tflush)", "getattr": "getattr", "stat_3": "walk of 3 names, attributes",
        "stat_5": "stat, 5 deep", "open_read_close": "open, read 4 KiB, close", "create_write_close": "create, write 4 KiB, close",
        "readdir_stat_10000": "readdir and stat of 10,000", "write_1m": "write 1 MiB", "read_1m": "read 1 MiB",
        "many_getattr": "getattr, 8 clients at a time"}
MESSAGES = ("unix", "ring + leases", "diod, unix")


def prepare(tree):
    os.makedirs(os.path.join(tree, "a/b/c/d/e"))
    os.mkdir(os.path.join(tree, "many"))
    for i in range(10_000):
        open(os.path.join(tree, f"many/file{i:05}"), "w").close()
    with open(os.path.join(tree, "a/b/c/small"), "wb") as f:
        f.write(b"s" * 4096)
    with open(os.path.join(tree, "big"), "wb") as f:
        f.write(b"b" * (16 << 20))


def wait_for(connects):
    for _ in range(500):
        try:
            connects().close()
            return
        except OSError:
            time.sleep(0.01)
    sys.exit("nobody listens")


def unix(path):
    def connects():
        s = socket.socket(socket.AF_UNIX)
        s.connect(path)
        return s
    return connects


class Bench:
    def __init__(self, binaries, tree, work, seconds):
        self.program, self.gofer = (os.path.join(binaries, n) for n in ("run9-p9-bench", "run9-gofer"))
        self.tree, self.work, self.seconds = tree, work, str(seconds)
        self.us, self.messages, self.donated = {}, {}, {}

    def run(self, subject, *args, **more):
        out = subprocess.run([self.program, *args], capture_output=True, text=True, timeout=120, **more)
        if out.returncode != 0:
            sys.exit(f"{subject}: {out.stderr.strip()}")
        for name, us, messages in (line.split() for line in out.stdout.splitlines()):
            best = self.us.setdefault(subject, {})
            best[name] = min(float(us), best.get(name, 1e18))
            self.messages.setdefault(subject, {})[name] = float(messages)

    @contextlib.contextmanager
    def server(self, *args, **more):
        # Only messages that matter: diod tells of each connection.
        process = subprocess.Popen(args, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=dict(os.environ, PATH=PATH), **more)
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def our_gofer(self):
        path = os.path.join(self.work, "gofer")
        with self.server(self.gofer, "--export", self.tree + ":t", "--listen", "unix:" + path):
            wait_for(unix(path))
            for subject, how in (("unix", "socket"), ("ring", "ring")):
                self.run(subject, "client", "unix:" + path, "t", self.seconds, how)
                self.run(subject, "many", "unix:" + path, "t", self.seconds, how)
            self.beside_the_host(path)
        os.remove(path)

    def beside_the_host(self, path):
        """One program with both descriptors, which reads and writes by each in turns."""
        out = subprocess.run([self.program, "donated", "unix:" + path, "t", self.seconds, self.tree], capture_output=True, text=True,
                             timeout=120, check=True)
        for name, theirs, ours in (line.split() for line in out.stdout.splitlines()):
            self.donated.setdefault(name, []).append(float(ours) / float(theirs))

    def leases(self):
        ours, theirs = socket.socketpair()
        with self.server(self.gofer, "--export", self.tree + ":t:lease", "--listen", f"fd:{theirs.fileno()}", pass_fds=[theirs.fileno()]):
            theirs.close()
            self.run("ring + leases", "vfs", f"fd:{ours.fileno()}", "t", self.seconds, pass_fds=[ours.fileno()])
            ours.close()

    def diod(self):
        path = os.path.join(self.work, "diod")
        with self.server("diod", "-f", "-n", "-N", "-S", "-U", "root", "-l", path, "-e", self.tree):
            wait_for(unix(path))
            self.run("diod, unix", "client", "unix:" + path, self.tree, self.seconds, "plain")
            self.run("diod, unix", "many", "unix:" + path, self.tree, self.seconds, "plain")

    def p9ufs(self):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        at = f"127.0.0.1:{port}"
        with self.server("p9ufs", "-root", self.tree, at):
            wait_for(lambda: socket.create_connection(("127.0.0.1", port)))
            self.run("p9ufs, tcp", "client", "tcp:" + at, "", self.seconds, "plain")
            self.run("p9ufs, tcp", "many", "tcp:" + at, "", self.seconds, "plain")

    def idle_memory(self):
        """Of a gofer that serves one inherited connection, after a first request, in KiB: what it wrote, and the pages of
        its program, which it shares with other gofers, if there are any."""
        ours, theirs = socket.socketpair()
        with self.server(self.gofer, "--export", self.tree + ":t", "--listen", f"fd:{theirs.fileno()}", pass_fds=[theirs.fileno()]) as gofer:
            theirs.close()
            version = b"\x15\0\0\0\x64\xff\xff\0\0\x01\0\x08\x009P2000.L"
            ours.sendall(version)
            ours.recv(100)
            kib = {}
            for line in open(f"/proc/{gofer.pid}/smaps_rollup"):
                if line.endswith("kB\n"):
                    kib[line.split(":")[0]] = int(line.split()[1])
            ours.close()
            return kib["Private_Dirty"], kib["Private_Clean"] + kib["Shared_Clean"]


def table(bench, idle):
    subjects = [s for s in ("host", "unix", "ring", "ring + leases", "diod, unix", "p9ufs, tcp") if s in bench.us]
    lines = ["| us | " + " | ".join(subjects) + " | unix / diod | ring / diod | messages: " + ", ".join(MESSAGES) + " |",
             "| --- |" + " ---: |" * (len(subjects) + 2) + " --- |"]
    for row, text in ROWS.items():
        cells = [f"{bench.us[s][row]:,.2f}" if row in bench.us[s] else "" for s in subjects]
        diod = bench.us.get("diod, unix", {}).get(row)
        ratios = [f"{bench.us[s][row] / diod:.2f}" if diod else "" for s in ("unix", "ring")]
        counts = ", ".join(f"{bench.messages[s][row]:g}" if row in bench.messages.get(s, {}) else "-" for s in MESSAGES)
        lines.append(f"| {text} | " + " | ".join(cells + ratios) + f" | {counts} |")
    lines += ["", "Through a descriptor that the gofer donated, beside one of the program's own, in turns (the host's time by it, middle of the "
              "rounds): " + ", ".join(f"{ROWS[row]} {statistics.median(r):.2f}" for row, r in bench.donated.items()) + ". No message is sent."]
    lines += ["", f"An idle gofer with one connection has {idle[0]} KiB of private memory, and {idle[1]} KiB of its program's pages mapped, "
              "which all gofers share."]
    return "\n".join(lines)


def main():
    ap = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ap.add_argument("--bin", default=os.path.join(ROOT, "build/release/bin"))
    ap.add_argument("--rounds", type=int, default=3)
    ap.add_argument("--seconds", type=float, default=0.2, help="for each row")
    args = ap.parse_args()
    with tempfile.TemporaryDirectory(prefix="run9-p9-bench-", dir="/var/tmp") as work:
        tree = os.path.join(work, "tree")
        prepare(tree)
        bench = Bench(args.bin, tree, work, args.seconds)
        for _ in range(args.rounds):
            bench.run("host", "host", tree, bench.seconds)
            bench.our_gofer()
            bench.leases()
            if shutil.which("diod", path=PATH):
                bench.diod()
            if shutil.which("p9ufs", path=PATH):
                bench.p9ufs()
        text = table(bench, bench.idle_memory())
    print(text)
    with open(os.path.join(ROOT, "bench/p9_results.md"), "w") as f:
        f.write("# The 9P library and the gofer, measured\n\nMade by `bench/p9/run.py`: best median of several rounds, in turns, on "
                f"{os.cpu_count()} cores, Linux {os.uname().release.split('-')[0]}. One client unless said otherwise, one request "
                "in flight. unix and ring: p9::Client at run9-gofer, by the socket alone and by the shared memory. ring + leases: "
                f"vfs/gofer, what the Sentry mounts, on a tree that the host may change.\n\n{text}\n")


if __name__ == "__main__":
    main()
