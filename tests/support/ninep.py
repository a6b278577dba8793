"""A raw 9P2000.L client: one request at a time, or bytes of any kind. For tests of servers, hostile ones too.

An address is unix:PATH, tcp:HOST:PORT, vsock:CID:PORT or a connected socket.
"""
import errno
import os
import socket
import struct

NOFID = NONUNAME = 0xFFFFFFFF
NOTAG = 0xFFFF
RLERROR = 7
TSTATFS, TLOPEN, TLCREATE, TSYMLINK, TMKNOD, TREADLINK, TGETATTR, TSETATTR = 8, 12, 14, 16, 18, 22, 24, 26
TXATTRWALK, TXATTRCREATE, TREADDIR, TFSYNC, TLINK, TMKDIR, TRENAMEAT, TUNLINKAT = 30, 32, 40, 50, 70, 72, 74, 76
TVERSION, TATTACH, TFLUSH, TWALK, TREAD, TWRITE, TCLUNK = 100, 104, 108, 110, 116, 118, 120
DIALECT = "9P2000.L.x"
TMKX, TCOPY, TLOCKX, TSYNCFS, TSOCK, TMOPEN = 212, 230, 232, 242, 244, 246  # of the dialect
RDLCK, WRLCK, UNLCK = 0, 1, 2  # of Tlockx
LOCK_WAIT, LOCK_WHOLE = 1, 2


def string(text):
    data = text if isinstance(text, bytes) else text.encode()
    return struct.pack("<H", len(data)) + data


def frame(kind, tag, body):
    return struct.pack("<IBH", 7 + len(body), kind, tag) + body


def connect(address, timeout=20):
    if isinstance(address, socket.socket):
        return address
    scheme, _, rest = address.partition(":")
    if scheme == "unix":
        s = socket.socket(socket.AF_UNIX)
        at = "\0" + rest[1:] if rest.startswith("@") else rest
    elif scheme == "vsock":
        s = socket.socket(socket.AF_VSOCK)
        at = tuple(int(n) for n in rest.split(":"))
    else:
        s = socket.socket()
        host, port = rest.rsplit(":", 1)
        at = (host, int(port))
    s.settimeout(timeout)
    try:
        s.connect(at)
    except OSError:
        s.close()
        raise
    return s


