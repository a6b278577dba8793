#!/usr/bin/env python3
"""Terminals as people and supervisors use them: an interactive bash under run, exec -t and do, with ^C, ^Z,
fg, bg, window sizes, a console socket, and a background job that wants the terminal.
usage: terminal_test.py DIRECTORY-OF-PROGRAMS"""
import array
import fcntl
import json
import os
import pty
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../tests/support"))
from patience import patience

BIN = os.path.join(sys.argv[1], "run9")
WORK = tempfile.mkdtemp(prefix="run9-terminal-")
os.chmod(WORK, 0o755)
STATE = WORK + "/state"
PATIENCE = patience(30)
failures = 0
# In an interactive shell, `(job)` says "front=1" when it has the terminal, and "front=0" when it has it no more. It rests in a read of
# what never comes, not in a child: see interrupt().
JOB = ("job() { exec {never}<> <(:); while read -ra s </proc/self/stat; new=front=$((s[4] == s[7])); do "  # process group, and the terminal's
       "[[ $new == $old ]] || echo $new; old=$new; read -rt 0.05 -u $never; done; }")


def check(what, got, wanted):
    global failures
    if not re.search(wanted, got, re.S):
        failures += 1
        print(f"FAIL {what}: wanted something like {wanted!r}, got {got!r}")


class Terminal:
    """A program on a pty of ours, or a master that somebody sent us."""

    def __init__(self, argv=None, master=None, rows=24, columns=80):
        self.pid = 0
        if argv is None:
            self.fd = master
            return
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ.update(PS1="$ ", TERM="dumb")
            os.execv(argv[0], argv)
        self.resize(rows, columns)

    def resize(self, rows, columns):
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def send(self, text):
        os.write(self.fd, text.encode())

    def until(self, pattern, timeout=PATIENCE):
        """What comes, up to something like `pattern`, which must come."""
        text = self.read_until(pattern, timeout)
        check("on the terminal", text, pattern)
        return text

    def read_until(self, pattern, timeout):
        text, end = "", time.monotonic() + timeout
        while not re.search(pattern, text, re.S):
            left = end - time.monotonic()
            if left <= 0 or not select.select([self.fd], [], [], left)[0]:
                break
            try:
                data = os.read(self.fd, 65536)
            except OSError:
                break
            if not data:
                break
            text += data.decode(errors="replace")
        return text

    def ask_until(self, line, pattern):
        """Types `line` at the shell's prompt again and again until its answer is like `pattern`: for what happens soon,
        and what the shell tells only when asked."""
        end = time.monotonic() + PATIENCE
        while True:
            self.send(line + "\r")
            text = self.read_until(r"\$ $", PATIENCE)
            if re.search(pattern, text, re.S) or time.monotonic() > end:
                check(f"after {line!r}", text, pattern)
                return
            time.sleep(0.1)

    def interrupt(self):
        """^C for the shell's job, again if need be: bash keeps one for itself that comes while its child is about to end
        well, since that may have been meant to take it. And it is to wait for its job by then: one that comes between its sigaction()
        and its note of what the handler was before (wait_for() in jobs.c) has the handler send itself SIGINT for ever, natively too."""
        time.sleep(0.5)
        end, text = time.monotonic() + PATIENCE, ""
        while not re.search(r"\^C.*\$ $", text, re.S) and time.monotonic() < end:
            self.send("\x03")
            text += self.read_until(r"\$ $", 2)
        check("after ^C", text, r"\^C.*\$ $")

    def wait(self, timeout=PATIENCE):
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status)
            select.select([self.fd], [], [], 0.02)
            try:
                if select.select([self.fd], [], [], 0)[0]:
                    os.read(self.fd, 65536)
            except OSError:
                time.sleep(0.02)
        os.kill(self.pid, signal.SIGKILL)
        return "no end"


def bundle(name, args, terminal=True):
    directory = f"{WORK}/{name}"
    os.makedirs(directory)
    config = {
        "ociVersion": "1.0.2",
        "process": {"args": args, "cwd": "/", "terminal": terminal,
                    "env": ["PATH=/usr/bin:/bin", "PS1=$ ", "TERM=dumb", "HOME=/"]},
        "root": {"path": "/", "readonly": True},
        "mounts": [{"destination": "/proc", "type": "proc"}, {"destination": "/tmp", "type": "tmpfs"},
                   {"destination": "/dev/pts", "type": "devpts"}],
    }
    with open(directory + "/config.json", "w") as f:
        json.dump(config, f)
    return directory


def run9(*args, **kwargs):
    return subprocess.run([BIN, "--root", STATE, *args], timeout=2 * PATIENCE, capture_output=True, text=True, **kwargs)


