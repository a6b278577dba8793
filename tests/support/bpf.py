"""Runs classic BPF as the host's seccomp does."""
import struct

KILL_PROCESS, KILL_THREAD, TRAP, ALLOW = 0x80000000, 0, 0x00030000, 0x7FFF0000
X86_64, I386 = 0xC000003E, 0x40000003
_MASK = 0xFFFFFFFF


def run(program, nr, args=(), ip=0, arch=X86_64):
    """What the program returns for one system call."""
    args = (list(args) + [0] * 6)[:6]
    data = struct.pack("<IIQ6Q", nr & _MASK, arch, ip, *(a & (1 << 64) - 1 for a in args))
    a = x = pc = 0
    memory = [0] * 16
    while True:
        code, jt, jf, k = program[pc]
        pc += 1
        kind, source = code & 7, (x if code & 8 else k)
        if kind == 0:  # LD
            mode = code & 0xE0
            a = struct.unpack_from("<I", data, k)[0] if mode == 0x20 else memory[k] if mode == 0x60 else k
        elif kind == 1:  # LDX
            x = memory[k] if code & 0xE0 == 0x60 else k
        elif kind == 2:
            memory[k] = a
        elif kind == 3:
            memory[k] = x
        elif kind == 4:  # ALU
            a = _alu(code & 0xF0, a, source)
        elif kind == 5:  # JMP
            op = code & 0xF0
            if op == 0:
                pc += k
            else:
                taken = {0x10: a == source, 0x20: a > source, 0x30: a >= source, 0x40: a & source != 0}[op]
                pc += jt if taken else jf
        elif kind == 6:
            return a if code & 0x18 == 0x10 else k
        elif code & 0xF8 == 0:  # MISC
            x = a
        else:
            a = x


def _alu(op, a, b):
    return {0x00: lambda: a + b, 0x10: lambda: a - b, 0x20: lambda: a * b, 0x30: lambda: a // b if b else 0,
            0x40: lambda: a | b, 0x50: lambda: a & b, 0x60: lambda: a << b, 0x70: lambda: a >> b,
            0x80: lambda: -a, 0x90: lambda: a % b if b else 0, 0xA0: lambda: a ^ b}[op]() & _MASK
