// The stub's ELF file, inside the program.
  .section .rodata
  .globl run9_gate_begin, run9_gate_end
  .balign 16
run9_gate_begin:
  .incbin RUN9_GATE
run9_gate_end:
  .section .note.GNU-stack, "", @progbits
