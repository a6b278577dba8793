#include "sentry/platform/trap/wide_sites.h"

#include <algorithm>
#include <iterator>

#include "sentry/platform/trap/emitter.h"
#include "sentry/platform/trap/stub_abi.h"

namespace run9::sentry::trap {
namespace {

constexpr size_t kJump = 7;                 // bytes of `jmp *entry`
constexpr size_t kTrapE5 = 2, kTrap06 = 5;  // those of them that trap
constexpr size_t kMostBefore = 24;          // bytes of the instructions before the system call
constexpr size_t kRoomBefore = 26;          // for them in the trampoline
constexpr int32_t kMaxDistance = 1 << 28;   // of what a moved instruction names: patcher.cc's kMaxOffset allows for it
constexpr uint8_t kRegRax = 0, kRegRcx = 1, kRegRsp = 4, kRegR11 = 11;  // as instructions name them

enum class Kind : uint8_t { kPlain, kLea, kLeaRip, kCall, kJump, kBranch };

struct Instruction {
  Kind kind = Kind::kPlain;
  uint8_t length = 0;
  uint8_t code = 0;          // kLeaRip: the destination; kBranch: the condition
  int32_t displacement = 0;  // of kLeaRip and the last three
  bool uses_r11 = false, uses_rax = false;
};

uint32_t load32(const uint8_t* p) {
  uint32_t v;
  memcpy(&v, p, sizeof v);
  return v;
}

int32_t signed32(const uint8_t* p) { return static_cast<int32_t>(load32(p)); }

bool is_rex(uint8_t b) { return (b & 0xf0) == 0x40; }

// The b8 of `mov $nr, %eax` may be the end of another instruction: a register extended by a prefix, or an
// 8-bit displacement that an immediate follows.
bool is_mov_eax(const uint8_t* b8) {
  const auto takes_immediate = [](uint8_t op) { return op == 0xc7 || op == 0x81 || op == 0x69 || op == 0xf7; };
  if (is_rex(b8[-1]) || b8[-1] == 0x66) return false;
  if (takes_immediate(b8[-2]) && (b8[-1] & 0xc0) == 0x40) return false;
  if (takes_immediate(b8[-3]) && (b8[-2] & 0xc7) == 0x44) return false;
  return true;
}

// mov, add, or, and, sub, xor, cmp, test between two registers of the same size.
bool has_two_registers(uint8_t op) {
  switch (op) {
    case 0x89: case 0x8b: case 0x01: case 0x03: case 0x09: case 0x0b: case 0x21: case 0x23: case 0x29: case 0x2b:
    case 0x31: case 0x33: case 0x39: case 0x3b: case 0x85: return true;
    default: return false;
  }
}

std::optional<Instruction> decode_transfer(const uint8_t* p, size_t left) {
  const bool two_bytes = left >= 2 && p[0] == 0x0f;
  const uint8_t op = two_bytes ? p[1] : p[0];
  const size_t opcode = two_bytes ? 2 : 1;
  Instruction i;
  if (two_bytes ? (op & 0xf0) == 0x80 : op == 0xe8 || op == 0xe9) {  // jcc, call, jmp
    if (left < opcode + 4) return {};
    i.displacement = signed32(p + opcode);
    i.length = static_cast<uint8_t>(opcode + 4);
  } else if (!two_bytes && left >= 2 && (op == 0xeb || (op & 0xf0) == 0x70)) {  // jmp, jcc
    i.displacement = static_cast<int8_t>(p[1]);
    i.length = 2;
  } else {
    return {};
  }
  i.kind = op == 0xe8 ? Kind::kCall : op == 0xe9 || op == 0xeb ? Kind::kJump : Kind::kBranch;
  i.code = op & 0xf;
  return i;
}

// `p` is at the ModRM byte of a lea, which is `before` bytes behind its beginning.
std::optional<Instruction> decode_lea(const uint8_t* p, size_t left, size_t before, uint8_t rex) {
  if (left < 2) return {};
  const uint8_t mod = p[0] >> 6, rm = p[0] & 7;
  if (mod == 3 || (mod == 0 && rm == 4)) return {};
  Instruction i;
  i.kind = Kind::kLea;
  i.code = static_cast<uint8_t>((p[0] >> 3 & 7) | (rex & 4) << 1);
  const bool rip = mod == 0 && rm == 5;
  const size_t length = before + 1 + (rm == 4) + (mod == 1 ? 1 : mod == 2 || rip ? 4 : 0);
  if (before + left < length) return {};
  if (rip) {
    if ((rex & 8) == 0 || i.code == kRegRsp) return {};
    i.kind = Kind::kLeaRip;
    i.displacement = signed32(p + 1);
    if (i.displacement >= kMaxDistance || i.displacement <= -kMaxDistance) return {};
  }
  i.length = static_cast<uint8_t>(length);
  return i;
}

std::optional<Instruction> decode(const uint8_t* p, size_t left) {
  if (left == 0) return {};
  if (auto i = decode_transfer(p, left)) return i;
  const uint8_t rex = is_rex(*p) ? *p : 0;
  const size_t at = rex != 0 ? 1 : 0;  // of the opcode
  if (left < at + 2) return {};
  const uint8_t op = p[at], low = op & 7;
  const bool long_form = (rex & 8) != 0;
  Instruction i;
  const auto done = [&](size_t length) -> std::optional<Instruction> {
    if (length > left) return {};
    i.length = static_cast<uint8_t>(length);
    return i;
  };
  const auto uses = [&](uint8_t reg) {
    i.uses_rax = i.uses_rax || reg == kRegRax;
    i.uses_r11 = i.uses_r11 || reg == kRegR11;
  };
  if ((op & 0xf8) == 0xb8 && !long_form) {  // mov $imm32, %reg
    uses(static_cast<uint8_t>(low | (rex & 1) << 3));
    return done(at + 5);
  }
  if (op == 0x3d) {  // cmp $imm32, %eax
    uses(kRegRax);
    return done(at + 5);
  }
  if (op == 0x8d) return decode_lea(p + at + 1, left - at - 1, at + 1, rex);
  const uint8_t modrm = p[at + 1], extension = modrm >> 3 & 7;
  if (modrm < 0xc0) return {};
  uses(static_cast<uint8_t>((modrm & 7) | (rex & 1) << 3));
  if (has_two_registers(op) || (op == 0x63 && long_form)) {  // and movslq
    uses(static_cast<uint8_t>(extension | (rex & 4) << 1));
    return done(at + 2);
  }
  const bool reads_carry = extension == 2 || extension == 3;
  if (op == 0x83 && !reads_carry) return done(at + 3);       // add, or, and, sub, xor, cmp with $imm8
  if (op == 0x81 && !reads_carry) return done(at + 6);       // with $imm32
  if (op == 0xc7 && extension == 0) return done(at + 6);     // mov $imm32, %reg
  if (op == 0xf7 && extension == 3) return done(at + 2);     // neg
  return {};
}

bool ends_site(Kind k) { return k == Kind::kCall || k == Kind::kJump || k == Kind::kBranch; }

// How much room an instruction takes in front of a trampoline's other code.
size_t moved_length(const Instruction& i) { return i.kind == Kind::kLeaRip ? 14 : i.length; }

// The number's move, decoded forwards from its own first byte, leads to the system call at `at`. Opcode and small
// number are what says that an instruction begins there; all others are found from it.
bool leads_to_call(const uint8_t* text, size_t behind_move, size_t start, size_t at) {
  size_t i = behind_move, room = behind_move - start;
  while (i < at) {
    const auto next = decode(text + i, at - i);
    if (!next || ends_site(next->kind)) return false;
    i += next->length;
    room += moved_length(*next);
  }
  return room <= kRoomBefore;
}

std::optional<PatchedSite> find_before(const uint8_t* text, size_t at) {
  for (size_t length = kJump; length <= kMostBefore && length + 3 <= at; ++length) {
    const size_t start = at - length;
    const NumberMove move = number_move(text, start);
    if (move.length == 0 || !leads_to_call(text, start + move.length, start, at)) continue;
    PatchedSite s;
    s.offset = static_cast<uint32_t>(start);
    s.length = s.extent = static_cast<uint8_t>(length + 2);
    s.mode = MODE_PLAIN;
    s.wide = true;
    if (move.length < kJump) s.inner[0] = move.length;
    return s;
  }
  return {};
}

// An instruction ends at text[at], as far as its last bytes can say: `0f 05` may be the upper half of a constant, and
// then these would be its lower half.
bool instruction_ends(const uint8_t* text, size_t at) {
  if (at < 5) return false;
  const uint8_t* p = text + at;
  if (is_rex(p[-3]) && (has_two_registers(p[-2]) || p[-2] == 0x63) && p[-1] >= 0xc0) return true;
  if ((p[-5] & 0xf8) == 0xb8 && p[-2] == 0 && p[-1] == 0) return true;                  // mov $imm32, %reg
  return p[-5] == 0x0f && p[-4] == 0x1f && p[-3] == 0x44 && p[-2] == 0 && p[-1] == 0;  // nopl
}

std::optional<PatchedSite> find_behind(const uint8_t* text, size_t size, size_t at) {
  PatchedSite s;
  s.offset = static_cast<uint32_t>(at);
  s.length = 2;
  s.mode = MODE_TAIL;
  s.wide = true;
  const uint8_t* const behind = text + at + 2;
  const bool compares_errors = size - at >= kJump && behind[0] == 0x3d && load32(behind + 1) >= 0xfffff000;
  if (!compares_errors && !instruction_ends(text, at)) return {};
  size_t i = at + 2;
  for (size_t n = 0; i < at + kJump; ++n) {
    if (i != at + (n == 0 ? kTrapE5 : kTrap06)) return {};
    const auto next = decode(text + i, size - i);
    if (!next || next->uses_r11 || next->kind == Kind::kLea || next->kind == Kind::kLeaRip) return {};
    // The call's result is what is looked at first, or handed on.
    if (n == 0 && !next->uses_rax && next->kind != Kind::kJump) return {};
    s.inner[n] = static_cast<uint8_t>(i - at);
    i += next->length;
    if (!ends_site(next->kind)) continue;
    const int64_t target = static_cast<int64_t>(i) + next->displacement;
    if (target < 0 || target >= static_cast<int64_t>(size)) return {};
    if (i < at + kJump) return {};
  }
  s.extent = static_cast<uint8_t>(i - at);
  return s;
}

// while (1) exit(0), with the number in %edx: `xor %edi, %edi; mov %edx, %eax; syscall; jmp` to the first of them. A prefix and the jump take
// its place. Who comes to the old `syscall` goes on at the move before it, which stands in its way nowhere: the number is in %edx
// all the time. (Who jumps to the move itself comes there, too, by way of `and $0xe5, %al`.)
std::optional<PatchedSite> find_exit_loop(const uint8_t* text, size_t size, size_t at) {
  constexpr uint8_t kLoop[] = {0x31, 0xff, 0x89, 0xd0, 0x0f, 0x05, 0xeb, 0xf8}, kNumber[] = {0xba, 0x3c, 0, 0, 0};  // mov $60, %edx
  constexpr size_t kCall = 4, kNear = 32;
  if (at < kCall || size - at < sizeof kLoop - kCall || memcmp(text + at - kCall, kLoop, sizeof kLoop) != 0) return {};
  const uint8_t* const begin = text + at - kCall;
  const uint8_t* const from = begin - std::min(at - kCall, kNear);
  if (std::search(from, begin, std::begin(kNumber), std::end(kNumber)) == begin) return {};
  PatchedSite s;
  s.offset = static_cast<uint32_t>(at - kCall);
  s.length = kCall + 2;
  s.extent = sizeof kLoop;
  s.mode = MODE_TAIL;
  s.wide = s.loop = true;
  s.inner[0] = kCall;
  s.inner[1] = s.length;
  return s;
}

// %reg = the load address in base_slot + offset; flags stay.
void emit_address(Emitter& e, uint8_t reg, uint64_t base_slot, uint64_t offset) {
  const auto low = static_cast<uint8_t>(reg & 7), high = static_cast<uint8_t>(reg >> 3);
  e.bytes({static_cast<uint8_t>(0x48 | high << 2), 0x8b, static_cast<uint8_t>(0x05 | low << 3)});  // mov (%rip)
  e.relative(base_slot);
  e.bytes({static_cast<uint8_t>(0x48 | high << 2 | high), 0x8d, static_cast<uint8_t>(0x80 | low << 3 | low)});  // lea
  e.word(static_cast<uint32_t>(offset));
}

}  // namespace

NumberMove number_move(const uint8_t* text, size_t at) {
  constexpr uint32_t kMaxNumber = 1024;
  const uint8_t* p = text + at;
  if (at >= 3 && p[0] == 0xb8 && load32(p + 1) < kMaxNumber && is_mov_eax(p)) {
    return {5, static_cast<uint16_t>(load32(p + 1))};
  }
  if (p[0] == 0x48 && p[1] == 0xc7 && p[2] == 0xc0 && load32(p + 3) < kMaxNumber) {
    return {7, static_cast<uint16_t>(load32(p + 3))};
  }
  return {};
}

uint64_t PatchedSite::moved_to(uint64_t distance) const {
  if (distance == 0 || (distance != inner[0] && distance != inner[1])) return 0;
  const uint64_t trampoline = STUB_WIDE + uint64_t{slot} * STUB_WIDE_SIZE;
  if (loop && distance < length) return trampoline + 2;  // the move before it
  return mode == MODE_TAIL ? trampoline + STUB_WIDE_TAIL + distance - length : trampoline + distance;
}

std::optional<PatchedSite> find_wide_site(const uint8_t* text, size_t size, size_t at) {
  if (auto before = find_before(text, at)) return before;
  if (auto loop = find_exit_loop(text, size, at)) return loop;
  return find_behind(text, size, at);
}

namespace {

// The instructions before the call; where one of them begins that can be jumped to, it has not moved.
void emit_before(Emitter& e, const PatchedSite& s, const uint8_t* text, uint64_t base_slot, uint64_t text_offset) {
  const size_t end = s.offset + s.length - 2u;
  for (size_t i = s.offset; i < end;) {
    const auto next = decode(text + i, end - i);
    i += next->length;
    if (next->kind == Kind::kLeaRip) {
      emit_address(e, next->code, base_slot, text_offset + i + static_cast<uint64_t>(int64_t{next->displacement}));
    } else {
      e.copy(text + i - next->length, next->length);
    }
  }
}

// What stood behind the call, and the way back to what follows. r11, which a call loses, is all it needs.
void emit_tail(Emitter& e, const PatchedSite& s, const uint8_t* text, uint64_t base_slot, uint64_t text_offset) {
  constexpr uint8_t kWayLength = 17;
  const auto way_to = [&](uint64_t offset) {
    emit_address(e, kRegR11, base_slot, offset);
    e.bytes({0x41, 0xff, 0xe3});  // jmp *%r11
  };
  const size_t end = s.offset + s.extent;
  const uint64_t file_end = text_offset + end;
  for (size_t i = s.offset + s.length; i < end;) {
    const auto next = decode(text + i, end - i);
    const auto displacement = static_cast<uint64_t>(int64_t{next->displacement});
    switch (next->kind) {
      case Kind::kPlain:
      case Kind::kLea:
      case Kind::kLeaRip: e.copy(text + i, next->length); break;
      case Kind::kJump: return way_to(file_end + displacement);
      case Kind::kCall:
        emit_address(e, kRegR11, base_slot, file_end);
        e.bytes({0x41, 0x53, 0x4d, 0x8d, 0x9b});  // push %r11; lea displacement(%r11), %r11
        e.word(static_cast<uint32_t>(displacement));
        e.bytes({0x41, 0xff, 0xe3});
        return;
      case Kind::kBranch:
        e.bytes({static_cast<uint8_t>(0x70 | next->code), kWayLength});
        way_to(file_end);
        return way_to(file_end + displacement);
    }
    i += next->length;
  }
  way_to(file_end);
}

}  // namespace

void emit_wide_trampoline(uint8_t* at, const PatchedSite& s, const uint8_t* text, uint64_t base_slot,
                          uint64_t text_offset) {
  const uint64_t address = STUB_WIDE + uint64_t{s.slot} * STUB_WIDE_SIZE, tail = address + STUB_WIDE_TAIL;
  const bool has_tail = s.mode == MODE_TAIL;
  const uint64_t behind = text_offset + s.offset + s.length;
  Emitter e(at, address);
  if (!has_tail || s.loop) emit_before(e, s, text, base_slot, text_offset);
  e.bytes({0xf3, 0x49, 0x0f, 0xae, 0xcb});  // rdgsbase %r11
  e.bytes({0x65, 0x48, 0x8b, 0x0c, 0x25});  // mov %gs:CTL_SELF, %rcx
  e.word(CTL_SELF);
  e.bytes({0x48, 0xf7, 0xd1});              // not %rcx
  e.bytes({0x4a, 0x8d, 0x4c, 0x19, 0x01});  // lea 1(%rcx, %r11), %rcx: their difference, and no flag is touched
  e.bytes({0xe3, 2, 0xeb});                 // jrcxz; jmp
  e.bytes({static_cast<uint8_t>(address + STUB_WIDE_SLOW - (e.address() + 1))});
  e.bytes({0x49, 0x89, 0x83});  // mov %rax, CTL_GREG(RAX)(%r11)
  e.word(CTL_GREG(kRax));
  e.bytes({0x9f, 0x0f, 0x90, 0xc0, 0x41, 0x89, 0x83});  // lahf; seto %al; mov %eax, CTL_FLAGS(%r11)
  e.word(CTL_FLAGS);
  e.bytes({0x49, 0x8b, 0x83});  // mov CTL_GREG(RAX)(%r11), %rax
  e.word(CTL_GREG(kRax));
  if (has_tail) {
    e.bytes({0x48, 0x8d, 0x0d});  // lea tail(%rip), %rcx
    e.relative(tail);
    e.bytes({0x49, 0x89, 0x8b});  // mov %rcx, CTL_TAIL(%r11)
    e.word(CTL_TAIL);
  }
  emit_address(e, kRegRcx, base_slot, behind);
  e.bytes({0xe9});
  e.relative(STUB_DISPATCH(uint64_t{s.mode}));

  Emitter slow(at + STUB_WIDE_SLOW, address + STUB_WIDE_SLOW);
  emit_address(slow, kRegRcx, base_slot, behind);
  if (has_tail) {
    slow.bytes({0x4c, 0x8d, 0x1d});  // lea tail(%rip), %r11
    slow.relative(tail);
  }
  slow.bytes({0xe9});
  slow.relative(STUB_FOREIGN(uint64_t{s.mode}));

  Emitter moved(at + STUB_WIDE_TAIL, tail);
  if (has_tail) emit_tail(moved, s, text, base_slot, text_offset);
}

}  // namespace run9::sentry::trap
