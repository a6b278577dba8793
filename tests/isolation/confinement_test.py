#!/usr/bin/env python3
"""What a running sandbox's processes are on the host equals the tables of docs/SECURITY.md.

usage: confinement_test.py BIN_DIR (as root: the filters are read back by ptrace)
"""
import os
import re
import signal
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
import bpf
import ptrace
import security_tables
from sandbox import Host, Run9, fail_if, read, skip, sleep_forever, wait_for

NR = security_tables.numbers_of_calls()
LAST_NUMBER = 480
problems = []


def expect(wanted, got, what):
    if wanted != got:
        problems.append(f"{what}: docs/SECURITY.md says {wanted}, the host says {got}")


def names(numbers):
    known = {n: name for name, n in NR.items()}
    return sorted(known.get(n, str(n)) for n in numbers)


# --- processes


def own_namespaces(task):
    out = []
    for kind in ("user", "pid", "mnt", "net", "ipc", "uts", "cgroup", "time"):
        if os.readlink(f"{task}/ns/{kind}") != os.readlink(f"/proc/self/ns/{kind}"):
            out.append(kind)
    return " ".join(out)


def mounts(task):
    """In words: what is at the root, and whether anything but exports lies in it."""
    rows = [line.split() for line in read(f"{task}/mountinfo").splitlines()]
    words = []
    for row in sorted(rows, key=lambda r: r[4]):
        point, options, kind = row[4], row[5].split(","), row[row.index("-") + 1]
        if point == "/":
            words.append(f"one {'read-only' if 'ro' in options else 'writable'} {kind}")
            if os.listdir(f"{task}/root") and kind == "tmpfs" and len(rows) == 1:
                words.append("files")
        elif re.fullmatch(r"/export\d+(/.*)?", point):
            if not {"nosuid", "nodev"} <= set(options):
                words.append(f"{point} with {options}")
            elif "exports" not in words:
                words.append("exports")
        else:
            words.append(point)
    return ", ".join(words)


def descriptor_kind(task, fd, log):
    target = os.readlink(f"{task}/fd/{fd}")
    flags = int(re.search(r"flags:\s*(\d+)", read(f"{task}/fdinfo/{fd}")).group(1), 8)
    if target in ("/dev/null", "/null"):
        return "null"
    if target == log:
        return "log"
    if flags & os.O_PATH:
        return "path" if target.startswith("/export") else target
    if target.startswith("socket:"):
        return "socket"
    if target.startswith("anon_inode:"):
        return target.removeprefix("anon_inode:").strip("[]")
    if target.startswith("/memfd:"):
        return "memfd"
    if target.startswith("/export"):
        return "file"
    return target


def check_process(role, task, row, own_id, log, stdio):
    status = Host.status(task.removeprefix("/proc/"))
    ids = {"own": [str(own_id)] * 4, "caller": [str(os.getuid())] * 4}
    expect(ids[row("Uid")], status["Uid"].split(), f"{role}: Uid")
    wanted_groups = [] if row("Groups") == "none" else [str(g) for g in sorted(os.getgroups())]
    expect(wanted_groups, sorted(status["Groups"].split()), f"{role}: Groups")
    for cap in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        expect(int(row(cap), 16), int(status[cap], 16), f"{role}: {cap}")
    for key in ("NoNewPrivs", "Seccomp"):
        expect(row(key), status[key], f"{role}: {key}")
    expect(row("namespaces"), own_namespaces(task), f"{role}: namespaces")
    expect(row("mounts"), mounts(task), f"{role}: mounts")
    core = re.search(r"^Max core file size\s+(\S+)\s+(\S+)", read(f"{task}/limits"), re.M)
    expect((row("core limit"),) * 2, core.groups(), f"{role}: core limit")
    expect(row("environment"), "set" if read(f"{task}/environ").strip("\0") else "empty", f"{role}: environment")
    allowed = set(row("descriptors").split())
    for fd in os.listdir(f"{task}/fd"):
        kind = descriptor_kind(task, fd, log)
        if kind in allowed or (kind in stdio and "stdio" in allowed):
            continue
        if kind == "file" and "donated" in allowed:
            continue
        problems.append(f"{role}: descriptor {fd} is {kind}, which is not in the table")


# --- filters


def allowed(program, vectors=([0] * 6,), ip=0, arch=bpf.X86_64, x32=0):
    """Numbers that the program allows with at least one of the argument vectors."""
    return {nr for nr in range(LAST_NUMBER)
            if any(bpf.run(program, nr | x32, v, ip, arch) == bpf.ALLOW for v in vectors)}


def answers(program, **kw):
    return {bpf.run(program, nr, **kw) for nr in range(LAST_NUMBER)}


