#!/usr/bin/env python3
"""Runs the system call tests of the Linux Test Project in sandboxes, one for each, and natively what failed there.

    RUN9_LTP=PREFIX tests/foreign/ltp.py BIN_DIR OUTPUT_DIR [--platform PLATFORM] [--jobs N] [NAME...]

PREFIX: where LTP is installed (`./configure --prefix=PREFIX; make install` in testcases/kernel/syscalls, testcases/lib and
runtest). NAME: tests of its list `syscalls`; all of them if none is given. Each one's output goes to OUTPUT_DIR. Tests that would set
the machine's clock, accounting or modules are not run natively. Not part of ctest: LTP is none of this project's files, and a run takes
ten minutes.
"""
import argparse
import collections
import concurrent.futures
import os
import re
import subprocess
import sys

SECONDS = 90
# What the kernel says to these is the machine's business.
NOT_NATIVELY = re.compile(r"adjtime|settime|leapsec|stime|reboot|module|swap|sethost|setdomain|kexec|acct|quota|iopl|ioperm|syslog|"
                          r"cgroup|mount|pivot|vhangup|oom|fork13|inotify09|key")
# Their word for "not for this system".
SKIPPED = 32


def tests_of(prefix, names):
    with open(os.path.join(prefix, "runtest/syscalls")) as f:
        lines = [line.split(None, 1) for line in f if line.strip() and not line.startswith("#")]
    return [(n, rest[0].strip() if rest else n) for n, *rest in lines if not names or n in names]


def kernel_config(output):
    """A list of everything: the tests ask for options by name, and are to find out themselves what is missing."""
    path = os.path.join(os.path.realpath(output), "kconfig")
    with open(path, "w") as f:
        for option in ("EVENTFD", "PID_NS", "NET_NS", "UTS_NS", "IPC_NS", "USER_NS", "POSIX_TIMERS", "SECCOMP", "SECCOMP_FILTER", "USERFAULTFD",
                       "MEMBARRIER", "AIO", "PROC_FS", "X86_64", "SYSVIPC", "POSIX_MQUEUE", "TMPFS_XATTR", "TIMERFD", "CHECKPOINT_RESTORE"):
            f.write(f"CONFIG_{option}=y\n")
    return path


def run(prefix, wrapper, command, config):
    script = (f"export PATH={prefix}/testcases/bin:$PATH LTPROOT={prefix} TMPDIR=/tmp KCONFIG_PATH={config}; "
              f"mkdir -p /tmp && cd /tmp; {command}; echo LTP-STATUS $?")
    try:
        done = subprocess.run([*wrapper, "sh", "-c", script], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=SECONDS)
        text = done.stdout.decode(errors="replace")
    except subprocess.TimeoutExpired as e:
        return "hung", (e.stdout or b"").decode(errors="replace")
    status = re.search(r"LTP-STATUS (\d+)", text)
    if status is None:
        return "ended the sandbox", text
    code = int(status[1])
    return {0: "passed", SKIPPED: "skipped"}.get(code, "failed"), text


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bin")
    parser.add_argument("output")
    parser.add_argument("names", nargs="*")
    parser.add_argument("--platform", default="trap")
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args()
    prefix = os.environ.get("RUN9_LTP")
    if not prefix:
        sys.exit("ltp.py: set RUN9_LTP to where LTP is installed (see --help)")
    os.makedirs(args.output, exist_ok=True)
    config = kernel_config(args.output)
    sandbox = [os.path.join(args.bin, "run9"), "--platform", args.platform, "do", "--"]
    count = collections.Counter()

    def one(test):
        name, command = test
        kind, text = run(prefix, sandbox, command, config)
        with open(os.path.join(args.output, name), "w") as f:
            f.write(text)
        if kind in ("passed", "skipped"):
            return name, kind
        if NOT_NATIVELY.search(name):
            return name, f"{kind}, not tried natively"
        native, _ = run(prefix, [], command, config)
        return name, f"{kind}, natively {native}"

    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        for name, kind in pool.map(one, tests_of(prefix, args.names)):
            count[kind] += 1
            if kind not in ("passed", "skipped"):
                print(f"{name}: {kind}", flush=True)
    print("all:", ", ".join(f"{n} {kind}" for kind, n in sorted(count.items())))
    return 1 if any("natively passed" in kind for kind in count) else 0


if __name__ == "__main__":
    sys.exit(main())
