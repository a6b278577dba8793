#!/usr/bin/env python3
"""What config.json and runc's commands promise, field by field, on bundles whose root is the machine's own.
Some of it needs root, and is left out without.   usage: oci_test.py DIRECTORY-OF-PROGRAMS [NAME]"""
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../tests/support"))
from patience import patience

BIN = os.path.join(sys.argv[1], "run9")
WORK = tempfile.mkdtemp(prefix="run9-oci-")
os.chmod(WORK, 0o755)
STATE = WORK + "/state"
ROOT = os.geteuid() == 0
CAPS = ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_SETUID", "CAP_SETGID", "CAP_KILL", "CAP_SYS_ADMIN"]
failures = 0


def check(what, got, wanted):
    global failures
    if (wanted not in got) if isinstance(wanted, str) else got != wanted:
        failures += 1
        print(f"FAIL {what}: wanted {wanted!r}, got {got!r}", flush=True)


def bundle(name, args, edit=None, root="/"):
    directory = f"{WORK}/{name}"
    os.makedirs(directory, exist_ok=True)
    if isinstance(args, str):
        args = ["sh", "-c", args]
    config = {
        "ociVersion": "1.0.2",
        "process": {"args": args, "cwd": "/", "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"],
                    "user": {"uid": 0, "gid": 0},
                    "capabilities": {k: CAPS for k in ("bounding", "effective", "permitted")}},
        "root": {"path": root, "readonly": False},
        "mounts": [{"destination": "/proc", "type": "proc"},
                   {"destination": "/dev", "type": "tmpfs", "options": ["nosuid", "mode=755"]},
                   {"destination": "/tmp", "type": "tmpfs", "options": ["mode=1777"]}],
        "hooks": {}, "linux": {"namespaces": [{"type": t} for t in ("pid", "network", "ipc", "uts", "mount")]},
    }
    if edit:
        edit(config)
    with open(directory + "/config.json", "w") as f:
        json.dump(config, f)
    return directory


def run9(*args, state=STATE, overlay="tmpfs", **kwargs):
    kwargs.setdefault("stdin", subprocess.DEVNULL)
    return subprocess.run([BIN, "--root", state, "--overlay", overlay, *args], timeout=patience(30), text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **kwargs)