def check_list(role, program, heading, vectors, refused, more=frozenset()):
    wanted = security_tables.listed_calls(heading) | more
    expect(sorted(wanted), names(allowed(program, vectors)), f"{role}: calls")
    for call, args in refused:
        if bpf.run(program, NR[call], args) == bpf.ALLOW:
            problems.append(f"{role}: {call}{args} is allowed")
    expect({bpf.KILL_PROCESS}, answers(program, arch=bpf.I386), f"{role}: 32-bit calls")
    expect([], names(allowed(program, vectors, x32=0x40000000)), f"{role}: x32 calls")
    return wanted


EXEC, AT_FDCWD = 4, 0xFFFFFF9C
THREAD = 0x3D0F00  # CLONE_VM, FS, FILES, SIGHAND, THREAD, SYSVSEM, SETTLS, PARENT_SETTID, CHILD_CLEARTID


def check_sentry_filter(program):
    unix = [1, 0, 0, 0, 0, 0]
    calls = check_list("sentry", program, "The Sentry's seccomp list", ([0] * 6, unix, [THREAD, 0, 0, 0, 0, 0]),
                       [("mmap", (0, 4096, EXEC)), ("mprotect", (0, 4096, EXEC)), ("socketpair", (2, 1, 0)), ("clone", (17,)),
                        ("clone", (THREAD | 0x10000000,)), ("clone", (THREAD & ~0x10000,))])
    if len(calls) > 50:
        problems.append(f"sentry: {len(calls)} calls are listed, more than 50")
    for call in ("open", "openat", "openat2", "execve", "execveat", "connect", "socket", "clone3", "fork", "vfork"):
        if call in calls:
            problems.append(f"sentry: {call} is listed")


def check_gofer_filter(program, pid, more=frozenset()):
    """pid: its own. more: calls of a gofer that is no sandbox's."""
    empty_path = 0x1000
    at_empty = [[3, 0, 0, empty_path, 0], [3, 0, 0, 0, empty_path]]
    peer = [3, 1, 17, 0, 0, 0]  # SOL_SOCKET, SO_PEERCRED
    own_thread = [pid, pid, signal.SIGURG, 0, 0, 0]
    vectors = [[3] * 6, [3, 1030, 0, 0, 0, 0], [0, 4096, 3, 0x22, 0, 0], peer, [THREAD, 0, 0, 0, 0, 0], own_thread,
               [1, 1, 0, 0, 0, 0], *at_empty]  # 1030: F_DUPFD_CLOEXEC; 1: AF_UNIX
    with_dirfd = ("openat2", "statx", "readlinkat", "mkdirat", "mknodat", "linkat", "unlinkat", "renameat2",
                  "fchownat", "utimensat", "fchmodat2")
    refused = [(call, (AT_FDCWD, 0, 0, empty_path, empty_path)) for call in with_dirfd]
    refused += [("symlinkat", (0, AT_FDCWD, 0)), ("linkat", (3, 0, AT_FDCWD)), ("renameat2", (3, 0, AT_FDCWD)),
                ("mmap", (0, 4096, EXEC, 0x22)), ("mmap", (0, 4096, EXEC, 1)), ("mmap", (0, 4096, 3, 2)), ("mprotect", (0, 4096, EXEC)),
                ("clone", (17,)), ("clone", (THREAD | 0x10000000,)), ("tgkill", (pid + 1, pid + 1, signal.SIGURG)),
                ("tgkill", (pid, pid, signal.SIGKILL)), ("socket", (2, 1, 0)), ("fcntl", (3, 4, 0)), ("fchownat", (3, 0, 0, 0, 0)), ("utimensat", (3, 0, 0, 0))]
    check_list("gofer", program, "The gofer's seccomp list", vectors, refused, more)


def gate_addresses():
    text = read(os.path.join(security_tables.ROOT, "sentry/platform/trap/stub_abi.h"))
    base = int(re.search(r"#define STUB_TEXT (0x\w+)", text).group(1), 16)
    offset = int(re.search(r"#define GATE_IP\(n\) \(STUB_TEXT \+ 64 \* \(n\) \+ (\d+)\)", text).group(1))
    return base, {name: base + 64 * int(n) + offset for name, n in re.findall(r"#define GATE_([A-Z_]+) (\d+)", text)}


