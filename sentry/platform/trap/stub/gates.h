// What gates.S has, and what it calls.
#pragma once
#include <stddef.h>
#include <ucontext.h>

#include "sentry/platform/trap/stub_abi.h"

#pragma GCC visibility push(hidden)
extern "C" {
long gate_futex(long nr, ...);
long gate_wake(long nr, ...);
long gate_order(long nr, ...);
long gate_init(long nr, ...);
long gate_guest_futex(run9::sentry::trap::ControlPage* c, const uint64_t* args);
void gate_sigreturn();
void gate_return(run9::sentry::trap::ControlPage* c, ucontext_t* uc);
void thread_entry();
void thread_entry_fast();
[[noreturn]] void enter_guest(ucontext_t*);
uint64_t stub_init(const uint64_t* stack);
[[noreturn]] void thread_main(uint64_t sp);
uint32_t thread_main_fast(run9::sentry::trap::ControlPage* c);
uint32_t fast_call(run9::sentry::trap::ControlPage* c);
uint32_t fast_interrupted(run9::sentry::trap::ControlPage* c);
long try_copy(void* to, const void* from, size_t n);
long try_string(char* to, const char* from, size_t max);
long try_writable(void* first, void* last);
long try_xsave(void* area, uint64_t features);
void reset_xstate(uint64_t features);
long try_changed(const uint32_t* word, uint32_t value, uint32_t times);
extern const char guest_futex_begin[], guest_futex_call[], guest_futex_end[], dispatch_plain[];
extern const char try_begin[], try_failed[], fast_way_out[], fast_way_out_end[], fast_trap[];
extern const char return_begin[], return_kicked[];
extern const char foreign_plain[], foreign_cmp_4095[], foreign_cmp_4096[], foreign_tail[];
}
#pragma GCC visibility pop
