#!/usr/bin/env python3
"""A guest makes every call there is; the host hears only of those in docs/SECURITY.md.

usage: every_call_test.py BIN_DIR (as root, with tracefs: see support/ftrace.py)
"""
import collections
import os
import shutil
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
import ftrace
import security_tables
from sandbox import Run9, fail_if, skip

NR = security_tables.numbers_of_calls()
NAME = {number: name for name, number in NR.items()}
STUB = "run9-stub"
SLEEP_WORDS = 0x7FFF00100800


def roles(calls):
    """Calls by what made them, each thread's from its own filter on: before it, it is the runtime's code."""
    by_thread = collections.defaultdict(list)
    for call in calls:
        by_thread[call.tid].append(call)
    out = collections.defaultdict(list)
    key = None
    for made in by_thread.values():
        comm = made[-1].comm
        if STUB in comm:
            if key is None:  # the template: it starts as a fork of the Sentry's, and is an agent for ever
                made = after_filter(made)
                key = next(c.args[5] for c in made if c.nr != NR["mmap"])
            for call in made:
                out["agent" if shows(call, key) else "guest"].append(call)
        elif comm.startswith("run9-sentry"):
            out["sentry"] += after_filter(made)
        elif comm.startswith("run9-gofer"):
            # Its filter comes with one call for all its threads; each waits at a futex until then.
            out["gofer"] += after_filter(made) if any(c.nr == NR["seccomp"] for c in made) else after_gate(made)
    return out


def shows(call, key):
    """Whether it has the agents' key: a process's first thread is an agent before it is a guest's."""
    return call.args[4] >> 32 == key & 0xFFFFFFFF if call.nr == NR["mmap"] else call.args[5] == key


def after_filter(made):
    for i, call in enumerate(made):
        if call.nr == NR["seccomp"]:
            return made[i + 1:]
    return []


def after_gate(made):
    for i, call in enumerate(made):
        if call.nr == NR["futex"]:
            return made[i + 1:]
    return []


def check_arguments(call):
    """What a guest thread may ask for in its list's calls; None if that is all right."""
    a = call.args
    name = NAME.get(call.nr)
    region = 0x7FFF00000000
    if name == "mmap" and (a[3] & ~0xC000 != 0x32 or a[0] + a[1] >= region):
        return "not private, anonymous and below the stub"
    if name in ("munmap", "mprotect", "madvise") and a[0] + a[1] >= region:
        return "in the stub's region"
    if name == "clone" and not (a[0] & 0x10000 and a[0] & 0x100):
        return "not a thread"
    if name == "futex" and a[1] != 0 and not (a[1] == 1 and SLEEP_WORDS <= a[0] < SLEEP_WORDS + 0x800):
        return "neither FUTEX_WAIT nor the wake-up of a thread that waits for an answer"
    if name == "write" and a[0] != 4:
        return "not to the doorbell"
    return None


def main():
    if os.geteuid() != 0:
        skip("only root may trace the host's system calls")
    problems = []
    with Run9(sys.argv[1], "every-call") as run9:
        rootfs = os.path.join(run9.work, "rootfs")
        os.makedirs(os.path.join(rootfs, "proc"))
        shutil.copy(os.path.join(run9.bin, "every_call"), rootfs)
        with open(os.path.join(rootfs, "victim"), "w") as f:
            f.write("the guest's own\n")
        bundle = run9.bundle("b", ["/every_call", "/victim"], root=rootfs, readonly=False)
        try:
            with ftrace.CallTracer(run9.work) as tracer:
                output, calls, lost = tracer.run(run9.arguments("run", "-b", bundle, "every"), 100)
        except ftrace.Unavailable as e:
            skip(str(e))
        if "made 2350 calls" not in output:
            problems.append(f"the guest did not get through: {output!r}\n{run9.log_text()[-2000:]}")
        if lost:
            problems.append(f"{lost} calls were not seen: the trace buffer is too small")
        gates = security_tables.gates()
        listed = {
            "sentry": security_tables.listed_calls("The Sentry's seccomp list"),
            "gofer": security_tables.listed_calls("The gofer's seccomp list"),
            "agent": set().union(*(a for a, _ in gates.values())),
            "guest": set().union(*(b for _, b in gates.values())) | security_tables.unfiltered_calls(),
        }
        seen = roles(calls)
        for role, allowed in listed.items():
            made = collections.Counter(NAME.get(c.nr, str(c.nr)) for c in seen[role])
            print(f"{role}: {sum(made.values())} host calls: "
                  + ", ".join(f"{name} {n}" for name, n in made.most_common()))
            if not made:
                problems.append(f"no call of the {role} was seen: is the trace complete?")
            for name in sorted(set(made) - allowed):
                problems.append(f"{role}: {name} ({made[name]} times) is not in docs/SECURITY.md")
        for call in seen["guest"]:
            why = check_arguments(call)
            if why:
                problems.append(f"guest: {call}: {why}")
    fail_if(problems[:50])


if __name__ == "__main__":
    main()
