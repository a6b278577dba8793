#!/usr/bin/env python3
"""What one client that asks without pause costs another one of the same gofer: the other's median and 99th percentile, alone,
beside the flood, and beside the same flood at another gofer: what that costs is the two processors' share, not the gofer's.

usage: bench/p9/beside.py [--bin DIR] [--rounds N] [--seconds S] [--connections N] [--patience US]

The middle of several rounds, in turns.
"""
import argparse, contextlib, os, statistics, subprocess, sys, tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from run import ROOT, unix, wait_for


@contextlib.contextmanager
def process(*args, **more):
    p = subprocess.Popen(args, **more)
    try:
        yield p
    finally:
        p.kill()
        p.wait()


class Beside:
    def __init__(self, binaries, work, seconds, connections, patience):
        self.program, self.gofer = (os.path.join(binaries, n) for n in ("run9-p9-bench", "run9-gofer"))
        self.work, self.seconds, self.connections, self.patience = work, seconds, connections, str(patience)

    def serve(self, name):
        path = os.path.join(self.work, name)
        server = process(self.gofer, "--export", self.work + ":t", "--listen", "unix:" + path, "--busy-poll", self.patience, stderr=subprocess.DEVNULL)
        return server, path

    def neighbour(self, path):
        out = subprocess.run([self.program, "neighbour", "unix:" + path, "t", str(self.seconds), self.patience], capture_output=True, text=True, check=True)
        count, median, p99 = out.stdout.split()[1:]
        return int(count), float(median), float(p99)

    def beside(self, path, flooded):
        with contextlib.ExitStack() as stack:
            for _ in range(self.connections if flooded else 0):
                stack.enter_context(process(self.program, "flood", "unix:" + flooded, "t", "1000", stdout=subprocess.DEVNULL))
            return self.neighbour(path)

    def measure(self, rounds):
        results = {"alone": [], "beside a flood": [], "beside one at another gofer": []}
        server, path = self.serve("one")
        other_server, other = self.serve("other")
        with server, other_server:
            wait_for(unix(path))
            wait_for(unix(other))
            for _ in range(rounds):
                for name, flooded in zip(results, (None, path, other)):
                    results[name].append(self.beside(path, flooded))
        return results


def main():
    ap = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ap.add_argument("--bin", default=os.path.join(ROOT, "build/release/bin"))
    ap.add_argument("--rounds", type=int, default=5)
    ap.add_argument("--seconds", type=float, default=1)
    ap.add_argument("--connections", type=int, default=1, help="that flood")
    ap.add_argument("--patience", type=int, default=150, help="of the gofer and the neighbour, in us")
    args = ap.parse_args()
    with tempfile.TemporaryDirectory(prefix="run9-p9-beside-", dir="/var/tmp") as work:
        results = Beside(args.bin, work, args.seconds, args.connections, args.patience).measure(args.rounds)
    print("| | requests | median, us | p99, us | p99 from to |\n| --- | ---: | ---: | ---: | ---: |")
    for name, rounds in results.items():
        count, median, p99 = (statistics.median(column) for column in zip(*rounds))
        p99s = sorted(r[2] for r in rounds)
        print(f"| {name} | {count:,.0f} | {median:.1f} | {p99:.1f} | {p99s[0]:.0f} to {p99s[-1]:.0f} |")


if __name__ == "__main__":
    main()