def gate_vectors(stub):
    """Arguments that are right at some gate, and what is wrong at every one of them."""
    fork = 0x8000 | 0x200000 | 17  # CLONE_PARENT | CLONE_CHILD_CLEARTID | SIGCHLD
    thread = 0x100 | 0x200 | 0x400 | 0x800 | 0x10000 | 0x40000 | 0x100000 | 0x200000
    agent = thread & ~(0x400 | 0x200000)  # without CLONE_FILES and CLONE_CHILD_CLEARTID
    right = [[0] * 6, [4, 0, 8, 0, 0, 0], [3, 0, 8, 0, 0, 0], [5] + [0] * 5, [0x70000, 4096, 3, 0x32, 2**32 - 1, 0],
             [0x70000, 4096, 8192, 3, 0x80000, 0], [thread] + [0] * 5, [agent] + [0] * 5, [fork] + [0] * 5,
             [0x1001] + [0] * 5, [0x1002] + [0] * 5, [0x100] + [0] * 5]
    rings = 0x7FFE00000000
    order_wrong = [
        ("mmap", (stub, 4096, 3, 0x32)), ("mmap", (stub - 4096, 2**40, 3, 0x32)), ("mmap", (2**64 - 4096, 8192, 3, 0x32)),
        ("mmap", (0x70000, 4096, 3, 0x31)), ("mmap", (0x70000, 4096, 3, 0x13)), ("mmap", (0x70000, 4096, 3, 0x22)),
        ("mmap", (0x70000, 4096, 3, 0x02)), ("mmap", (stub, 4096, 1, 0x12)), ("mmap", (rings, 4096, 3, 0x32)), ("munmap", (rings, 4096)),
        ("recvmsg", (3,)), ("recvmsg", (4,)), ("recvmsg", (0,)), ("close", (3,)), ("close", (4,)), ("close", (5,)),
        ("munmap", (stub, 4096)), ("munmap", (0, 2**47)), ("mprotect", (stub, 4096, 7)), ("madvise", (stub, 4096, 4)),
        ("munmap", (0x6f000, 8192)), ("mremap", (0x70000, 4096, 4096, 3, 0x60000)),
        ("mremap", (stub, 4096, 4096, 3, 0x70000)), ("mremap", (0x70000, 4096, 4096, 3, stub)),
        ("mremap", (0x70000, 4096, 4096, 1, 0x80000)), ("clone", (17,)), ("clone", (fork,)), ("clone", (agent,)),
        ("arch_prctl", (0x1011,)), ("arch_prctl", (0x1003,))]
    wrong = {"ORDER": order_wrong, "FUTEX": [("futex", (0, 1, 1)), ("futex", (0, 128, 1)), ("futex", (0x7fff00101000, 1, 1)),
                                           ("futex", (0x7fff001007fc, 1, 1)), ("futex", (0x6fff00100800, 1, 1))],
             "GUEST_FUTEX": [("futex", (0x10000, op, 0, 0, to)) for op in (3, 4, 5) for to in (rings, stub)]
             + [("futex", (at, op, 0, 0, 0x10000)) for op in (3, 4, 5) for at in (rings, stub)] + [("futex", (stub, 0)), ("futex", (stub, 1))],
             "WAKE": [("write", (3, 0, 8)), ("write", (4, 0, 9)), ("write", (1, 0, 8))],
             "AGENT": [("write", (4, 0, 8)), ("clone", (17,)), ("clone", (0,)), ("unshare", (0,)), ("unshare", (0x10000100,))]}
    return right, wrong


def check_stub_filter(role, program, column, key):
    """key: of the agents; a guest thread does not know it."""
    stub, addresses = gate_addresses()
    right, wrong = gate_vectors(stub)
    agents_gate = addresses["AGENT"]

    def run(nr, args, ip, arch=bpf.X86_64):
        args = (list(args) + [0] * 6)[:6]
        if role == "agent" and ip == agents_gate:
            args[4] = args[4] & 0xFFFFFFFF | (key & 0xFFFFFFFF) << 32
            args[5] = args[5] if nr == NR["mmap"] else key
        return bpf.run(program, nr, args, ip, arch)

    refusal = {ip: bpf.TRAP for ip in addresses.values()}
    if role == "guest":
        refusal[agents_gate] = bpf.KILL_PROCESS
        for bit in (0, 1 << 7, 1 << 31, 1 << 32, 1 << 63):
            near = [0, 0, 0, 0, ((key ^ bit) & 0xFFFFFFFF) << 32, key ^ bit]
            wanted = bpf.ALLOW if bit == 0 else bpf.KILL_PROCESS
            if run(NR["munmap"], near, agents_gate) != wanted:
                problems.append(f"guest: munmap at the agents' gate, key changed by {bit:#x}: not {wanted:#x}")
            if run(NR["mmap"], near, agents_gate) != (bpf.ALLOW if bit & 0xFFFFFFFF == 0 else bpf.KILL_PROCESS):
                problems.append(f"guest: mmap at the agents' gate, key changed by {bit:#x}")
    listed = security_tables.gates()
    expect(sorted(listed), sorted(addresses), f"{role}: gates")
    for gate, ip in addresses.items():
        got = {nr for nr in range(LAST_NUMBER) if any(run(nr, v, ip) == bpf.ALLOW for v in right)}
        expect(sorted(listed.get(gate, ((), ()))[column]), names(got), f"{role}: gate {gate}")
        for call, args in wrong.get(gate, ()):
            if run(NR[call], args, ip) != refusal[ip]:
                problems.append(f"{role}: {call}{tuple(hex(a) for a in args)} at gate {gate} is not refused")
        for other in (ip - 2, ip + 2, ip & 0xFFFFFFFF, ip - (1 << 32), 0x401000):
            for nr in range(LAST_NUMBER):
                if other not in addresses.values() and any(run(nr, v, other) != bpf.TRAP for v in right):
                    problems.append(f"{role}: call {nr} at {other:#x} is not trapped")
        for nr in range(LAST_NUMBER):
            if run(nr, [0] * 6, ip, bpf.I386) != bpf.TRAP:
                problems.append(f"{role}: 32-bit call {nr} at gate {gate} is not trapped")


