#!/usr/bin/env python3
"""Every name that a guest opens below the gofer's mounts is in the gofer's log of 9P messages (--log-9p).

usage: gofer_log_test.py BIN_DIR
"""
import os
import random
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
from sandbox import Run9, fail_if, machine_python

GUEST = r"""
import os, sys
names = sys.argv[1:]
ways = [
    lambda n: os.close(os.open(n, os.O_RDONLY)),
    lambda n: os.close(os.open(n, os.O_RDONLY | os.O_PATH)),
    lambda n: os.stat(n),
    lambda n: os.readlink(n),
    lambda n: os.chdir(n),
    lambda n: os.close(os.open(os.path.basename(n), os.O_RDONLY, dir_fd=os.open(os.path.dirname(n), os.O_RDONLY))),
    lambda n: os.close(os.open(n, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)),
    lambda n: os.mkdir(n),
    lambda n: os.symlink("to", n),
    lambda n: os.link("/mnt/there", n),
    lambda n: os.rename(n, n + ".moved"),
    lambda n: os.unlink(n),
    lambda n: os.truncate(n, 3),
    lambda n: os.chmod(n, 0o600),
    lambda n: os.access(n, os.R_OK),
    lambda n: os.execv(n, ["x"]),
    lambda n: os.getxattr(n, "user.x"),
]
for i, name in enumerate(names):
    try:
        ways[i % len(ways)](name)
    except OSError:
        pass
    os.chdir("/")
print("done", len(names))
"""


def main():
    problems = []
    dice = random.Random(9)
    with Run9(sys.argv[1], "gofer-log") as run9:
        data = os.path.join(run9.work, "data")
        os.makedirs(os.path.join(data, "deep/er"))
        open(os.path.join(data, "there"), "w").close()
        # Half of them exist. Some names are odd, but the log shows printable text as it is.
        names = []
        for i in range(170):
            name = f"{dice.choice(['', 'deep/', 'deep/er/'])}{'file' if i % 2 else 'odd name, #'}{dice.getrandbits(48):012x}"
            names.append(name)
            if dice.random() < 0.5:
                with open(os.path.join(data, name), "w") as f:
                    f.write("contents\n")
        mount = {"destination": "/mnt", "type": "bind", "source": data, "options": ["rbind", "rw"]}
        bundle = run9.bundle("b", [machine_python(), "-S", "-c", GUEST, *(f"/mnt/{n}" for n in names)], mounts=[mount])
        r = run9.command("run", "-b", bundle, "log", flags=("--log-9p",))
        if r.stdout != f"done {len(names)}\n":
            problems.append(f"the guest did not get through: {r.stdout} {r.stderr}")
        requests = "\n".join(line for line in run9.log_text().splitlines() if re.search(r"9p \d+ <", line))
        missing = [n for n in names if os.path.basename(n) not in requests]
        print(f"{len(names)} names, {requests.count(chr(10)) + 1} requests in the gofer's log")
        problems += [f"{n!r} (way {names.index(n) % 17}) is not in the gofer's log" for n in missing]
        # What the guest ran itself came from there as well: the program, and its libraries.
        for name in ("python3", "libc.so.6"):
            if name not in requests:
                problems.append(f"{name!r} is not in the gofer's log")
    fail_if(problems)


if __name__ == "__main__":
    main()
