// A platform alone: a few bytes of guest code, and what comes out as events. The same cases run for each
// platform; one that is added to platforms.cc belongs into the list at the end.
#include "sentry/platform/platform.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <string>

#include "base/log.h"
#include "sentry/platform/platforms.h"
#include "sentry/platform/trap/stub_abi.h"

namespace run9::sentry {
namespace {

// A loop that stops may leave a stub half made. In a sandbox such a one dies with its pid namespace; here there is none.
struct NoStubsLeft : testing::Environment {
  void TearDown() override {
    for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
      const int pid = atoi(entry.path().filename().c_str());
      std::ifstream in(entry.path() / "status");
      for (std::string line; pid > 0 && std::getline(in, line);) {
        if (line == "PPid:\t" + std::to_string(getpid())) kill(pid, SIGKILL);
      }
    }
  }
};
[[maybe_unused]] const auto* const no_stubs_left = testing::AddGlobalTestEnvironment(new NoStubsLeft);

constexpr uint64_t kCode = 0x400000, kData = 0x500000;

// Runs `body` on a fiber of a fresh loop, with a platform; events go to `on_event`.
struct Machine : EventSink {
  explicit Machine(std::string n) : name(std::move(n)) {}
  const std::string name;
  std::unique_ptr<EventLoop> loop = EventLoop::create().value();
  std::unique_ptr<Platform> platform;
  std::vector<std::pair<Context*, EventKind>> events;
  Fiber* waiter = nullptr;