def interactive(t):
    """An interactive bash, whichever way it was started."""
    t.until(r"\$ $")
    t.send("echo a$((1+1))b; tty\r")
    t.until(r"a2b\r\n/dev/(pts/\d+|console).*\$ $")
    t.send("stty size\r")
    t.until(r"24 80.*\$ $")
    t.resize(40, 100)
    t.ask_until("stty size; echo $LINES $COLUMNS", r"40 100\r\n40 100\r\n")
    t.send("trap 'echo winch' WINCH\r")
    t.until(r"\$ $")
    t.resize(24, 80)
    t.until(r"winch")
    t.send("\r")
    t.until(r"\$ $")
    t.send(f"trap - WINCH; {JOB}\r")
    t.until(r"\$ $")
    t.send("(job)\r")
    t.until("front=1")
    t.interrupt()
    t.send("echo status $?\r")
    t.until(r"status 130.*\$ $")
    t.send("(job)\r")
    t.until("front=1")
    t.send("\x1a")
    t.until(r"Stopped.*\$ $")
    t.send("jobs; bg; jobs\r")
    t.until(r"Stopped.*job \) &.*Running.*front=0")
    t.send("fg\r")
    t.until("front=1")
    t.interrupt()
    t.send("cat &\r")
    t.until(r"\[1\].*\$ ")
    t.ask_until("jobs", "Stopped.*cat")  # once it has read
    t.send("kill %1; wait; echo gone\r")
    t.until(r"\ngone\r.*\$ $")
    t.send("stty -echo; echo re''ady; read x; stty echo; echo got=$x\r")
    t.until("ready")
    t.send("secret\r")
    check("no echo", t.until(r"got=secret.*\$ $"), r"^(?!.*secret.*secret)")
    t.send("python3 -c 'import os; print(os.tcgetpgrp(0) == os.getpgrp(), os.ttyname(0))'\r")
    t.until(r"True /dev/pts/\d+.*\$ $")
    t.send("echo re''ady; cat\r")
    t.until("ready\r\n")
    t.send("line\r")
    t.until(r"line\r\nline\r\n")
    t.send("\x04")
    t.until(r"\$ $")
    t.send("exit 5\r")


def test_run():
    t = Terminal([BIN, "--root", STATE, "run", "-b", bundle("run", ["bash", "--norc", "-i"]), "t1"])
    interactive(t)
    check("status of run", str(t.wait()), "^5$")


def test_exec():
    sleeper = bundle("sleeper", ["sleep", "1000"], terminal=False)
    subprocess.run([BIN, "--root", STATE, "run", "-d", "-b", sleeper, "t2"], timeout=2 * PATIENCE, stdin=subprocess.DEVNULL,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    t = Terminal([BIN, "--root", STATE, "exec", "-t", "t2", "bash", "--norc", "-i"])
    interactive(t)
    check("status of exec", str(t.wait()), "^5$")
    run9("delete", "--force", "t2")


def test_do():
    t = Terminal([BIN, "--root", STATE, "do", "--", "bash", "--norc", "-i"])
    interactive(t)
    check("status of do", str(t.wait()), "^5$")


def receive_console(listener):
    connection, _ = listener.accept()
    fds = array.array("i")
    _, ancillary, _, _ = connection.recvmsg(4096, socket.CMSG_SPACE(16))
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
    return fds[0]


def test_console_socket():
    path = WORK + "/console.sock"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(4)
    directory = bundle("console", ["bash", "--norc", "-i"])
    result = run9("create", "-b", directory, "--console-socket", path, "--pid-file", WORK + "/pid", "t3",
                  stdin=subprocess.DEVNULL)
    check("create", str(result.returncode) + result.stderr, "^0")
    t = Terminal(master=receive_console(listener))
    t.resize(24, 80)
    run9("start", "t3")
    interactive(t)
    # Another one beside it, by exec --detach.
    end = time.monotonic() + PATIENCE
    while '"status":"stopped"' not in run9("state", "t3").stdout and time.monotonic() < end:
        time.sleep(0.02)
    check("state", run9("state", "t3").stdout, '"stopped"')
    run9("delete", "t3")


def shell(t):
    t.until(r"\$ $")
    return t


def test_do_in_a_shell():
    """`do` as a job of the host's shell."""
    t = shell(Terminal(["/bin/bash", "--norc", "-i"]))
    do = f"{BIN} --root {STATE} do --"
    t.send(f"{do} sh -c 'echo out; echo err >&2' 2>{WORK}/err; echo rc=$?\r")
    t.until(r"out\r\n.*rc=0.*\$ $")
    check("2>file", open(WORK + "/err").read(), "^err\n$")
    t.send(f"{do} sh -c 'test -t 0 && test -t 1 && echo both' | cat\r")
    t.until(r"\$ $")
    t.send(f"echo piped | {do} cat\r")
    t.until(r"\r\npiped\r.*\$ $")
    t.send(f"{do} sh -c 'echo re\"\"ady; exec sleep 100'\r")
    t.until("ready")
    t.send("\x03")
    t.until(r"\$ $")
    t.send("echo st=$?\r")
    t.until(r"st=130.*\$ $")
    # A background job that would change the terminal stops, as every job does.
    t.send(f"{do} bash --norc -i &\r")
    t.until(r"\[1\].*\$ ")
    t.ask_until("jobs", "Stopped")
    t.send("fg\r")
    t.until(r"do -- bash.*\$ ")
    t.send("echo in$((40+2))side\r")
    t.until(r"in42side.*\$ $")
    t.send("exit 3\r")
    t.until(r"exit.*\$ $")
    t.send("echo st=$?; stty -a | grep -o ' -*icanon'\r")
    t.until(r"st=3.* icanon.*\$ $")
    t.send("exit\r")
    t.wait()


def main():
    try:
        tests = [test_run, test_exec, test_do, test_console_socket, test_do_in_a_shell]
        for test in tests:
            if len(sys.argv) > 2 and sys.argv[2] not in test.__name__:
                continue
            before = failures
            try:
                test()
            except (subprocess.SubprocessError, OSError) as e:
                check(test.__name__, repr(e), "^$")
            print(f"{'ok  ' if failures == before else 'FAIL'} {test.__name__}", flush=True)
    finally:
        for name in ("t1", "t2", "t3"):
            run9("delete", "--force", name)
        shutil.rmtree(WORK, ignore_errors=True)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
