"""Where a program is measured: natively, in run9 on either platform, in Debian's runsc, and under runc."""
import json
import os
import shutil
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "tests/support"))
from sandbox import Host, read, wait_for  # noqa: E402

TIMEOUT = 120  # seconds, for one program
SLEEPER = "sleep"  # the argument that makes the bundle's program sleep


class Environment:
    """Natively: what the others are compared with."""
    name = "native"

    def command(self, place, argv):
        return list(argv)

    def run(self, place, argv):
        """(status, output, errors) of a program."""
        try:
            r = subprocess.run(self.command(place, argv), stdin=subprocess.DEVNULL, capture_output=True, text=True,
                               errors="replace", timeout=TIMEOUT)
        except subprocess.TimeoutExpired:
            return -1, "", f"took more than {TIMEOUT} s"
        return r.returncode, r.stdout, r.stderr


class Runtime(Environment):
    """An OCI runtime. `arguments` come before its subcommand."""

    def __init__(self, name, work, program, *arguments):
        self.name = name
        self.words = [program, "--root", os.path.join(work, name + ".state"), *arguments]
        self.bundle = os.path.join(work, name + ".bundle")
        self.count = 0
        os.makedirs(self.bundle)

    def run_words(self, config):
        with open(os.path.join(self.bundle, "config.json"), "w") as f:
            json.dump(config, f)
        self.count += 1
        self.container = f"bench-{os.getpid()}-{self.count}"
        return [*self.words, "run", "--bundle", self.bundle, self.container]

    def command(self, place, argv):
        if place == "do":
            return [*self.words, "do", *argv]
        return self.run_words(config_of("/", list(argv)))

    def start_time(self, root):
        """Nanoseconds from the start to the end of the program that does nothing."""
        words = self.run_words(config_of(root, ["/bin/true"]))
        start = time.monotonic_ns()
        subprocess.run(words, stdin=subprocess.DEVNULL, check=True, capture_output=True, timeout=TIMEOUT)
        return time.monotonic_ns() - start

    def idle_memory(self, root):
        """Proportional KiB of the runtime's processes, and of the guest's, while the guest sleeps."""
        with subprocess.Popen(self.run_words(config_of(root, ["/bin/true", SLEEPER])), stdin=subprocess.DEVNULL,
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as command:
            wait_for(lambda: len(Host.descendants(command.pid)) > 1, "a container that runs")
            time.sleep(1)  # to be idle
            family = Host.descendants(command.pid)
            own = [pid for pid in family if self.is_own(pid)]
            result = pss(own), pss(set(family) - set(own))
            subprocess.run([*self.words, "kill", self.container, "KILL"], capture_output=True, timeout=TIMEOUT)
        return result

    def is_own(self, pid):
        """Whether it is the kernel or the file server, rather than what stands for a guest process."""
        return "stub" not in Host.status(pid).get("Name", "")


class Runsc(Runtime):
    def is_own(self, pid):
        return any(word in Host.command(pid) for word in ("runsc-gofer", "runsc-sandbox"))


def pss(pids):
    lines = [line for pid in pids for line in read(f"/proc/{pid}/smaps_rollup").splitlines() if line.startswith("Pss:")]
    return sum(int(line.split()[1]) for line in lines)


def config_of(root, argv):
    own = [{"destination": "/proc", "type": "proc", "source": "proc"},
           {"destination": "/dev", "type": "tmpfs", "source": "tmpfs"},
           {"destination": "/dev/shm", "type": "tmpfs", "source": "shm"},
           {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"}]
    return {
        "ociVersion": "1.0.2",
        "process": {"args": argv, "env": ["PATH=/usr/bin:/bin:/usr/sbin:/sbin"], "cwd": "/", "user": {"uid": 0, "gid": 0}},
        "root": {"path": root, "readonly": False},
        "mounts": own,
        "linux": {"namespaces": [{"type": t} for t in ("pid", "ipc", "uts", "mount", "network")]},
    }


def small_root(work):
    """A root file system with one static program, which does nothing, or sleeps."""
    root = os.path.join(work, "rootfs")
    for d in ("bin", "proc", "dev", "sys", "tmp", "etc"):
        os.makedirs(os.path.join(root, d))
    source = "#include <unistd.h>\nint main(int c, char** v) { (void)v; return c > 1 ? sleep(60) : 0; }\n"
    subprocess.run(["gcc", "-O2", "-static", "-o", os.path.join(root, "bin/true"), "-xc", "-"], input=source, text=True,
                   check=True)
    return root


def environments(work, bin_dir, platforms, peers):
    """The native one, and those that were asked for and are there."""
    run9 = os.path.join(bin_dir, "run9")
    found = [Environment()] + [Runtime(p, work, run9, "--platform", p) for p in platforms]
    for peer in peers:
        if not shutil.which(peer):
            print(f"bench: no {peer}: apt-get install {peer}", file=sys.stderr)
        elif peer == "runsc":
            # The one platform of Debian's version that needs no KVM.
            found.append(Runsc(peer, work, peer, "--platform=ptrace", "--network=none", "--ignore-cgroups"))
        else:
            found.append(Runtime(peer, work, peer))
    return found