def detached(*args, state=STATE):
    """Started programs keep the streams open, so nobody may wait for their end."""
    return subprocess.run([BIN, "--root", state, "--overlay", "tmpfs", *args], timeout=patience(30), stdin=subprocess.DEVNULL,
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode


def output(args, edit=None, flags=(), root="/", **kwargs):
    result = run9("run", "-b", bundle("b", args, edit, root), *flags, "c", **kwargs)
    return result.stdout + (f"[{result.returncode}]" if result.returncode else "")


def test_ids_and_limits():
    def edit(c):
        c["process"]["user"] = {"uid": 12, "gid": 34, "additionalGids": [56, 78], "umask": 0o27}
        c["process"]["oomScoreAdj"] = 150
        c["process"]["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}]
        c["process"]["noNewPrivileges"] = True
        c["hostname"] = "box"
    check("ids", output("id -u; id -g; id -G; umask; cat /proc/self/oom_score_adj; ulimit -n; ulimit -Hn; "
                        "grep NoNewPrivs /proc/self/status; hostname", edit),
          "12\n34\n34 56 78\n0027\n150\n100\n200\nNoNewPrivs:\t1\nbox\n")


def test_home():
    check("HOME of root", output("echo $HOME"), "/root\n")
    check("HOME of nobody at all", output("echo $HOME", lambda c: c["process"]["user"].update(uid=54321)), "/\n")
    check("HOME that is given", output("echo $HOME", lambda c: c["process"]["env"].append("HOME=/x")), "/x\n")


def test_sysctl_and_devices():
    def edit(c):
        c["linux"]["sysctl"] = {"kernel.msgmax": "65536", "net.core.somaxconn": "99", "net.none.such": "1"}
        c["linux"]["devices"] = [{"path": "/dev/mine/null", "type": "c", "major": 1, "minor": 3, "fileMode": 0o20640,
                                  "uid": 5, "gid": 6},
                                 {"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229}]
    check("sysctl", output("cat /proc/sys/kernel/msgmax /proc/sys/net/core/somaxconn", edit), "65536\n99\n")
    check("devices", output("stat -c '%a %u %g %t:%T' /dev/mine/null; echo x >/dev/mine/null && echo ok; "
                            "cat /dev/fuse", edit), "640 5 6 1:3\nok\ncat: /dev/fuse: No such device")
    check("unknown sysctl", output("true", lambda c: c["linux"].update(sysctl={"kernel.nope": "1"})),
          'linux.sysctl: "kernel.nope" = "1": ENOENT')


def test_mounts():
    data = WORK + "/data"
    os.makedirs(data + "/sub", exist_ok=True)
    with open(data + "/file", "w") as f:
        f.write("content\n")
    shutil.copy("/bin/true", data + "/true")

    def edit(c):
        c["mounts"] += [
            {"destination": "/etc", "type": "tmpfs", "options": ["tmpcopyup", "size=8m"]},
            {"destination": "/mnt/t", "type": "tmpfs", "options": ["nosuid", "nodev", "noexec", "size=1m", "mode=750"]},
            {"destination": "/mnt/ro", "type": "bind", "source": data, "options": ["rbind", "ro", "rprivate"]},
            {"destination": "/mnt/noexec", "type": "bind", "source": data, "options": ["bind", "noexec", "nodev"]},
            {"destination": "/mnt/file", "type": "bind", "source": data + "/file", "options": ["bind", "ro"]}]
        c["linux"]["maskedPaths"] = ["/proc/version", "/usr/share"]
        c["linux"]["readonlyPaths"] = ["/proc/sys", "/usr/lib"]
    check("copy up", output("cmp /etc/passwd /mnt/passwd; stat -c %a /etc; echo new >/etc/passwd; wc -l </etc/passwd",
                            lambda c: (edit(c), c["mounts"].append({"destination": "/mnt/passwd", "type": "bind",
                                                                    "source": "/etc/passwd", "options": ["bind"]}))),
          "755\n1\n")
    check("tmpfs", output("stat -c %a /mnt/t; head -c 2m /dev/zero >/mnt/t/big; stat -c %s /mnt/t/big; "
                          "cp /bin/true /mnt/t; /mnt/t/true; rm /mnt/t/big; cp /bin/true /mnt/t; /mnt/t/true", edit),
          "Permission denied")
    check("binds", output("touch /mnt/ro/x; cat /mnt/ro/file; /mnt/noexec/true; cat /mnt/file; touch /mnt/file", edit),
          "touch: cannot touch '/mnt/ro/x': Read-only file system\ncontent\n")
    check("noexec", output("/mnt/noexec/true", edit), "Permission denied\n[126]")
    check("file", output("cat /mnt/file; echo x >/mnt/file", edit), "content\nsh: 1: cannot create /mnt/file: Read-only")
    check("masked", output("cat /proc/version; ls /usr/share; echo end", edit), "end\n")
    check("masked", output("wc -c </proc/version; ls /usr/share | wc -l", edit), "0\n0\n")
    check("read-only", output("echo 1 >/proc/sys/kernel/msgmax; touch /usr/lib/x", edit), "Read-only file system\n[1]")
    check("bad option", output("true", lambda c: c["mounts"].append(
        {"destination": "/x", "type": "tmpfs", "options": ["sizzle=1"]})), "/mounts/3/options/0: \"sizzle=1\" is not")


def test_root_readonly():
    out = output("touch /x; touch /tmp/x && echo tmp", lambda c: c["root"].update(readonly=True))
    check("root.readonly", out, "touch: cannot touch '/x': Read-only file system\ntmp\n")
    root = WORK + "/bare"
    os.makedirs(root)
    shutil.copy(os.path.join(sys.argv[1], "canary"), root)  # a static program
    check("mount points that are missing", output(["/canary"], lambda c: c["root"].update(readonly=True), root=root, overlay="none"), "CANARY-")
    check("nothing is left of them", os.listdir(root), ["canary"])


def test_hooks():
    log = WORK + "/hooks"

    def edit(c):
        for kind in ("prestart", "createRuntime", "createContainer", "poststart", "poststop"):
            c["hooks"][kind] = [{"path": "/bin/sh", "args": ["sh", "-c", f"echo {kind} >>{log}; cat >{log}.json"]}]
        c["hooks"]["startContainer"] = [
            {"path": "/bin/sh", "args": ["sh", "-c", "cat >/tmp/state; uname -r >/tmp/where; echo $A >>/tmp/where"],
             "env": ["A=b", "PATH=/bin"]}]
    check("startContainer", output("cat /tmp/where; grep -o '\"status\":\"[a-z]*\"' /tmp/state", edit),
          '6.12.0-run9\nb\n"status":"creat')
    with open(log) as f:
        check("hooks", f.read().split(), ["prestart", "createRuntime", "createContainer", "poststart", "poststop"])
    check("a hook that fails", output("echo never", lambda c: c["hooks"].update(
        startContainer=[{"path": "/bin/sh", "args": ["sh", "-c", "exit 3"]}])),
        'hooks.startContainer[0] "sh": exit status 3\n[1]')
    check("a hook that hangs", output("echo never", lambda c: c["hooks"].update(
        startContainer=[{"path": "/bin/sleep", "args": ["sleep", "9"], "timeout": 1}])), "not done after 1 s")
    check("nothing is left", os.listdir(STATE), [])


def test_preserved_descriptors():
    with open(WORK + "/passed", "w+") as f:
        f.write("from outside\n")
        f.flush()
        r, w = os.pipe()
        os.dup2(f.fileno(), 200)
        os.dup2(w, 201)

        def place():
            os.dup2(200, 3)
            os.dup2(201, 4)
            os.lseek(3, 0, os.SEEK_SET)
        result = subprocess.run([BIN, "--root", STATE, "run", "--preserve-fds", "2", "-b",
                                 bundle("p", "cat <&3; echo to a pipe >&4; ls /proc/self/fd | wc -l"), "c"], text=True,
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=patience(20),
                                preexec_fn=place, close_fds=False)
        check("descriptor 3", result.stdout, "from outside\n6\n")
        check("descriptor 4", os.read(r, 100).decode(), "to a pipe\n")
        for fd in (200, 201, r, w):
            os.close(fd)


def test_exec():
    check("run -d", detached("run", "-d", "-b", bundle("s", ["sleep", "1000"]), "s"), 0)
    check("user by name", run9("exec", "--user", "daemon", "s", "sh", "-c", "id -u; id -gn; echo $HOME").stdout,
          "1\ndaemon\n/usr/sbin\n")
    check("user and group", run9("exec", "-u", "daemon:mail", "s", "id").stdout, "uid=1(daemon) gid=8(mail)")
    check("nobody of that name", run9("exec", "-u", "nosuch", "s", "id").stdout,
          "user \"nosuch\": not in the container's /etc/passwd")
    check("environment", run9("exec", "-e", "A=1", "--env", "B=2 3", "-c", "CAP_NET_ADMIN", "s", "sh", "-c", "echo $A $B").stdout, "1 2 3\n")
    check("groups", run9("exec", "-u", "7:8", "-g", "56", "--additional-gids", "78", "s", "id").stdout, "groups=8(mail),56,78")
    check("no new privileges", run9("exec", "--no-new-privs", "s", "grep", "NoNewPrivs", "/proc/self/status").stdout, "NoNewPrivs:\t1\n")
    process = WORK + "/process.json"
    with open(process, "w") as f:
        json.dump({"args": ["sh", "-c", "id -u; pwd; exit 4"], "cwd": "/tmp", "env": ["PATH=/bin:/usr/bin"],
                   "user": {"uid": 7, "gid": 8}}, f)
    result = run9("exec", "--process", process, "s")
    check("exec --process", f"{result.stdout}{result.returncode}", "7\n/tmp\n4")
    check("kill --all", run9("kill", "--all", "s", "KILL").returncode, 0)
    run9("delete", "--force", "s")
    check("run --keep", run9("run", "--keep", "-b", bundle("k", "exit 3"), "k").returncode, 3)
    check("kept", json.loads(run9("state", "k").stdout)["status"], "stopped")
    check("delete", run9("delete", "k").returncode, 0)


def test_pause_update_events():
    if not ROOT or not os.path.isdir("/sys/fs/cgroup"):
        return
    limits = {"memory": {"limit": 300 << 20}, "pids": {"limit": 50}, "cpu": {"quota": 50000, "period": 100000, "shares": 512}}
    check("run", detached("run", "-d", "-b", bundle("u", "while :; do date +%N >/tmp/t; sleep 0.01; done",
                                                  lambda c: c["linux"].update(resources=limits)), "u"), 0)
    first = json.loads(run9("events", "--stats", "u").stdout)
    check("events", first["type"] + first["id"], "statsu")
    check("pids", first["data"]["pids"]["limit"], 50)
    check("memory", first["data"]["memory"]["usage"]["limit"], 300 << 20)
    check("CPUs", first["data"]["run9"]["cpuBound"], 0.5)
    check("pause", run9("pause", "u").stdout, "")
    check("paused", json.loads(run9("state", "u").stdout)["status"], "paused")
    check("exec", run9("exec", "u", "true").stdout, "is paused")
    check("kill", run9("kill", "u", "TERM").stdout, "is paused")
    used = json.loads(run9("events", "--stats", "u").stdout)["data"]["cpu"]["usage"]["total"]
    time.sleep(0.2)
    check("frozen", json.loads(run9("events", "--stats", "u").stdout)["data"]["cpu"]["usage"]["total"] - used, 0)
    check("resume", run9("resume", "u").stdout, "")
    check("resume again", run9("resume", "u").stdout, "is running, not paused")
    check("update", run9("update", "--memory", "200m", "--pids-limit", "40", "--cpu-quota", "80000", "u").stdout, "")
    second = json.loads(run9("events", "--stats", "u").stdout)["data"]
    check("updated", (second["pids"]["limit"], second["memory"]["usage"]["limit"], second["run9"]["cpuBound"]), (40, 200 << 20, 0.8))
    check("guest memory", run9("exec", "u", "awk", "/MemTotal/ {print $2}", "/proc/meminfo").stdout, f"{200 << 10}\n")
    check("update of a file", run9("update", "-r", "-", "u", stdin=subprocess.PIPE).returncode in (0, 1), True)
    run9("pause", "u")
    check("delete of a paused one", run9("delete", "--force", "u").stdout, "")
    groups = [d for d, _, _ in os.walk("/sys/fs/cgroup") if d.endswith("/run9/u")]
    check("cgroups are gone", groups, [])


def test_network_namespace():
    if not ROOT or shutil.which("unshare") is None:
        return
    holder = subprocess.Popen(["unshare", "--net", "sleep", "60"])
    time.sleep(0.3)
    path = f"/proc/{holder.pid}/ns/net"
    detached("run", "-d", "-b", bundle("n", ["sleep", "60"], lambda c: c["linux"].update(
        namespaces=[{"type": "network", "path": path}])), "n")
    pid = json.loads(run9("state", "n").stdout)["pid"]
    check("network namespace", os.readlink(f"/proc/{pid}/ns/net"), os.readlink(path))
    run9("delete", "--force", "n")
    holder.kill()
    holder.wait()
    check("pid namespace", output("true", lambda c: c["linux"].update(
        namespaces=[{"type": "pid", "path": "/proc/1/ns/pid"}])), "cannot join another's pid namespace")


def test_id_mappings():
    if not ROOT:
        return
    data = WORK + "/mapped"
    os.makedirs(data, exist_ok=True)
    os.chown(data, 100000, 100000)
    private = WORK + "/private"  # the mapped ids cannot reach what is in there
    os.makedirs(private + "/volume")
    os.chmod(private, 0o700)
    with open(private + "/volume/f", "w") as f:
        f.write("private\n")

    def edit(c):
        c["linux"]["uidMappings"] = [{"containerID": 0, "hostID": 100000, "size": 1000}]
        c["linux"]["gidMappings"] = [{"containerID": 0, "hostID": 100000, "size": 1000}]
        c["mounts"].append({"destination": "/mnt", "type": "bind", "source": data, "options": ["bind"]})
        c["mounts"].append({"destination": "/srv", "type": "bind", "source": private + "/volume", "options": ["bind"]})
    check("behind a private directory", output("cat /srv/f", edit), "private\n")
    check("as the container sees it", output("touch /mnt/f; chown 5:6 /mnt/f; stat -c '%u %g' /mnt /mnt/f", edit),
          "0 0\n5 6\n")
    st = os.stat(data + "/f")
    check("as the host does", (st.st_uid, st.st_gid), (100005, 100006))


def test_other_roots_are_left_alone():
    other = WORK + "/other"
    check("one", detached("run", "-d", "-b", bundle("same", ["sleep", "60"]), "same"), 0)
    check("its namesake", detached("run", "-d", "-b", bundle("same", ["sleep", "60"]), "same", state=other), 0)
    with open(STATE + "/same/state.json", "w") as f:
        f.write("{")
    pid = int(open(STATE + "/same/processes").read().split()[0])
    check("delete", run9("delete", "--force", "same").stdout, "")
    check("the one is gone", os.path.exists(f"/proc/{pid}/exe") and open(f"/proc/{pid}/stat").read().split()[2] != "Z",
          False)
    check("the other runs", json.loads(run9("state", "same", state=other).stdout)["status"], "running")
    run9("delete", "--force", "same", state=other)


def test_messages():
    check("unknown command", run9("checkpoint", "x").stdout, "checkpoint: no such command")
    check("features", json.loads(run9("features").stdout)["linux"]["cgroup"]["v2"], True)
    check("a container that is not there", run9("pause", "x").stdout, "does not exist")


def main():
    try:
        for name, test in list(globals().items()):
            if not name.startswith("test_") or (len(sys.argv) > 2 and sys.argv[2] not in name):
                continue
            before = failures
            try:
                test()
            except (subprocess.SubprocessError, OSError, ValueError, KeyError) as e:
                check(name, repr(e), "no exception")
            print(f"{'ok  ' if failures == before else 'FAIL'} {name}", flush=True)
    finally:
        for name in ("c", "s", "u", "n", "same"):
            run9("delete", "--force", name)
            run9("delete", "--force", name, state=WORK + "/other")
        shutil.rmtree(WORK, ignore_errors=True)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
