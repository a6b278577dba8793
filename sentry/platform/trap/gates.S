// The stub's system call instructions, at fixed addresses that the seccomp filters know, and the agent.
#include "sentry/platform/trap/stub_abi.h"

#define G(n) CTL_GREG(n)(%r11)
#define R8_ 0
#define R9_ 1
#define R10_ 2
#define R11_ 3
#define R12_ 4
#define R13_ 5
#define R14_ 6
#define R15_ 7
#define RDI_ 8
#define RSI_ 9
#define RBP_ 10
#define RBX_ 11
#define RDX_ 12
#define RAX_ 13
#define RCX_ 14
#define RSP_ 15
#define RIP_ 16

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
GATE gate_init GATE_INIT

  // The agent's only system call; rbx says where to go on. It shows the key: as a sixth argument, which none of its
  // calls has but mmap; there in the upper half of the descriptor, which the host ignores.
  .org gates + GATE_AGENT * 64, 0x90
agent_syscall:
  cmp $9, %eax
  je 1f
  mov %rsp, %r9
  jmp 2f
1:
  mov %rsp, %rcx
  shl $32, %rcx
  mov %r8d, %r8d
  or %rcx, %r8
2:
  .org gates + GATE_AGENT * 64 + 40, 0x90
  syscall
  jmp *%rbx

  // long gate_guest_futex(ControlPage*, const uint64_t args[7]): futex(2) or futex_waitv(2) for the guest; args[6] is
  // the number. A kick that comes after the look at `kicked` and before the call is made ends it as if it had come
  // during the call (on_signal): between the two labels nothing has happened yet.
  .org gates + GATE_GUEST_FUTEX * 64, 0x90
  .globl gate_guest_futex
gate_guest_futex:
  cmpl $0, CTL_KICKED(%rdi)
  .globl guest_futex_begin
guest_futex_begin:
  jne 1f
  mov 40(%rsi), %r9
  mov 32(%rsi), %r8
  mov 24(%rsi), %r10
  mov 16(%rsi), %rdx
  mov (%rsi), %rdi
  mov 48(%rsi), %eax
  mov 8(%rsi), %rsi
  .org gates + GATE_GUEST_FUTEX * 64 + 40, 0x90
  .globl guest_futex_call
guest_futex_call:
  syscall
  .globl guest_futex_end
guest_futex_end:
  ret
1:
  mov $-4, %rax  // EINTR
  ret

// Where trampolines jump to: DISPATCH(mode) and FOREIGN(mode), at known addresses.
.macro VECTOR n target
  .org gates + 512 + 8 * \n, 0x90
  jmp \target
.endm
VECTOR 0 dispatch_plain
VECTOR 1 dispatch_cmp_4095
VECTOR 2 dispatch_cmp_4096
VECTOR 3 dispatch_tail
VECTOR 4 foreign_plain
VECTOR 5 foreign_cmp_4095
VECTOR 6 foreign_cmp_4096
VECTOR 7 foreign_tail

  .org gates + 576, 0x90
// The agent: carries out lists of system calls from a page that nobody in this process can write. It has no
// stack and trusts no memory of its process: everything it holds is in registers, which no other thread
// can reach. r12 the command page, r13d the last sequence number, r14 the result page, r15 the index, and rsp
// the key: a forked agent inherits it, a thread gets a stack instead. No signal frame can spill it: all signals are
// blocked here, and what the host forces upon a thread that blocks it ends the process.
  .globl agent_start
agent_start:
  movabs $STUB_CMD, %r12
  movabs $STUB_AGENT_PAGE, %r14
  xor %r13d, %r13d
  mov %rax, %rsp
agent_loop:
  mov CMD_SLEEP(%r12), %rdi
  mov (%rdi), %edx  // before the look at the list: whoever adds one changes this word afterwards
  mov CMD_SEQ(%r12), %eax
  cmp %r13d, %eax
  jne 1f
  xor %esi, %esi
  xor %r10d, %r10d
  xor %r8d, %r8d
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
  cmp $3, %ebp
  jb agent_syscall
  lea 10f(%rip), %rbx
  je agent_syscall
  lea 11f(%rip), %rbx
  jmp agent_syscall
