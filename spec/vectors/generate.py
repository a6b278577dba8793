#!/usr/bin/env python3
"""Writes 9p2000L.txt: one sample of every message, built from the layouts below and from nothing in
p9/, so that the two can disagree. A line is "name|hex|what p9's describe() says after the name".

Layouts are those of spec/9p2000L.md and spec/9p2000Lx.md: 1 2 4 8 are integers, s a string, n a
name, q a qid, d counted data, t a time (8+8), a an attrx; (x)* is a list with its count[2] before it.
"""
import re
import struct

LAYOUTS = """
Rlerror 7 4
Tstatfs 8 4 / 4 4 8 8 8 8 8 8 4
Tlopen 12 4 4 / q 4
Tlcreate 14 4 n 4 4 4 / q 4
Tsymlink 16 4 n s 4 / q
Tmknod 18 4 n 4 4 4 4 / q
Trename 20 4 4 n /
Treadlink 22 4 / s
Tgetattr 24 4 8 / 8 q 4 4 4 8 8 8 8 8 t t t t 8 8
Tsetattr 26 4 [ 4 4 4 4 8 t t ] /
Txattrwalk 30 4 4 s / 8
Txattrcreate 32 4 s 8 4 /
Treaddir 40 4 8 4 / d
Tfsync 50 4 4 /
Tlock 52 4 1 4 8 8 4 s / 1
Tgetlock 54 4 1 8 8 4 s / 1 8 8 4 s
Tlink 70 4 4 n /
Tmkdir 72 4 n 4 4 / q
Trenameat 74 4 n 4 n /
Tunlinkat 76 4 n 4 /
Tversion 100 4 s / 4 s
Tauth 102 4 s s 4 / q
Tattach 104 4 4 s s 4 / q
Tflush 108 2 /
Twalk 110 4 4 (n)* / (q)*
Tread 116 4 8 4 / d
Twrite 118 4 8 d / 4
Tclunk 120 4 /
Tremove 122 4 /
Tcaps 200 8 / 8 2 2
Twalkx 202 4 4 4 4 8 4 4 4 4 (n)* / 1 1 4 4 s (w)* (4)*
Treaddirx 204 4 8 4 8 4 / 4 d
Twalkdir 206 4 4 4 8 (n)* / 4 d
Tmclunk 208 (4)* / (4)*
Tsetx 210 4 [ 4 4 4 4 8 t t ] 8 / a
Trename2 214 4 n 4 n 4 /
Tgetxa 216 4 s 4 / 4 d
Tsetxa 218 4 s 4 d /
Tlistxa 220 4 4 / 4 d
Trmxa 222 4 s /
Tfdget 224 4 4 / q
Tfalloc 226 4 4 8 8 8 / a
Tseek 228 4 8 1 / 8
Tmkx 212 4 4 n 4 4 4 4 4 s 8 / q a
Tcopy 230 4 8 4 8 8 / 8
Tsyncfs 242 4 /
Tlockx 232 4 1 4 8 8 / 1
Tsock 244 4 4 /
Tevents 240 4 4 4 / 4
Tring 234 4 / 4
Tlease 238 /
Tmopen 246 4 (n)* / (o)*
"""


class Sample:
    """Successive values, each different from its neighbours, so that swapped fields show."""

    def __init__(self):
        self.step = 0

    def integer(self, size):
        self.step += 1
        # A small value in the low byte and another in the high byte shows a wrong width or order.
        value = self.step if size == 1 else self.step | (self.step + 0x40) << 8 * (size - 1)
        return value.to_bytes(size, "little"), str(value)

    def text(self):
        self.step += 1
        text = f"name{self.step}"
        return struct.pack("<H", len(text)) + text.encode(), f'"{text}"'

    def group(self, layout):
        parts = [self.field(f) for f in layout.split()]
        return b"".join(p[0] for p in parts), "( " + " ".join(p[1] for p in parts) + " )"

    def field(self, kind):
        if kind in "1248":
            return self.integer(int(kind))
        if kind in "sn":
            return self.text()
        if kind == "q":
            return self.group("1 4 8")
        if kind == "t":
            return self.group("8 8")
        if kind == "x":
            return self.group("8 4")
        if kind == "a":
            return self.group("8 4 4 4 4 8 8 8 8 8 4 4 x x x x 8 8")
        if kind == "w":
            return self.group("q a")
        if kind == "o":
            return self.group("4 q")
        if kind == "d":
            return struct.pack("<I", 5) + b"bytes", "<5 bytes>"
        if kind.startswith("("):
            parts = [self.field(kind[1:-2]) for _ in range(2)]
            return (struct.pack("<H", 2) + b"".join(p[0] for p in parts),
                    "[ " + " ".join(p[1] for p in parts) + " ]")
        raise ValueError(kind)


def body(layout):
    sample = Sample()
    before, nested, after = re.fullmatch(r"([^\[]*)(?:\[([^\]]*)\])?(.*)", layout).groups()
    parts = [sample.field(f) for f in before.split()]
    if nested:
        parts.append(sample.group(nested))
    parts += [sample.field(f) for f in after.split()]
    text = " ".join(p[1] for p in parts)
    return b"".join(p[0] for p in parts), f"( {text} )" if parts else "( )"


def line(name, number, layout, tag):
    data, text = body(layout)
    frame = struct.pack("<IBH", 7 + len(data), number, tag) + data
    return f"{name}|{frame.hex()}|tag={tag} {text}"


def main():
    lines = []
    for row in LAYOUTS.strip().splitlines():
        name, number, rest = re.fullmatch(r"(\w+) (\d+) ?(.*)", row).groups()
        request, _, reply = rest.partition("/")
        lines.append(line(name, int(number), request, 0x0701))
        if name.startswith("T"):
            lines.append(line("R" + name[1:], int(number) + 1, reply, 0x0702))
    with open("9p2000L.txt", "w") as out:
        out.write("# Written by generate.py: name|hex|fields\n" + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
