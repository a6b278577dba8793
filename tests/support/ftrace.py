"""System calls that really begin on the host, seen by the kernel's own tracer.

The raw_syscalls tracepoint lies behind seccomp in the host kernel: a call that a filter turned into SIGSYS is
not seen. Nothing is stopped or slowed down, as by a ptrace tracer.
"""
import os
import re
import subprocess
import threading

_LINE = re.compile(r"^\s*(?P<comm>.{1,16})-(?P<tid>\d+)\s+(?:\(\s*(?P<tgid>[\d-]+)\)\s+)?\[\d+\].*"
                   r"sys_enter: NR (?P<nr>-?\d+) \((?P<args>[^)]*)\)")


class Call:
    __slots__ = ("comm", "tid", "tgid", "nr", "args")

    def __init__(self, match):
        self.comm = match["comm"].strip()
        self.tid = int(match["tid"])
        self.tgid = int(match["tgid"]) if (match["tgid"] or "-").isdigit() else None
        self.nr = int(match["nr"])
        self.args = [int(a, 16) for a in match["args"].split(", ")]

    def __repr__(self):
        return f"{self.comm}-{self.tid}: {self.nr}({', '.join(map(hex, self.args))})"


class Unavailable(Exception):
    pass


class CallTracer:
    """with CallTracer(directory) as t: t.run(command) -> (output, [Call], how many were lost)."""

    def __init__(self, directory):
        self._mount = None
        base = "/sys/kernel/tracing"
        if not os.path.isdir(base + "/instances"):
            base = os.path.join(directory, "tracing")
            os.makedirs(base, exist_ok=True)
            if subprocess.run(["mount", "-t", "tracefs", "tracefs", base], capture_output=True).returncode != 0:
                raise Unavailable("tracefs cannot be mounted (root, and a kernel with CONFIG_FTRACE_SYSCALLS)")
            self._mount = base
        self._base = os.path.join(base, "instances", f"run9-test-{os.getpid()}")

    def __enter__(self):
        try:
            self._remove_old()
            os.mkdir(self._base)
            self._write("buffer_size_kb", "65536")
            for option in ("event-fork", "record-tgid"):
                self._write("options/" + option, "1")
        except OSError as e:
            self.__exit__()
            raise Unavailable(f"tracing: {e}") from e
        return self

    def __exit__(self, *_):
        if os.path.isdir(self._base):
            self._write("events/raw_syscalls/sys_enter/enable", "0")
            os.rmdir(self._base)
        if self._mount:
            subprocess.run(["umount", self._mount], check=False)

    def _remove_old(self):
        """What a test left that was killed."""
        directory = os.path.dirname(self._base)
        for name in os.listdir(directory):
            pid = name.removeprefix("run9-test-")
            if pid != name and not os.path.exists(f"/proc/{pid}"):
                os.rmdir(os.path.join(directory, name))

    def _write(self, name, text):
        with open(os.path.join(self._base, name), "w") as f:
            f.write(text)

    def run(self, command, timeout):
        calls, stop = [], threading.Event()
        reader = threading.Thread(target=self._read, args=(calls, stop))
        go_read, go_write = os.pipe()

        def await_tracer():
            os.read(go_read, 1)

        # Popen waits for the exec, which waits for us: the child is made by hand.
        out_read, out_write = os.pipe()
        child = os.fork()
        if child == 0:
            null = os.open("/dev/null", os.O_RDWR)
            os.dup2(null, 0)
            os.dup2(out_write, 1)
            os.dup2(out_write, 2)
            await_tracer()
            os.execv(command[0], command)
        os.close(out_write)
        self._write("set_event_pid", str(child))
        self._write("events/raw_syscalls/sys_enter/enable", "1")
        reader.start()
        os.write(go_write, b"x")
        killer = threading.Timer(timeout, os.kill, (child, 9))
        killer.start()
        with os.fdopen(out_read, errors="replace") as f:
            output = f.read()
        os.waitpid(child, 0)
        killer.cancel()
        os.close(go_read)
        os.close(go_write)
        self._write("events/raw_syscalls/sys_enter/enable", "0")
        stop.set()
        reader.join()
        return output, calls, self._lost()

    def _read(self, calls, stop):
        pipe = os.open(os.path.join(self._base, "trace_pipe"), os.O_RDONLY | os.O_NONBLOCK)
        rest = b""
        while True:
            last = stop.is_set()
            try:
                data = os.read(pipe, 1 << 20)
            except BlockingIOError:
                if last:
                    break
                stop.wait(0.02)
                continue
            lines = (rest + data).split(b"\n")
            rest = lines.pop()
            for line in lines:
                match = _LINE.match(line.decode(errors="replace"))
                if match:
                    calls.append(Call(match))
        os.close(pipe)

    def _lost(self):
        lost = 0
        for cpu in os.listdir(os.path.join(self._base, "per_cpu")):
            with open(os.path.join(self._base, "per_cpu", cpu, "stats")) as f:
                lost += int(re.search(r"overrun: (\d+)", f.read()).group(1))
        return lost