3:
  test %rax, %rax
  jz 6f
  jmp 4f
8:
  test %rax, %rax
  jz agent_loop  // the process's agent from here on: this list is the caller's
  jmp 4f
10:
  test %rax, %rax
  jnz 4f
  mov %rsp, %rbp  // the new thread's; the call has left the key in r9
  mov %r9, %rsp
  jmp become_guest
11:
  test %rax, %rax
  jnz 9f
4:
  mov %rax, AGENT_RESULTS(%r14, %r15, 8)
  inc %r15d
  jmp 2b
5:
  // Say that the list is done: what the results hold is a hint, that it is done is not. Once that is said the page may
  // hold the next one.
  mov CMD_BECOME(%r12), %rbp
  mov $STUB_FD_AGENT, %edi
  lea AGENT_RESULTS(%r14), %rsi
  mov %r15d, %edx
  shl $3, %edx
  mov $1, %eax
  lea 7f(%rip), %rbx
  jmp agent_syscall
7:
  test %rax, %rax
  jle 9f
  test %rbp, %rbp
  jnz become_guest
  // Who waits for this is best woken here: it then runs where we stop.
  mov CMD_WAKE(%r12), %rdi
  test %rdi, %rdi
  jz agent_loop
  mov $1, %esi
  mov $0x7fffffff, %edx
  mov $202, %eax
  lea agent_loop(%rip), %rbx
  jmp agent_syscall
9:
  mov $231, %eax
  xor %edi, %edi
  lea 9b(%rip), %rbx
  jmp agent_syscall
6:
  // In the forked child: its own commands, the first of what the parent has received, come in the place of the parent's.
  mov %r12, %rdi
  mov $0x1000, %esi
  mov $1, %edx  // PROT_READ
  mov $0x11, %r10d  // MAP_SHARED | MAP_FIXED
  xor %r8d, %r8d
  xor %r9d, %r9d
  mov $9, %eax
  lea 7f(%rip), %rbx
  jmp agent_syscall
7:
  cmp %r12, %rax
  jne 9b
  xor %r13d, %r13d
  jmp agent_loop

// The forked agent has made another one, and goes on as the first guest thread; or the agent has made it: wherever it may run, and without the
// key. rbp: its stack.
become_guest:
  xor %edi, %edi
  mov $CMD_CPUS_SIZE, %esi
  lea CMD_CPUS(%r12), %rdx
  mov $203, %eax
  lea 1f(%rip), %rbx
  jmp agent_syscall
1:
  mov %rbp, %rsp
  xor %r9d, %r9d
  xor %ebp, %ebp

// A new guest thread, on its alternate stack.
  .globl thread_entry
thread_entry:
  mov %rsp, %rdi
  and $-16, %rsp
  call thread_main
  hlt

// The same for a thread that a call from the dispatcher has made: it has no frame, and returns from that call as its
// parent does, with what is in its control page. rsp: the top of its slot's dispatcher stack.
  .globl thread_entry_fast
thread_entry_fast:
  movabs $STUB_STACKS, %rax
  lea -8(%rsp), %rbx
  sub %rax, %rbx
  shr $15, %rbx
  shl $12, %rbx
  movabs $(STUB_CTL + 0x1000), %rax
  add %rax, %rbx
  mov %rbx, %rdi
  call thread_main_fast
  mov %rbx, %r11
  mov G(RBP_), %rbp
  mov G(R12_), %r12
  mov G(R13_), %r13
  mov G(R14_), %r14
  mov G(R15_), %r15
  jmp fast_done

// void enter_guest(ucontext*): never returns.
  .globl enter_guest
enter_guest:
  mov %rdi, %rsp
  jmp gate_sigreturn

