// The stub's ELF file, inside the program.
  .section .rodata
  .globl run9_stub_begin, run9_stub_end
  .balign 16
run9_stub_begin:
  .incbin RUN9_STUB
run9_stub_end:
  .section .note.GNU-stack, "", @progbits