def agent_of(pid):
    """A new stub's first thread, and the template's. (A forked one's is the guest's; here nobody forks.)"""
    return pid


def settled_tasks(sentry, gofer, row_of):
    """Role by directory in /proc; None while a stub that is made ahead is not ready."""
    tasks = {f"/proc/{sentry}": "sentry", f"/proc/{gofer}": "gofer"}
    for pid in Host.children(sentry):
        agent = agent_of(pid)
        for tid in Host.threads(pid):
            tasks[f"/proc/{pid}/task/{tid}"] = "agent" if tid == agent else "guest"
    filters = {task: Host.status(task.removeprefix("/proc/")).get("Seccomp_filters") for task in tasks}
    return tasks if all(filters[task] == row_of(role)("filters") for task, role in tasks.items()) else None


def main():
    if os.geteuid() != 0:
        skip("only root may read seccomp filters back")
    columns = security_tables.table("What each process keeps", "read back")
    roles = columns.pop("")

    def row_of(role):
        def row(key):
            cell = columns[key][roles.index(role)]
            return columns[key][0] if cell == "the Sentry's" else cell
        return row

    with Run9(sys.argv[1], "confinement") as run9:
        # exec 5<: so that the gofer has donated a file that stays open. The shell waits for input that never comes, and for no
        # other program: with one, stubs would come and go.
        bundle = run9.bundle("b", ["sh", "-c", "exec 5</etc/passwd; read x </dev/pts/ptmx"],
                             mounts=[{"destination": "/dev/pts", "type": "devpts", "options": ["ptmxmode=0666"]}])
        run9.detached("confined", bundle)
        state = run9.state("confined")
        sentry, gofer = state["sentry"]["pid"], state["gofer"]["pid"]
        with_guest = wait_for(lambda: [p for p in Host.children(sentry) if len(Host.threads(p)) > 1], "a guest thread")
        own_id = int(Host.status(sentry)["Uid"].split()[0])
        if not 0x70000000 <= own_id <= 0x7FFFFFFF:
            problems.append(f"sentry: its id {own_id} is not one of its own")

        stdio = {"null"}
        tasks = wait_for(lambda: settled_tasks(sentry, gofer, row_of), "all threads of stubs have their filters")
        for task, role in tasks.items():
            check_process(role, task, row_of(role), own_id, run9.log, stdio)
        expect(os.readlink(f"/proc/{sentry}/ns/pid"), os.readlink(f"/proc/{with_guest[0]}/ns/pid"), "stub: pid namespace")

        # Any agent's: it waits with the key in its stack pointer.
        key = ptrace.stack_pointer(agent_of(with_guest[0]))
        seen = set()
        for task, role in tasks.items():
            filters = ptrace.seccomp_filters(int(task.rsplit("/", 1)[1]))
            expect(row_of(role)("filters"), str(len(filters)), f"{role}: filters")
            if role in seen:
                continue
            seen.add(role)
            if role == "sentry":
                check_sentry_filter(filters[0])
            elif role == "gofer":
                check_gofer_filter(filters[0], gofer)
            else:
                check_stub_filter(role, filters[0], 0 if role == "agent" else 1, key)
        expect({"sentry", "gofer", "agent", "guest"}, seen, "processes")
        # Having looked did no harm.
        expect("alive\n", run9.command("exec", "confined", "echo", "alive").stdout, "after all this, exec")
    fail_if(problems)


if __name__ == "__main__":
    main()