// ---------------------------------------------------------------- the dispatcher
// Where the trampolines of patched call sites lead (patcher.cc writes them). On entry: r11 = this thread's
// control page, rcx = what the system call instruction would have left there, the address behind it; rax = the
// number; everything else is the guest's, and so is the stack, with its red zone. No signal, no host call.
  .balign 64
  .globl dispatch_plain
dispatch_plain:
  movl $MODE_PLAIN, CTL_MODE(%r11)
  jmp 1f
  .globl dispatch_cmp_4095
dispatch_cmp_4095:
  movl $MODE_CMP_4095, CTL_MODE(%r11)
  jmp 1f
  .globl dispatch_tail
dispatch_tail:
  movl $MODE_TAIL, CTL_MODE(%r11)
  jmp 1f
  .globl dispatch_cmp_4096
dispatch_cmp_4096:
  movl $MODE_CMP_4096, CTL_MODE(%r11)
1:
  mov %rax, G(RAX_)
  mov %rdi, G(RDI_)
  mov %rsi, G(RSI_)
  mov %rdx, G(RDX_)
  mov %r10, G(R10_)
  mov %r8, G(R8_)
  mov %r9, G(R9_)
  mov %rbx, G(RBX_)
  mov %rbp, G(RBP_)
  mov %r12, G(R12_)
  mov %r13, G(R13_)
  mov %r14, G(R14_)
  mov %r15, G(R15_)
  mov %rsp, G(RSP_)
  mov %rcx, G(RIP_)
  mov %rcx, G(RCX_)
  mov %r11, %rbx
  // The stack: the top of this slot's, 8 * (page - STUB_CTL) + STUB_STACKS.
  lea (,%r11,8), %rdi
  movabs $(STUB_STACKS - 8 * STUB_CTL), %rax
  add %rdi, %rax
  mov %rax, %rsp
  mov %r11, %rdi
  call fast_call
fast_done:
  test %eax, %eax
  jnz fast_trap
  mov %rbx, %r11
  // From here to the end a signal handler finishes the way out itself: nothing may be added that on_signal
  // does not do too.
  .globl fast_way_out
fast_way_out:
  cmpl $0, CTL_KICKED(%r11)
  jne fast_kicked
  mov G(RDI_), %rdi
  mov G(RSI_), %rsi
  mov G(RDX_), %rdx
  mov G(R10_), %r10
  mov G(R8_), %r8
  mov G(R9_), %r9
  mov G(RBX_), %rbx
  mov G(RSP_), %rsp
  mov G(RIP_), %rcx
  mov CTL_MODE(%r11), %eax
  test %eax, %eax
  jnz 2f
  mov CTL_FLAGS(%r11), %eax
  add $0x7f, %al
  sahf
  mov G(RAX_), %rax
  mov G(R11_), %r11
  jmp *%rcx
2:
  cmp $MODE_CMP_4096, %eax
  ja 4f
  mov G(RAX_), %rax
  lea CMP_LENGTH(%rcx), %rcx
  je 3f
  cmp $-4095, %rax
  jmp *%rcx
3:
  cmp $-4096, %rax
  jmp *%rcx
4:
  mov CTL_FLAGS(%r11), %eax
  add $0x7f, %al
  sahf
  mov G(RAX_), %rax
  jmp *CTL_TAIL(%r11)
  .globl fast_way_out_end
fast_way_out_end:

fast_kicked:
  mov %rbx, %rdi
  call fast_interrupted
  jmp fast_done

// Into a signal handler: what is to be done about this call needs a frame (ControlPage::reason).
  .globl fast_trap
fast_trap:
  ud2

// A thread whose %gs is not ours calls from a patched site: rax, rcx as above, the control page unknown.
  .globl foreign_plain
foreign_plain:
  ud2
  .globl foreign_cmp_4095
foreign_cmp_4095:
  ud2
  .globl foreign_cmp_4096
foreign_cmp_4096:
  ud2
  .globl foreign_tail  // r11: the tail
foreign_tail:
  ud2

