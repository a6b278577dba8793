#!/usr/bin/env python3
"""inotify(7) in a bind mount: a guest is told of what the host changes, and of its own changes once.

usage: host_events_test.py BIN_DIR
"""
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../tests/support"))
from sandbox import Run9, fail_if, machine_python

# In the guest: "watch PATH", "do PYTHON", "wait N": N events, by name; "more": those that are there already.
GUEST = r'''
import ctypes, os, select, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
fd = libc.inotify_init1(os.O_NONBLOCK)
NAMES = {0x2: "MODIFY", 0x4: "ATTRIB", 0x8: "CLOSE_WRITE", 0x40: "MOVED_FROM", 0x80: "MOVED_TO", 0x100: "CREATE", 0x200: "DELETE",
         0x400: "DELETE_SELF", 0x800: "MOVE_SELF"}
MASK = sum(NAMES)
watches, events = {}, []

def take():
    try: data = os.read(fd, 65536)
    except BlockingIOError: return
    while data:
        wd, mask, cookie, n = struct.unpack_from("iIII", data)
        name = data[16:16 + n].rstrip(b"\0").decode()
        kinds = [NAMES[b] for b in NAMES if mask & b]
        if kinds: events.append(watches[wd] + ":" + kinds[0] + (":" + name if name else "") + ("/" if mask & 0x40000000 else ""))
        data = data[16 + n:]

print("ready", flush=True)
for line in sys.stdin:
    what, _, rest = line.strip().partition(" ")
    if what == "watch":
        watches[libc.inotify_add_watch(fd, rest.encode(), MASK)] = os.path.basename(rest)
        print("ok", flush=True)
        continue
    if what == "do":
        exec(rest)
        take()
    if what == "wait":
        while len(events) < int(rest) and select.select([fd], [], [], 20)[0]: take()
    take()
    print(" ".join(events), flush=True)
    events.clear()
'''
problems = []


def main():
    with Run9(sys.argv[1], "events") as run9:
        shared = os.path.join(run9.work, "shared")
        os.makedirs(os.path.join(shared, "d"))
        for path, mode in ((shared, 0o777), (os.path.join(shared, "d"), 0o777)):
            os.chmod(path, mode)
        bundle = run9.bundle("b", [machine_python(), "-c", GUEST],
                             mounts=[{"destination": "/mnt", "type": "bind", "source": shared, "options": ["rbind", "rw"]}])
        guest = run9.start("run", "-b", bundle, "events", flags=("--overlay", "tmpfs"), stdin=subprocess.PIPE, stdout=subprocess.PIPE)

        def ask(text):
            guest.stdin.write(text + "\n")
            guest.stdin.flush()
            return guest.stdout.readline().strip()

        def expect(wanted, got):
            if wanted != got:
                problems.append(f"wanted {wanted!r}, got {got!r}")

        def host(name):
            return os.path.join(shared, "d", name)

        guest.stdout.readline()
        with open(host("log"), "w") as log:
            os.chmod(host("log"), 0o666)
            expect("ok", ask("watch /mnt/d"))
            expect("ok", ask("watch /mnt/d/log"))
            # tail -f.
            log.write("line\n")
            log.flush()
            expect("d:MODIFY:log log:MODIFY", ask("wait 2"))
        expect("d:CLOSE_WRITE:log log:CLOSE_WRITE", ask("wait 2"))
        # An editor.
        with open(host("new"), "w") as f:
            f.write("text")
        os.rename(host("new"), host("file"))
        expect("d:CREATE:new d:MODIFY:new d:CLOSE_WRITE:new d:MOVED_FROM:new d:MOVED_TO:file", ask("wait 5"))
        os.mkdir(host("sub"))
        os.rmdir(host("sub"))
        os.unlink(host("file"))
        expect("d:CREATE:sub/ d:DELETE:sub/ d:DELETE:file", ask("wait 3"))
        # The guest's own: once each, and there as soon as the call is over.
        expect("d:CREATE:own d:MODIFY:own d:CLOSE_WRITE:own",
               ask("do f = os.open('/mnt/d/own', os.O_CREAT | os.O_WRONLY); os.write(f, b'x'); os.close(f)"))
        expect("d:MOVED_FROM:own d:MOVED_TO:moved", ask("do os.rename('/mnt/d/own', '/mnt/d/moved')"))
        expect("d:ATTRIB:moved", ask("do os.chmod('/mnt/d/moved', 0o600)"))
        expect("d:CREATE:e/ d:DELETE:e/", ask("do os.mkdir('/mnt/d/e'); os.rmdir('/mnt/d/e')"))
        expect("d:ATTRIB:log log:ATTRIB", ask("do os.chmod('/mnt/d/log', 0o644)"))
        guest.stdin.close()
        expect(0, guest.wait(30))
    fail_if(problems)


main()
