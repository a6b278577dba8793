#!/usr/bin/env python3
"""fcntl(2) and flock(2) on a file that two sandboxes and the host share by a bind mount: each is in the others' way, and
who waits is woken, by a grant or by a signal, while the rest of its sandbox goes on.

usage: shared_locks_test.py BIN_DIR
"""
import fcntl
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../tests/support"))
from sandbox import Run9, fail_if, machine_python

# In the guest: does what each line of stdin says, and answers with one line. Threads' answers come when they come.
GUEST = r'''
import errno, fcntl, os, signal, sys, threading
f = open("/mnt/f", "r+")

def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\n").encode())

def alarm(number, frame):
    raise InterruptedError

def record(kind, start, length, wait):
    how = {"r": fcntl.LOCK_SH, "w": fcntl.LOCK_EX, "u": fcntl.LOCK_UN}[kind]
    fcntl.lockf(f, how | (0 if wait == "wait" or kind == "u" else fcntl.LOCK_NB), int(length), int(start))

def whole(kind, wait):
    how = {"r": fcntl.LOCK_SH, "w": fcntl.LOCK_EX, "u": fcntl.LOCK_UN}[kind]
    fcntl.flock(f, how | (0 if wait == "wait" else fcntl.LOCK_NB))

def attempt(what, *args):
    try:
        what(*args)
        return "ok"
    except InterruptedError:
        return "EINTR"
    except OSError as e:
        return errno.errorcode[e.errno]

signal.signal(signal.SIGALRM, alarm)
say("ready")
for line in sys.stdin:
    words = line.split()
    what = {"record": record, "whole": whole}.get(words[0])
    if words[0] == "ping":
        say("pong")
    elif words[0] == "read":
        say(os.pread(f.fileno(), 100, 0).decode())
    elif words[0] == "thread":
        what = {"record": record, "whole": whole}[words[1]]
        threading.Thread(target=lambda: say("thread", attempt(what, *words[2:])), daemon=True).start()
        say("begun")
    elif words[0] == "child":
        pid = os.fork()
        if pid == 0:
            f = open("/mnt/f", "r+")
            say("child", attempt(record, *words[1:]))
            os._exit(0)
        os.waitpid(pid, 0)
    elif words[0] == "alarm":
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        what = {"record": record, "whole": whole}[words[1]]
        say(attempt(what, *words[2:]))
    elif words[0] == "holder":
        import struct
        got = fcntl.fcntl(f, fcntl.F_GETLK, struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, int(words[1]), int(words[2]), 0))
        kind, _, start, length, pid = struct.unpack("hhqqi4x", got)
        say(kind, start, length)
    elif what:
        say(attempt(what, *words[1:]))
'''


class Guest:
    def __init__(self, run9, name, shared):
        bundle = run9.bundle(name, [machine_python(), "-c", GUEST],
                             mounts=[{"destination": "/mnt", "type": "bind", "source": shared, "options": ["rbind", "rw"]}])
        self.process = run9.start("run", "-b", bundle, name, flags=("--overlay", "tmpfs"), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.line() == "ready"

    def line(self):
        return self.process.stdout.readline().strip()

    def ask(self, text):
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()
        return self.line()


def host_try(f, how, start=0, length=0):
    """Another process of the host: this one's own locks would be its."""
    code = (f"import fcntl, sys\nf = open({f.name!r}, 'r+')\n"
            f"try: fcntl.lockf(f, {how} | fcntl.LOCK_NB, {length}, {start})\nexcept OSError: sys.exit(1)")
    return "ok" if subprocess.run([sys.executable, "-c", code]).returncode == 0 else "EAGAIN"


problems = []


def check(wanted, got, what):
    if wanted != got:
        problems.append(f"{what}: wanted {wanted!r}, got {got!r}")


def main():
    with Run9(sys.argv[1], "locks") as run9:
        shared = os.path.join(run9.work, "shared")
        os.mkdir(shared)
        os.chmod(shared, 0o777)
        with open(os.path.join(shared, "f"), "w") as out:
            out.write("text")
        os.chmod(os.path.join(shared, "f"), 0o666)
        f = open(os.path.join(shared, "f"), "r+")
        a, b = Guest(run9, "a", shared), Guest(run9, "b", shared)

        check("ok", a.ask("record w 0 10 nb"), "a locks")
        check("EAGAIN", b.ask("record r 5 1 nb"), "b is in the way of a")
        check("1 0 10", b.ask("holder 5 1"), "what b is told of a's lock")
        check("EAGAIN", host_try(f, fcntl.LOCK_SH, 9, 1), "the host is in the way of a")
        check("ok", host_try(f, fcntl.LOCK_SH, 10, 1), "the host beside a")
        check("ok", b.ask("record w 10 10 nb"), "b beside a")
        check("child EAGAIN", a.ask("child w 0 5 nb"), "a child has not its parent's locks")
        check("EAGAIN", host_try(f, fcntl.LOCK_SH, 9, 1), "and takes none away by its end")

        # b waits for a; its sandbox goes on; a lets go.
        check("begun", b.ask("thread record w 0 5 wait"), "b waits")
        check("pong", b.ask("ping"), "b goes on")
        f.seek(0)
        f.write("news")
        f.flush()
        check("ok", a.ask("record u 0 10 nb"), "a lets go")
        check("thread ok", b.line(), "b has it")
        check("news", b.ask("read"), "b sees what was written")
        check("EAGAIN", a.ask("record r 0 1 nb"), "a is in the way of b")

        # The host holds, a guest waits, a signal ends it; then the host lets go and it may.
        check("ok", b.ask("record u 0 0 nb"), "b lets go of all")
        fcntl.lockf(f, fcntl.LOCK_EX)
        check("EAGAIN", a.ask("record r 0 1 nb"), "a is in the way of the host")
        check("EINTR", a.ask("alarm record w 0 1 wait"), "a's wait ends by a signal")
        check("pong", a.ask("ping"), "a goes on")
        for guest in (a, b):
            check("begun", guest.ask("thread record r 0 1 wait"), "both wait")
        fcntl.lockf(f, fcntl.LOCK_UN)
        for guest in (a, b):
            check("thread ok", guest.line(), "both read")
            check("ok", guest.ask("record u 0 0 nb"), "and let go")

        # flock(2).
        fcntl.flock(f, fcntl.LOCK_EX)
        check("EAGAIN", a.ask("whole r nb"), "a's flock is in the way of the host's")
        check("ok", a.ask("record w 0 0 nb"), "a record lock is not")
        check("EINTR", a.ask("alarm whole w wait"), "a's flock ends by a signal")
        check("begun", a.ask("thread whole w wait"), "a waits")
        fcntl.flock(f, fcntl.LOCK_UN)
        check("thread ok", a.line(), "a has it")
        check("EAGAIN", b.ask("whole r nb"), "b's flock is in the way of a's")

        # Who dies has no locks.
        check("begun", b.ask("thread record w 0 0 wait"), "b waits for a's end")
        a.process.stdin.close()
        check("thread ok", b.line(), "b has it")
        check("ok", b.ask("whole w wait"), "and the file, which a lets go of a moment later")
        b.process.stdin.close()
        for guest in (a, b):
            check(0, guest.process.wait(30), "status")
        check("ok", host_try(f, fcntl.LOCK_EX), "the host, at the end")
    fail_if(problems)


main()