// long gate_return(ControlPage*, ucontext*): rt_sigreturn(2) from the dispatcher. Comes back, with nothing done, if a kick
// has come or comes before the call: on_signal goes on at return_kicked then. Between return_begin and that, and in
// gate_sigreturn up to the call itself, nothing has happened yet.
  .globl gate_return
gate_return:
  mov %rsp, %r8
  cmpl $0, CTL_KICKED(%rdi)
  .globl return_begin
return_begin:
  jne return_kicked
  mov %rsi, %rsp
  jmp gate_sigreturn
  .globl return_kicked
return_kicked:
  mov %r8, %rsp
  ret

// Accesses to guest memory, which may fault: on_signal goes on at try_failed then. All return -1 if so.
  .globl try_begin
try_begin:
// long try_copy(void* to, const void* from, size_t n): 0
  .globl try_copy
try_copy:
  xor %eax, %eax
  cmp $64, %rdx
  ja 2f
  // `rep` takes longer to start than this takes.
1:
  cmp $8, %rdx
  jb 3f
  mov (%rsi), %rcx
  mov %rcx, (%rdi)
  add $8, %rsi
  add $8, %rdi
  sub $8, %rdx
  jmp 1b
2:
  mov %rdx, %rcx
  shr $3, %rcx
  rep movsq
  and $7, %edx
3:
  test %edx, %edx
  jz 5f
4:
  mov (%rsi), %cl
  mov %cl, (%rdi)
  inc %rsi
  inc %rdi
  dec %edx
  jnz 4b
5:
  ret
// long try_string(char* to, const char* from, size_t max): the length with its NUL; max + 1: longer
  .globl try_string
try_string:
  xor %eax, %eax
1:
  cmp %rdx, %rax
  jae 2f
  mov (%rsi, %rax), %cl
  mov %cl, (%rdi, %rax)
  inc %rax
  test %cl, %cl
  jnz 1b
  ret
2:
  inc %rax
  ret
// long try_changed(const uint32_t* word, uint32_t value, uint32_t times): 1 as soon as the word is another
  .globl try_changed
try_changed:
  lock orl $0, -8(%rsp)  // what this thread has written is to be seen before the word is looked at
1:
  cmp %esi, (%rdi)
  jne 2f
  pause
  sub $1, %edx
  jg 1b
  xor %eax, %eax
  ret
2:
  mov $1, %eax
  ret
// long try_xsave(void* area, uint64_t features): 0; as the host's kernel does it for a frame: the header, which XSAVE leaves as it is
// but for its first word, is cleared, and x87 and SSE are always said to be there.
  .globl try_xsave
try_xsave:
  xor %eax, %eax
  mov %rax, 512(%rdi)
  mov %rax, 520(%rdi)
  mov %rax, 528(%rdi)
  mov %rax, 536(%rdi)
  mov %rax, 544(%rdi)
  mov %rax, 552(%rdi)
  mov %rax, 560(%rdi)
  mov %rax, 568(%rdi)
  mov %rsi, %rdx
  shr $32, %rdx
  mov %esi, %eax
  xsave64 (%rdi)
  orq $3, 512(%rdi)
  xor %eax, %eax
  ret
// long try_writable(void* first, void* last): 0 if both bytes can be written; changes neither
  .globl try_writable
try_writable:
  lock orb $0, (%rdi)
  lock orb $0, (%rsi)
  xor %eax, %eax
  ret
  .globl try_failed
try_failed:
  mov $-1, %rax
  ret

// void reset_xstate(uint64_t features): what a program starts with.
  .globl reset_xstate
reset_xstate:
  mov %edi, %eax
  mov %rdi, %rdx
  shr $32, %rdx
  xrstor64 initial_xstate(%rip)
  ret
  .balign 64
initial_xstate:  // nothing in its header; but MXCSR is always loaded
  .zero 24
  .long 0x1f80
  .zero 548

  .globl _start
_start:
  mov %rsp, %rdi
  and $-16, %rsp
  call stub_init
  jmp agent_start  // rax: the key

.section .note.GNU-stack, "", @progbits
