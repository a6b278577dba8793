"""Containers for tests that look at Run9 from outside: bundles, processes, and what is left of them.

Nothing here waits for a fixed time to make something true: wait_for() polls for the event itself, with a
deadline that is far away, since the machine may be busy.
"""
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from patience import patience

SKIPPED = 77  # ctest: SKIP_RETURN_CODE


def skip(why):
    print("skipped: " + why)
    sys.exit(SKIPPED)


def wait_for(condition, what, seconds=20):
    end = time.monotonic() + patience(seconds)
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"never: {what}")
        time.sleep(0.01)


def read(path):
    with open(path, errors="replace") as f:
        return f.read()


class Host:
    """What /proc says of a process of the host."""

    @staticmethod
    def status(pid):
        try:
            lines = read(f"/proc/{pid}/status").splitlines()
        except OSError:
            return {}
        return {k: v.strip() for k, _, v in (line.partition(":") for line in lines)}

    @staticmethod
    def alive(pid):
        return Host.status(pid).get("State", "Z")[0] not in "ZX"

    @staticmethod
    def processes():
        return [int(name) for name in os.listdir("/proc") if name.isdigit()]

    @staticmethod
    def children(pid):
        return sorted(p for p in Host.processes() if Host.status(p).get("PPid") == str(pid) and Host.alive(p))

    @staticmethod
    def descendants(pid):
        children = Host.children(pid)
        return children + [p for child in children for p in Host.descendants(child)]

    @staticmethod
    def threads(pid):
        try:
            return sorted(int(t) for t in os.listdir(f"/proc/{pid}/task"))
        except OSError:
            return []

    @staticmethod
    def namespace(pid, kind):
        try:
            return os.readlink(f"/proc/{pid}/ns/{kind}")
        except OSError:
            return None

    @staticmethod
    def command(pid):
        try:
            return read(f"/proc/{pid}/cmdline").replace("\0", " ").strip()
        except OSError:
            return ""


class Run9:
    """The programs of one build, with a state directory and a work directory of their own.

    Use it in a `with`: at its end every container is deleted by force, and the directory goes.
    """

    def __init__(self, bin_dir, name):
        self.bin = os.path.abspath(bin_dir)
        self.work = tempfile.mkdtemp(prefix=f"run9-{name}-", dir="/tmp")
        os.chmod(self.work, 0o755)
        self.root = os.path.join(self.work, "state")
        self.log = os.path.join(self.work, "log")
        self.started = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for child in self.started:
            if child.poll() is None:
                child.kill()
            child.wait()
        for container in self.containers():
            self.command("delete", "--force", container)
        shutil.rmtree(self.work, ignore_errors=True)

    def containers(self):
        return sorted(os.listdir(self.root)) if os.path.isdir(self.root) else []

    def arguments(self, *args, flags=()):
        return [os.path.join(self.bin, "run9"), "--root", self.root, "--log", self.log, *flags, *args]

    def command(self, *args, flags=(), timeout=40, **kw):
        """Runs `run9 ARGS` to its end."""
        kw.setdefault("stdin", subprocess.DEVNULL)
        return subprocess.run(self.arguments(*args, flags=flags), capture_output=True, text=True, errors="replace",
                              timeout=patience(timeout), **kw)

    def start(self, *args, flags=(), **kw):
        """Runs `run9 ARGS` beside the test, which ends it."""
        kw.setdefault("stdin", subprocess.DEVNULL)
        child = subprocess.Popen(self.arguments(*args, flags=flags), text=True, **kw)
        self.started.append(child)
        return child

    def detached(self, container, bundle, flags=()):
        """`run9 run -d`: its output has nobody to read it, so that no descendant holds a pipe of ours."""
        r = subprocess.run(self.arguments("run", "-d", "-b", bundle, container, flags=flags), timeout=patience(40),
                           stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        assert r.returncode == 0, f"run9 run -d: status {r.returncode}\n{self.log_text()}"

    def state(self, container):
        """state.json as the runtime keeps it, or None."""
        try:
            return json.loads(read(os.path.join(self.root, container, "state.json")))
        except (OSError, ValueError):
            return None

    def log_text(self):
        try:
            return read(self.log)
        except OSError:
            return ""

    def bundle(self, name, args, root="/", readonly=True, mounts=(), **process):
        """A bundle whose root is the machine's own, with a tmpfs at /tmp, unless told otherwise."""
        directory = os.path.join(self.work, name)
        os.makedirs(directory, exist_ok=True)
        spec = {
            "ociVersion": "1.0.2",
            "process": {"args": args, "env": ["PATH=/usr/bin:/bin:/usr/sbin:/sbin"], "cwd": "/",
                        "user": {"uid": 0, "gid": 0}, **process},
            "root": {"path": root, "readonly": readonly},
            "mounts": [{"destination": "/proc", "type": "proc"}, {"destination": "/tmp", "type": "tmpfs"}, *mounts],
        }
        with open(os.path.join(directory, "config.json"), "w") as f:
            json.dump(spec, f)
        return directory


def machine_python():
    """The machine's own python3, which a guest finds below /usr as well."""
    for path in ("/usr/bin/python3", "/usr/local/bin/python3"):
        if os.access(path, os.X_OK):
            return path
    return skip("no python3 below /usr for the guest")


def fail_if(problems):
    for p in problems:
        print("FAILED: " + p)
    sys.exit(1 if problems else 0)


def sleep_forever():
    return ["sleep", "1000"]


def kill(pid, signo=signal.SIGKILL):
    try:
        os.kill(pid, signo)
        return True
    except ProcessLookupError:
        return False
