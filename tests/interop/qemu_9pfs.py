#!/usr/bin/env python3
"""QEMU's own 9P server behind a unix socket, for clients that are no virtual machine.

QEMU offers 9pfs as a virtio device alone. This starts a QEMU whose processor never runs, plays the driver of
its virtio-mmio devices in memory that both map, and moves frames between a connection and the device's queue. Each
connection has a device of its own, so that there are as many at a time as devices.

usage: qemu_9pfs.py DIR SOCKET [SECURITY_MODEL]      says "ready", and serves DIR until its standard input ends

Registers and rings are those of the OASIS specification "Virtual I/O Device 1.1", sections 4.2 (virtio over MMIO)
and 2.6 (split virtqueues).
"""
import mmap
import os
import select
import socket
import struct
import subprocess
import sys
import tempfile

DEVICES = 4
QUEUE = 32  # descriptors, two to a request
SLOT = 1 << 20  # bytes of one request or reply, and the largest msize
RAM = (1 + DEVICES * QUEUE) * SLOT
MMIO, MMIO_STEP, MMIO_COUNT = 0xFEB00000, 0x200, 24  # where QEMU's microvm has its virtio-mmio devices
DEVICE_9P = 9
VERSION_1 = 1 << 32  # the one feature that is taken
ACKNOWLEDGE, DRIVER, DRIVER_OK, FEATURES_OK = 1, 2, 4, 8
POLL_SECONDS = 0.0002  # between looks for replies while there are requests


class Qemu:
    """The process, its memory and its devices' registers."""

    def __init__(self, directory, model):
        ours, theirs = socket.socketpair()
        memory = tempfile.NamedTemporaryFile(dir="/dev/shm")
        memory.truncate(RAM)
        self.ram = mmap.mmap(memory.fileno(), RAM)
        devices = [a for i in range(DEVICES) for a in (
            "-fsdev", f"local,id=f{i},path={directory},security_model={model},multidevs=remap",
            "-device", f"virtio-9p-device,fsdev=f{i},mount_tag=t{i}")]
        self.process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "qemu-system-x86_64", "-M", "microvm,memory-backend=ram",
             "-accel", "tcg", "-S", "-m", f"{RAM >> 20}M", "-nodefaults", "-display", "none",
             "-object", f"memory-backend-file,id=ram,size={RAM},mem-path={memory.name},share=on",
             "-chardev", f"socket,id=qtest,fd={theirs.fileno()}", "-qtest", "chardev:qtest", "-qtest-log", "none",
             "-global", "virtio-mmio.force-legacy=false", *devices],
            pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL)
        theirs.close()
        self.lines = ours.makefile("rw")
        self.command("readl 0x0")  # answered once it has opened its memory
        memory.close()

    def command(self, text):
        self.lines.write(text + "\n")
        self.lines.flush()
        answer = self.lines.readline().split()
        if answer[:1] != ["OK"]:
            sys.exit(f"qemu_9pfs: {text}: {answer or 'QEMU is gone'}")
        return answer

    def read_register(self, address):
        return int(self.command(f"readl {address:#x}")[1], 16)

    def write_register(self, address, value):
        self.command(f"writel {address:#x} {value:#x}")

    def devices(self):
        places = (MMIO + i * MMIO_STEP for i in range(MMIO_COUNT))
        return [p for p in places if self.read_register(p) == 0x74726976 and self.read_register(p + 8) == DEVICE_9P]


