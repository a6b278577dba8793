// The stub's system call instructions, at fixed addresses that the seccomp filters know, and the agent.
#include "sentry/platform/trap/stub_abi.h"

.section .gates, "ax"
.balign 4096
gates:

// uint64_t gate(nr, a0, a1, a2, a3, a4, a5)
.macro GATE name n
  .org gates + \n * 64, 0x90
  .globl \name
\name:
  mov %rdi, %rax
  mov %rsi, %rdi
  mov %rdx, %rsi
  mov %rcx, %rdx
  mov %r8, %r10
  mov %r9, %r8
  mov 8(%rsp), %r9
  .org gates + \n * 64 + 40, 0x90
  syscall
  ret
.endm

  // The restorer of every handler, and the way into guest code for new threads: rsp = the ucontext.
  .globl gate_sigreturn
gate_sigreturn:
  mov $15, %eax
  .org gates + GATE_SIGRETURN * 64 + 40, 0x90
  syscall
  hlt

GATE gate_futex GATE_FUTEX
GATE gate_wake GATE_WAKE
GATE gate_order GATE_ORDER
GATE gate_seccomp GATE_SECCOMP
GATE gate_init GATE_INIT

  // The agent's only system call; rbx says where to go on.
  .org gates + GATE_AGENT * 64, 0x90
agent_syscall:
  .org gates + GATE_AGENT * 64 + 40, 0x90
  syscall
  jmp *%rbx

  .org gates + 512, 0x90
// The agent: carries out lists of system calls from a page that nobody in this process can write. It has no
// stack and trusts no memory of its process: everything it holds is in registers, which no other thread
// can reach. r12 the command page, r13d the last sequence number, r14 the result page, r15 the index.
  .globl agent_start
agent_start:
  movabs $STUB_CMD_A, %r12
  movabs $STUB_AGENT_PAGE, %r14
  xor %r13d, %r13d
  xor %esp, %esp
agent_loop:
  mov CMD_SEQ(%r12), %eax
  cmp %r13d, %eax
  jne 1f
  lea CMD_SEQ(%r12), %rdi
  xor %esi, %esi
  mov %r13d, %edx
  xor %r10d, %r10d
  xor %r8d, %r8d
  xor %r9d, %r9d
  mov $202, %eax
  lea agent_loop(%rip), %rbx
  jmp agent_syscall
1:
  mov %eax, %r13d
  xor %r15d, %r15d
2:
  cmp CMD_COUNT(%r12), %r15d
  jae 5f
  mov %r15, %rbp
  shl $6, %rbp
  lea CMD_ENTRIES(%r12, %rbp), %rbp
  mov 0(%rbp), %rax
  mov 8(%rbp), %rdi
  mov 16(%rbp), %rsi
  mov 24(%rbp), %rdx
  mov 32(%rbp), %r10
  mov 40(%rbp), %r8
  mov 48(%rbp), %r9
  // Where to go on depends on the kind: a forked child has no command page to look at afterwards.
  lea 4f(%rip), %rbx
  mov 56(%rbp), %rbp
  cmp $1, %ebp
  jb agent_syscall
  lea 3f(%rip), %rbx
  je agent_syscall
  lea 8f(%rip), %rbx
  jmp agent_syscall
3:
  test %rax, %rax
  jz 6f
  jmp 4f
8:
  test %rax, %rax
  jz thread_entry
4:
  mov %rax, AGENT_RESULTS(%r14, %r15, 8)
  inc %r15d
  jmp 2b
5:
  // Say that the list is done: what the results hold is a hint, that it is done is not.
  mov $STUB_FD_AGENT, %edi
  lea AGENT_RESULTS(%r14), %rsi
  mov %r15d, %edx
  shl $3, %edx
  mov $1, %eax
  lea 7f(%rip), %rbx
  jmp agent_syscall
7:
  test %rax, %rax
  jg agent_loop
  mov $231, %eax
  xor %edi, %edi
  lea 7b(%rip), %rbx
  jmp agent_syscall
6:
  // In the forked child: the parent's command page is not mapped here, ours is the other one.
  xor $STUB_CMD_TOGGLE, %r12
  xor %r13d, %r13d
  jmp agent_loop

// A new guest thread, on its alternate stack.
  .globl thread_entry
thread_entry:
  mov %rsp, %rdi
  and $-16, %rsp
  call thread_main
  hlt

// void enter_guest(ucontext*): never returns.
  .globl enter_guest
enter_guest:
  mov %rdi, %rsp
  jmp gate_sigreturn

  .globl _start
_start:
  mov %rsp, %rdi
  and $-16, %rsp
  call stub_init
  jmp agent_start

.section .note.GNU-stack, "", @progbits
