#!/usr/bin/env python3
"""connect(2) to unix sockets of the host that lie in a bind mount: refused, unless the container's annotation says otherwise.

usage: host_sockets_test.py BIN_DIR
"""
import json
import os
import socket
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../tests/support"))
from sandbox import Run9, fail_if, machine_python

GUEST = r'''
import errno, os, select, socket, sys
def tell(what, value): print(what, value, flush=True)
def attempt(what, f):
    try: tell(what, f())
    except OSError as e: tell(what, errno.errorcode[e.errno].replace("ENOTSUP", "EOPNOTSUPP"))

def stream():
    s = socket.socket(socket.AF_UNIX)
    s.connect("/mnt/stream")
    assert s.getpeername() == "/mnt/stream"
    s.sendall(b"x" * 300000 + b"!")
    s.shutdown(socket.SHUT_WR)
    got = b""
    while more := s.recv(65536): got += more
    return got.decode()
attempt("stream", stream)

def nonblocking():
    s = socket.socket(socket.AF_UNIX)
    p = select.epoll()
    p.register(s, select.EPOLLIN)
    s.setblocking(False)
    s.connect("/mnt/stream")
    try: s.recv(1); return "data before it was asked for"
    except BlockingIOError: pass
    s.sendall(b"!")
    events = p.poll(20)
    return events[0][1] & select.EPOLLIN, s.recv(100).decode()
attempt("nonblocking", nonblocking)

def full():  # room to write comes before what is waited for
    s = socket.socket(socket.AF_UNIX)
    s.connect("/mnt/slow")
    s.setblocking(False)
    try:
        while True: s.send(b"x" * 4096)
    except BlockingIOError: pass
    s.setblocking(True)
    return s.recv(100).decode()
attempt("full", full)

def again():
    s = socket.socket(socket.AF_UNIX)
    s.connect("/mnt/stream")
    s.connect("/mnt/stream")
attempt("again", again)

def records():
    s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    s.connect("/mnt/records")
    s.send(b"one"); s.send(b"two")
    return s.recv(2), s.recv(100)
attempt("records", records)

def datagrams():
    s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    s.sendto(b"to", "/mnt/datagrams")
    s.connect("/mnt/datagrams")
    return s.send(b"connected")
attempt("datagrams", datagrams)

def wrong(): socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).connect("/mnt/stream")
attempt("wrong", wrong)

def rights():
    s = socket.socket(socket.AF_UNIX)
    s.connect("/mnt/stream")
    socket.send_fds(s, [b"x"], [0])
attempt("rights", rights)

def nobody(): socket.socket(socket.AF_UNIX).connect("/mnt/nobody")
attempt("nobody", nobody)

def file(): 
    s = socket.socket(socket.AF_UNIX)
    s.connect("/run/one.sock")
    s.sendall(b"!")
    return s.recv(100).decode()
attempt("file", file)

def own():
    l = socket.socket(socket.AF_UNIX); l.bind("/mnt/own"); l.listen()
    s = socket.socket(socket.AF_UNIX); s.connect("/mnt/own"); s.send(b"me")
    return l.accept()[0].recv(10).decode()
attempt("own", own)
'''

ALLOWED = """stream 300001 bytes
nonblocking (1, '1 bytes')
full read
again EISCONN
records (b'on', b'two')
datagrams 9
wrong EPROTOTYPE
rights EOPNOTSUPP
nobody ECONNREFUSED
file 1 bytes
own me
"""
REFUSED = """stream ECONNREFUSED
nonblocking ECONNREFUSED
full ECONNREFUSED
again ECONNREFUSED
records ECONNREFUSED
datagrams ECONNREFUSED
wrong ECONNREFUSED
rights ECONNREFUSED
nobody ECONNREFUSED
file ECONNREFUSED
own me
"""
problems = []


def expect(wanted, got, what):
    if wanted != got:
        problems.append(f"{what}: wanted {wanted!r}, got {got!r}")


def connections(listener):
    """Each is closed when the next one is asked for; until the listener is."""
    while True:
        try:
            s = listener.accept()[0]
        except OSError:
            return
        with s:
            yield s


def count_bytes(listener):
    """Says to each client how many bytes came up to '!' or its end."""
    for s in connections(listener):
        n = 0
        while more := s.recv(65536):
            n += len(more)
            if more.endswith(b"!"):
                break
        try:
            s.sendall(f"{n} bytes".encode())
        except BrokenPipeError:
            pass


def answer_late(listener):
    """Reads what there is, and answers when nothing has come for a while."""
    for s in connections(listener):
        time.sleep(0.1)
        s.settimeout(0.1)
        try:
            while s.recv(1 << 20):
                pass
        except TimeoutError:
            s.sendall(b"read")


def echo_records(listener):
    for s in connections(listener):
        while record := s.recv(100):
            s.send(record)


def listen(path, kind, serve):
    s = socket.socket(socket.AF_UNIX, kind)
    s.bind(path)
    os.chmod(path, 0o666)
    if serve:
        s.listen()
        threading.Thread(target=serve, args=(s,), daemon=True).start()
    return s


def annotate(bundle, value):
    path = os.path.join(bundle, "config.json")
    with open(path) as f:
        config = json.load(f)
    config["annotations"] = {"org.run9.host-sockets": value}
    with open(path, "w") as f:
        json.dump(config, f)


def main():
    with Run9(sys.argv[1], "sockets") as run9:
        shared = os.path.join(run9.work, "shared")
        os.mkdir(shared)
        os.chmod(shared, 0o777)
        servers = [listen(f"{shared}/stream", socket.SOCK_STREAM, count_bytes),
                   listen(f"{shared}/records", socket.SOCK_SEQPACKET, echo_records),
                   listen(f"{shared}/slow", socket.SOCK_STREAM, answer_late)]
        datagrams = listen(f"{shared}/datagrams", socket.SOCK_DGRAM, None)
        listen(f"{shared}/nobody", socket.SOCK_STREAM, None).close()
        bundle = run9.bundle("b", [machine_python(), "-c", GUEST],
                             mounts=[{"destination": "/run", "type": "tmpfs"},
                                     {"destination": "/mnt", "type": "bind", "source": shared, "options": ["rbind", "rw"]},
                                     {"destination": "/run/one.sock", "type": "bind", "source": f"{shared}/stream", "options": ["bind", "rw"]}])

        def run(what):
            r = run9.command("run", "-b", bundle, "sockets", flags=("--overlay", "tmpfs"))
            os.unlink(f"{shared}/own")
            return r.stdout + r.stderr
        expect(REFUSED, run("without"), "without the annotation")
        annotate(bundle, "none")
        expect(REFUSED, run("none"), "refused by the annotation")
        annotate(bundle, "connect")
        expect(ALLOWED, run("connect"), "with the annotation")
        expect((b"to", b"connected"), (datagrams.recv(100), datagrams.recv(100)), "what came")
        annotate(bundle, "perhaps")
        expect(True, "org.run9.host-sockets" in run9.command("run", "-b", bundle, "sockets").stderr, "a value that there is not")
        for s in servers:
            s.close()
    fail_if(problems)


main()