  void on_event(Context& c, EventKind k) override {
    events.emplace_back(&c, k);
    if (waiter != nullptr) loop->ready(waiter);
  }
  EventKind next(Context& c) {
    for (;;) {
      for (auto it = events.begin(); it != events.end(); ++it) {
        if (it->first != &c) continue;
        const EventKind k = it->second;
        events.erase(it);
        return k;
      }
      waiter = loop->current();
      loop->park();
      waiter = nullptr;
    }
  }
  void pause(uint64_t ns) {
    Timer over(*loop, [this, self = loop->current()] { loop->ready(self); });
    over.arm(EventLoop::now_ns() + ns);
    loop->park();
  }
  void run(std::function<void(Machine&)> body) {
    auto p = make_platform(name, *loop, *this);
    ASSERT_TRUE(p.has_value()) << describe(p.error());
    platform = std::move(p).value();
    loop->set_platform(platform.get());
    loop->spawn([&] {
      body(*this);
      // A chore that is under way when the loop stops does not come to its end.
      constexpr uint64_t kChoresNs = 60'000'000;
      pause(kChoresNs);
      loop->stop();
    });
    loop->run();
  }
  AddressSpaceRef program(std::initializer_list<unsigned char> code) {
    auto space = platform->create_address_space().value();
    const MapRequest maps[] = {
        {.addr = kCode, .length = 4096, .prot = PROT_READ | PROT_WRITE | PROT_EXEC},
        {.addr = kData, .length = 8192, .prot = PROT_READ | PROT_WRITE}};
    EXPECT_TRUE(space->map_all(nullptr, maps).has_value());
    std::vector<std::byte> bytes;
    for (unsigned char c : code) bytes.push_back(std::byte{c});
    EXPECT_EQ(space->write(kCode, bytes).value(), bytes.size());
    return space;
  }
};

Regs start_regs() {
  Regs r{};
  r.rip = kCode;
  r.rsp = kData + 8192 - 64;
  r.eflags = 0x202;
  return r;
}

class PlatformTest : public testing::TestWithParam<const char*> {};

TEST_P(PlatformTest, ACallComesOutWithItsRegistersAndGetsItsResult) {
  Machine m(GetParam());
  m.run([](Machine& m) {
    // mov $39,%eax; mov $7,%edi; syscall; mov %rax,%rbx; mov $40,%eax; syscall
    auto space = m.program({0xb8, 39, 0, 0, 0, 0xbf, 7, 0, 0, 0, 0x0f, 0x05, 0x48, 0x89, 0xc3, 0xb8, 40,
                            0, 0, 0, 0x0f, 0x05});
    auto c = space->first_thread(start_regs()).value();
    c->resume();
    ASSERT_EQ(m.next(*c), EventKind::kSyscall);
    EXPECT_EQ(c->regs().orig_rax, 39u);
    EXPECT_EQ(c->regs().rdi, 7u);
    EXPECT_EQ(c->regs().rip, kCode + 12);
    c->set_result(1234567);
    c->resume();
    ASSERT_EQ(m.next(*c), EventKind::kSyscall);
    EXPECT_EQ(c->regs().orig_rax, 40u);
    EXPECT_EQ(c->regs().rbx, 1234567u);
  });
}

TEST_P(PlatformTest, AnOrderMapsMemoryBeforeTheGuestGoesOn) {
  Machine m(GetParam());
  m.run([](Machine& m) {
    // mov $1,%eax; syscall; mov $0x600000,%edi; movb $42,(%rdi); mov $2,%eax; syscall
    auto space = m.program({0xb8, 1, 0, 0, 0, 0x0f, 0x05, 0xbf, 0, 0, 0x60, 0, 0xc6, 0x07, 42, 0xb8, 2, 0,
                            0, 0, 0x0f, 0x05});
    auto c = space->first_thread(start_regs()).value();
    c->resume();
    ASSERT_EQ(m.next(*c), EventKind::kSyscall);
    ASSERT_TRUE(space->map(c.get(), {.addr = 0x600000, .length = 4096, .prot = PROT_READ | PROT_WRITE})
                    .has_value());
    c->resume();
    ASSERT_EQ(m.next(*c), EventKind::kSyscall);
    std::byte b{};
    ASSERT_EQ(space->read(0x600000, {&b, 1}).value(), 1u);
    EXPECT_EQ(b, std::byte{42});
  });
}

TEST_P(PlatformTest, AFaultIsReported) {
  Machine m(GetParam());
  m.run([](Machine& m) {
    auto space = m.program({0x31, 0xff, 0x8a, 0x07});  // xor %edi,%edi; mov (%rdi),%al
    auto c = space->first_thread(start_regs()).value();
    c->resume();
    ASSERT_EQ(m.next(*c), EventKind::kFault);
    EXPECT_EQ(c->fault().signo, SIGSEGV);
    EXPECT_EQ(c->fault().addr, 0u);
    EXPECT_EQ(c->regs().rip, kCode + 2);
  });
}

TEST_P(PlatformTest, AKickInterruptsALoop) {
  Machine m(GetParam());
  m.run([](Machine& m) {
    auto space = m.program({0xeb, 0xfe});  // jmp .
    auto c = space->first_thread(start_regs()).value();
    c->resume();
    c->kick();
    ASSERT_EQ(m.next(*c), EventKind::kInterrupted);
    EXPECT_EQ(c->regs().rip, kCode);
  });
}

TEST_P(PlatformTest, AForkedSpaceHasItsOwnMemory) {
  Machine m(GetParam());
  m.run([](Machine& m) {
    // mov $57,%eax; syscall; mov %eax,0x500000; mov $2,%eax; syscall
    auto space = m.program({0xb8, 57, 0, 0, 0, 0x0f, 0x05, 0x89, 0x04, 0x25, 0, 0, 0x50, 0, 0xb8, 2, 0, 0,
                            0, 0x0f, 0x05});
    auto c = space->first_thread(start_regs()).value();
    c->resume();
    ASSERT_EQ(m.next(*c), EventKind::kSyscall);
    Regs r = c->regs();
    r.rax = 0;
    auto child = space->fork(*c, r);
    ASSERT_TRUE(child.has_value());
    child.value().context->resume();
    c->set_result(77);
    c->resume();
    ASSERT_EQ(m.next(*c), EventKind::kSyscall);
    ASSERT_EQ(m.next(*child.value().context), EventKind::kSyscall);
    int32_t in_parent = -1, in_child = -1;
    (void)space->read(kData, std::as_writable_bytes(std::span(&in_parent, 1)));
    (void)child.value().space->read(kData, std::as_writable_bytes(std::span(&in_child, 1)));
    EXPECT_EQ(in_parent, 77);
    EXPECT_EQ(in_child, 0);
    child.value().context.reset();
  });
}

TEST_P(PlatformTest, AThreadSharesMemoryAndGetsItsOwnRegisters) {
  Machine m(GetParam());
  m.run([](Machine& m) {
    // mov $56,%eax; syscall; mov $58,%eax; syscall; mov $3,%eax; syscall
    auto space = m.program({0xb8, 56, 0, 0, 0, 0x0f, 0x05, 0xb8, 58, 0, 0, 0, 0x0f, 0x05, 0xb8, 3, 0, 0, 0,
                            0x0f, 0x05});
    auto c = space->first_thread(start_regs()).value();
    c->resume();
    ASSERT_EQ(m.next(*c), EventKind::kSyscall);
    for (const bool now : {false, true}) {
      Regs r = c->regs();
      r.rbx = 99;
      r.fs_base = kData;
      auto t = space->clone_thread(*c, r, now);
      ASSERT_TRUE(t.has_value());
      t.value()->resume();
      if (!now) {
        c->resume();
        ASSERT_EQ(m.next(*c), EventKind::kSyscall);
      }
      ASSERT_EQ(m.next(*t.value()), EventKind::kSyscall);
      EXPECT_EQ(t.value()->regs().rbx, 99u);
      EXPECT_EQ(t.value()->regs().fs_base, kData);
    }
  });
}

TEST_P(PlatformTest, AKilledStubIsNoticed) {
  Machine m(GetParam());
  m.run([](Machine& m) {
    auto space = m.program({0xeb, 0xfe});
    auto c = space->first_thread(start_regs()).value();
    c->resume();
    kill(space->host_pid(), SIGKILL);
    ASSERT_EQ(m.next(*c), EventKind::kGone);
  });
}

TEST_P(PlatformTest, AFileIsMapped) {
  Machine m(GetParam());
  m.run([](Machine& m) {
    // mov 0x600000,%bl; mov $2,%eax; syscall
    auto space = m.program({0x8a, 0x1c, 0x25, 0, 0, 0x60, 0, 0xb8, 2, 0, 0, 0, 0x0f, 0x05});
    auto file = take_fd(memfd_create("test", MFD_CLOEXEC)).value();
    ASSERT_EQ(ftruncate(file.get(), 4096), 0);
    ASSERT_EQ(pwrite(file.get(), "Z", 1, 0), 1);
    ASSERT_TRUE(space->map(nullptr, {.addr = 0x600000, .length = 4096, .prot = PROT_READ, .shared = true,
                                     .fd = file.borrow()})
                    .has_value());
    auto c = space->first_thread(start_regs()).value();
    c->resume();
    ASSERT_EQ(m.next(*c), EventKind::kSyscall);
    EXPECT_EQ(c->regs().rbx & 0xff, uint64_t{'Z'});
  });
}

TEST_P(PlatformTest, TheExtendedStateGoesRoundAndIsReset) {
  Machine m(GetParam());
  m.run([](Machine& m) {
    // mov $5,%eax; movq %rax,%xmm0; syscall; movq %xmm0,%rbx; mov $2,%eax; syscall; then the same again
    auto space = m.program({0xb8, 5, 0, 0, 0, 0x66, 0x48, 0x0f, 0x6e, 0xc0, 0x0f, 0x05,
                            0x66, 0x48, 0x0f, 0x7e, 0xc3, 0xb8, 2, 0, 0, 0, 0x0f, 0x05,
                            0x66, 0x48, 0x0f, 0x7e, 0xc3, 0xb8, 2, 0, 0, 0, 0x0f, 0x05});
    auto c = space->first_thread(start_regs()).value();
    c->resume();
    ASSERT_EQ(m.next(*c), EventKind::kSyscall);
    constexpr size_t kXmm0 = 160;
    auto state = c->xstate().value();
    EXPECT_EQ(state[kXmm0], std::byte{5});
    state[kXmm0] = std::byte{6};
    ASSERT_TRUE(c->set_xstate(state).has_value());
    c->resume();
    ASSERT_EQ(m.next(*c), EventKind::kSyscall);
    EXPECT_EQ(c->regs().rbx, 6u);
    c->reset_xstate();
    c->resume();
    ASSERT_EQ(m.next(*c), EventKind::kSyscall);
    EXPECT_EQ(c->regs().rbx, 0u);
  });
}

// Writes random words over the control pages for ever, and rings for the first threads. rbx: seed, r8: STUB_CTL, r9: the
// gate to the doorbell.
extern "C" const unsigned char forger_begin[], forger_end[];
asm(R"(
  .section .rodata
forger_begin:
  mov %rbx, %rax; shl $13, %rax; xor %rax, %rbx
  mov %rbx, %rax; shr $7, %rax; xor %rax, %rbx
  mov %rbx, %rax; shl $17, %rax; xor %rax, %rbx
  mov %ebx, %ecx; and $0x3ffc, %ecx
  mov %rbx, %rax; shr $32, %rax
  test $0x70000, %ebx
  jz 1f
  and $0x7ff, %eax
1:
  mov %eax, (%r8, %rcx)
  test $0x780000, %ebx
  jnz forger_begin
  mov %ebx, %ecx; shr $23, %ecx; and $0x1000, %ecx
  movq $0, 0x1010(%r8, %rcx)
  movl $1, 0x100c(%r8, %rcx)
  movl $1, 0x1000(%r8, %rcx)
  lock orq $3, (%r8)
  mov $1, %eax; mov $4, %edi; mov %r8, %rsi; mov $8, %edx
  call *%r9
  jmp forger_begin
forger_end:
  .text
)");

// What a kernel does for a call: reads and writes of the guest's memory by its arguments, and now and then more.
void serve(AddressSpace& space, Context& c, int round) {
  std::byte buffer[4096] = {};
  const Regs r = c.regs();
  const size_t size = r.rdx % sizeof buffer;
  (void)space.read(r.rsi, std::span(buffer, size));
  (void)space.write(r.rdi, std::span(buffer, size));
  (void)space.write(r.rsi, std::span(buffer, size / 2));
  (void)space.read(r.rdi, buffer);
  if (round % 64 == 0) (void)c.xstate();
  if (round % 512 == 1) (void)space.fork(c, r);
  const ContextIdentity me{1, 2, 3, 4, 5, 6, 7};
  c.set_identity(round % 2 ? &me : nullptr);
  c.set_result(0);
}

// Whatever is in the pages, it harms the guest alone. (The sanitizers see what this test does not.)
TEST(TrapPlatformTest, ForgedPagesAreServed) {
  Machine m("trap");
  m.run([](Machine& m) {
    const std::span code(reinterpret_cast<const std::byte*>(forger_begin), static_cast<size_t>(forger_end - forger_begin));
    Regs r = start_regs();
    r.r8 = STUB_CTL;
    r.r9 = GATE_IP(GATE_WAKE) - 2;
    constexpr int kEnough = 4000;
    constexpr uint64_t kPatienceNs = 1'000'000'000;
    int served = 0;
    for (int seed = 1; seed <= 4; ++seed) {
      auto space = m.program({});
      ASSERT_EQ(space->write(kCode, code).value(), code.size());
      r.rbx = static_cast<uint64_t>(seed) * 0x9e3779b97f4a7c15;
      auto c = space->first_thread(r).value();
      c->resume();
      // It goes on for ever, but may well stop itself before.
      const auto end = [&] { ::kill(space->host_pid(), SIGKILL); };
      Timer patience(*m.loop, end);
      for (;; ++served) {
        patience.arm(EventLoop::now_ns() + kPatienceNs);
        if (served == seed * kEnough) end();
        const EventKind kind = m.next(*c);
        if (kind == EventKind::kGone) break;
        c->set_fiber(m.loop->current());
        serve(*space, *c, served);
        c->set_fiber(nullptr);
        if (kind != EventKind::kSyscall) {
          c->regs() = r;
          c->set_regs_changed();
        }
        c->resume();
      }
      patience.disarm();
    }
    EXPECT_GT(served, 100);
  });
}

constexpr MapRequest kElsewhere[] = {{.addr = 0x7000'0000, .length = 4096, .prot = PROT_READ | PROT_WRITE | PROT_EXEC}};
constexpr unsigned char kTwoCalls[] = {0xb8, 7, 0, 0, 0, 0x0f, 0x05, 0xb8, 8, 0, 0, 0, 0x0f, 0x05};  // mov $7,%eax; syscall; mov $8,%eax; syscall

Regs elsewhere() {
  Regs r = start_regs();
  r.rip = kElsewhere->addr;
  return r;
}

// Runs kTwoCalls at kElsewhere, in `c`, which starts there.
void expect_two_calls(Machine& m, AddressSpace& space, Context& c) {
  EXPECT_EQ(space.write(kElsewhere->addr, std::as_bytes(std::span(kTwoCalls))).value(), sizeof kTwoCalls);
  std::byte old[8];
  EXPECT_TRUE(space.read(kData, old).has_error());
  c.resume();
  ASSERT_EQ(m.next(c), EventKind::kSyscall);
  EXPECT_EQ(c.call_regs().orig_rax, 7u);
  c.set_result(0);
  c.resume();
  ASSERT_EQ(m.next(c), EventKind::kSyscall);
  EXPECT_EQ(c.call_regs().orig_rax, 8u);
}

TEST(TrapPlatformTest, AProgramTakesAnothersPlace) {
  Machine m("trap");
  m.run([](Machine& m) {
    auto space = m.program({0xb8, 39, 0, 0, 0, 0x0f, 0x05});
    auto c = space->first_thread(start_regs()).value();
    c->resume();
    ASSERT_EQ(m.next(*c), EventKind::kSyscall);
    ASSERT_TRUE(space->can_start_over(*c));
    ASSERT_TRUE(space->start_over(kElsewhere).has_value());
    c->start_over(elsewhere());
    expect_two_calls(m, *space, *c);
  });
}

TEST(TrapPlatformTest, ANewSpaceMayBeThatOfAProgramThatIsOver) {
  Machine m("trap");
  m.run([](Machine& m) {
    auto space = m.program({0xb8, 60, 0, 0, 0, 0x0f, 0x05});
    auto c = space->first_thread(start_regs()).value();
    c->resume();
    ASSERT_EQ(m.next(*c), EventKind::kSyscall);
    const int pid = space->host_pid();
    space->kill();
    c.reset();
    m.pause(20'000'000);
    auto next = m.platform->create_address_space().value();
    ASSERT_EQ(next->host_pid(), pid);
    std::byte old[1];
    EXPECT_TRUE(space->read(kData, old).has_error());
    ASSERT_TRUE(next->map_all(nullptr, kElsewhere).has_value());
    EXPECT_LT(next->cpu_time_ns(), 1'000'000'000u);
    auto thread = next->first_thread(elsewhere()).value();
    expect_two_calls(m, *next, *thread);
    // It may be left so when the platform ends.
    next->kill();
    thread.reset();
  });
}

INSTANTIATE_TEST_SUITE_P(All, PlatformTest, testing::Values("trap", "ptrace"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace run9::sentry