class Client:
    """Requests raise OSError with the server's errno, ConnectionError when there is no server any more."""

    def __init__(self, address, msize=65536, attach=True, version="9P2000.L", **user):
        self.socket = connect(address)
        self.tag = 0
        self.call(TVERSION, struct.pack("<I", msize) + string(version), NOTAG)
        if attach:
            self.attach(0, **user)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def send(self, kind, body, tag=None):
        if tag is None:
            tag = self.tag = (self.tag + 1) % 60000
        self.socket.sendall(frame(kind, tag, body))
        return tag

    def receive(self):
        """(type, tag, body) of the next frame."""
        size, kind, tag = struct.unpack("<IBH", self._take(7))
        return kind, tag, self._take(size - 7)

    def _take(self, n):
        data = b""
        while len(data) < n:
            more = self.socket.recv(n - len(data))
            if not more:
                raise ConnectionError("the server has hung up")
            data += more
        return data

    def call(self, kind, body, tag=None):
        tag = self.send(kind, body, tag)
        got, got_tag, reply = self.receive()
        assert got_tag == tag, (got_tag, tag)
        if got == RLERROR:
            code = struct.unpack("<I", reply)[0]
            raise OSError(code, os.strerror(code))
        assert got == kind + 1, (kind, got)
        return reply

    # --- requests

    def attach(self, fid, aname="", uname="", uid=NONUNAME):
        self.call(TATTACH, struct.pack("<II", fid, NOFID) + string(uname) + string(aname) + struct.pack("<I", uid))

    def walk(self, fid, newfid, *names):
        """How many of the names were found."""
        body = struct.pack("<IIH", fid, newfid, len(names)) + b"".join(map(string, names))
        return struct.unpack("<H", self.call(TWALK, body)[:2])[0]

    def find(self, fid, newfid, *names):
        if self.walk(fid, newfid, *names) != len(names):
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
        return newfid

    def open(self, fid, flags=os.O_RDONLY):
        self.call(TLOPEN, struct.pack("<II", fid, flags))

    def create(self, fid, name, flags=os.O_RDWR, mode=0o644, gid=NONUNAME):
        self.call(TLCREATE, struct.pack("<I", fid) + string(name) + struct.pack("<III", flags, mode, gid))

    def mkdir(self, fid, name, mode=0o755, gid=NONUNAME):
        self.call(TMKDIR, struct.pack("<I", fid) + string(name) + struct.pack("<II", mode, gid))

    def symlink(self, fid, name, target, gid=NONUNAME):
        self.call(TSYMLINK, struct.pack("<I", fid) + string(name) + string(target) + struct.pack("<I", gid))

    def mknod(self, fid, name, mode, major=0, minor=0, gid=NONUNAME):
        self.call(TMKNOD, struct.pack("<I", fid) + string(name) + struct.pack("<IIII", mode, major, minor, gid))

    def link(self, dirfid, fid, name):
        self.call(TLINK, struct.pack("<II", dirfid, fid) + string(name))

    def rename(self, fid, name, newfid, newname):
        self.call(TRENAMEAT, struct.pack("<I", fid) + string(name) + struct.pack("<I", newfid) + string(newname))

    def unlink(self, fid, name, flags=0):
        self.call(TUNLINKAT, struct.pack("<I", fid) + string(name) + struct.pack("<I", flags))

    def read(self, fid, count=4096, offset=0):
        return self.call(TREAD, struct.pack("<IQI", fid, offset, count))[4:]

    def write(self, fid, data, offset=0):
        return struct.unpack("<I", self.call(TWRITE, struct.pack("<IQI", fid, offset, len(data)) + data))[0]

    def readdir(self, fid, count=8192, offset=0):
        body = self.call(TREADDIR, struct.pack("<IQI", fid, offset, count))[4:]
        names = []
        while body:
            n = struct.unpack_from("<H", body, 22)[0]
            names.append(body[24:24 + n].decode(errors="replace"))
            body = body[24 + n:]
        return names

    def getattr(self, fid):
        """(mode, uid, gid, size)"""
        body = self.call(TGETATTR, struct.pack("<IQ", fid, 0x7FF))
        mode, uid, gid = struct.unpack_from("<III", body, 21)
        return mode, uid, gid, struct.unpack_from("<Q", body, 49)[0]

    def setattr(self, fid, mode=None, uid=None, gid=None, size=None):
        given = [mode, uid, gid, size]
        valid = sum(1 << i for i, v in enumerate(given) if v is not None)
        self.call(TSETATTR, struct.pack("<IIIIIQQQQQ", fid, valid, *(v or 0 for v in given), 0, 0, 0, 0))

    def clunk(self, fid):
        self.call(TCLUNK, struct.pack("<I", fid))

    # --- of the dialect

    def make(self, fid, name, mode, target=""):
        self.call(TMKX, struct.pack("<II", fid, NOFID) + string(name) + struct.pack("<IIIII", mode, NONUNAME, NONUNAME, 0, 0) +
                  string(target) + struct.pack("<Q", 0))

    def copy(self, fid, offset, to, to_offset, count):
        return struct.unpack("<Q", self.call(TCOPY, struct.pack("<IQIQQ", fid, offset, to, to_offset, count)))[0]

    def syncfs(self, fid):
        self.call(TSYNCFS, struct.pack("<I", fid))

    def mopen(self, fid, *names):
        """Each name's errno; the descriptors are dropped."""
        body = self.call(TMOPEN, struct.pack("<IH", fid, len(names)) + b"".join(map(string, names)))
        return [struct.unpack_from("<I", body, 2 + 17 * i)[0] for i in range(struct.unpack_from("<H", body)[0])]

    def lockx(self, fid, kind=WRLCK, flags=0, start=0, length=0):
        """0: locked, 1: somebody else has it."""
        return self.call(TLOCKX, struct.pack("<IBIQQ", fid, kind, flags, start, length))[0]

    def send_lockx(self, fid, kind=WRLCK, flags=LOCK_WAIT, start=0, length=0):
        """The request's tag: its reply may take its time."""
        return self.send(TLOCKX, struct.pack("<IBIQQ", fid, kind, flags, start, length))

    def sock(self, fid, kind=socket.SOCK_STREAM):
        """The connection is dropped."""
        self.call(TSOCK, struct.pack("<II", fid, kind))

    def flush(self, tag):
        return self.send(TFLUSH, struct.pack("<H", tag))

    # --- for hostile clients

    def raw(self, data):
        self.socket.sendall(data)

    def wait_for_hangup(self):
        """What came before it. A reset counts as one."""
        data = b""
        try:
            while more := self.socket.recv(65536):
                data += more
        except ConnectionError:
            pass
        return data
