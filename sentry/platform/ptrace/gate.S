// The whole program of a ptrace stub: one system call instruction, at STUB_TEXT. The Sentry points a
// stopped thread at it, and the breakpoint behind it gives the thread back.
  .section .gates, "ax"
  .globl _start
_start:
  syscall
  int3
  .section .note.GNU-stack, "", @progbits