class Device:
    """The driver's side of one device and its one queue. Request i has descriptors 2i and 2i + 1, and their slots."""

    def __init__(self, qemu, registers, number):
        self.qemu, self.registers = qemu, registers
        self.rings = number * 4 * 4096  # in the first slot: descriptors, available ring, used ring, a page each
        self.slots = (1 + number * QUEUE) * SLOT
        self.start()

    def write(self, register, value):
        self.qemu.write_register(self.registers + register, value)

    def start(self):
        self.write(0x70, 0)  # Status: reset
        self.write(0x70, ACKNOWLEDGE | DRIVER)
        for half in 0, 1:
            self.write(0x24, half)
            self.write(0x20, VERSION_1 >> 32 * half & 0xFFFFFFFF)
        self.write(0x70, ACKNOWLEDGE | DRIVER | FEATURES_OK)
        self.write(0x30, 0)  # QueueSel
        self.write(0x38, QUEUE)
        for register, page in (0x80, 0), (0x90, 1), (0xA0, 2):
            self.write(register, self.rings + page * 4096)
            self.write(register + 4, 0)
        self.qemu.ram[self.rings:self.rings + 3 * 4096] = bytes(3 * 4096)
        self.write(0x44, 1)  # QueueReady
        self.write(0x70, ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK)
        self.asked = self.answered = 0
        self.free = list(range(QUEUE // 2))

    def slot(self, descriptor):
        return self.slots + descriptor * SLOT

    def ask(self, frame):
        ram, request = self.qemu.ram, self.free.pop()
        out, into = 2 * request, 2 * request + 1
        ram[self.slot(out):self.slot(out) + len(frame)] = frame
        struct.pack_into("<QIHH", ram, self.rings + 16 * out, self.slot(out), len(frame), 1, into)  # NEXT
        struct.pack_into("<QIHH", ram, self.rings + 16 * into, self.slot(into), SLOT, 2, 0)  # WRITE
        available = self.rings + 4096
        struct.pack_into("<H", ram, available + 4 + 2 * (self.asked % QUEUE), out)
        self.asked += 1
        struct.pack_into("<H", ram, available + 2, self.asked & 0xFFFF)
        self.write(0x50, 0)  # QueueNotify

    def waiting(self):
        return self.asked - self.answered

    def answers(self):
        """The frames that came since the last call."""
        ram, used = self.qemu.ram, self.rings + 2 * 4096
        while self.answered & 0xFFFF != struct.unpack_from("<H", ram, used + 2)[0]:
            out, _ = struct.unpack_from("<II", ram, used + 4 + 8 * (self.answered % QUEUE))
            self.answered += 1
            self.free.append(out // 2)
            at = self.slot(out + 1)
            yield ram[at:at + struct.unpack_from("<I", ram, at)[0]]


class Connection:
    def __init__(self, sock, device):
        self.sock, self.device, self.unread = sock, device, b""

    def frames(self):
        """Whole frames that have arrived, as long as the queue has room."""
        while self.device.free and len(self.unread) >= 4:
            size = struct.unpack_from("<I", self.unread)[0]
            if not 7 <= size <= SLOT:
                raise ConnectionError("no 9P")
            if len(self.unread) < size:
                break
            yield self.unread[:size]
            self.unread = self.unread[size:]

    def receive(self):
        part = self.sock.recv(SLOT)
        if not part:
            raise ConnectionError("closed")
        self.unread += part

    def step(self, readable):
        if readable:
            self.receive()
        for frame in self.device.answers():
            self.sock.sendall(frame)
        # After the answers, which make room: then what stays has an answer to come that wakes us.
        for frame in self.frames():
            self.device.ask(frame)


def serve(qemu, listener):
    free = [Device(qemu, place, i) for i, place in enumerate(qemu.devices())]
    if len(free) != DEVICES:
        sys.exit(f"qemu_9pfs: {len(free)} devices of 9P instead of {DEVICES}")
    print("ready", flush=True)
    connections = {}
    while True:
        waiting = any(c.device.waiting() for c in connections.values())
        inputs = [s for s, c in connections.items() if c.device.free] + [listener] * bool(free)
        readable = select.select(inputs + [sys.stdin], [], [], POLL_SECONDS if waiting else None)[0]
        if sys.stdin in readable:
            return
        if listener in readable:
            sock = listener.accept()[0]
            connections[sock] = Connection(sock, free.pop())
        for sock, connection in list(connections.items()):
            try:
                connection.step(sock in readable)
            except ConnectionError:
                sock.close()
                connections.pop(sock)
                connection.device.start()  # its fids go
                free.append(connection.device)


def main():
    directory, path = sys.argv[1:3]
    qemu = Qemu(os.path.realpath(directory), sys.argv[3] if len(sys.argv) > 3 else "passthrough")
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
            listener.listen(8)
            serve(qemu, listener)
    finally:
        qemu.process.kill()
        qemu.process.wait()


if __name__ == "__main__":
    main()
