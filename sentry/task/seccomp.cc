#include "sentry/task/seccomp.h"

#include <array>
#include <cstring>
#include <optional>

namespace run9::sentry {
namespace {

constexpr size_t kMaxChain = 32768;  // MAX_INSNS_PER_PATH
constexpr size_t kFilterCost = 4;    // each filter counts as some instructions more
constexpr size_t kWords = BPF_MEMWORDS;

bool is_alu(uint16_t code) {
  switch (BPF_OP(code)) {
    case BPF_ADD: case BPF_SUB: case BPF_MUL: case BPF_DIV: case BPF_AND: case BPF_OR: case BPF_XOR:
    case BPF_LSH: case BPF_RSH: return true;
    case BPF_NEG: return BPF_SRC(code) == BPF_K;
    default: return false;
  }
}

// seccomp_check_filter() and bpf_check_classic(): one instruction, `left` others behind it.
bool is_valid(const sock_filter& i, size_t left) {
  switch (BPF_CLASS(i.code)) {
    case BPF_LD:
      if (i.code == (BPF_LD | BPF_W | BPF_ABS)) return i.k % 4 == 0 && i.k < sizeof(seccomp_data);
      if (i.code == (BPF_LD | BPF_MEM)) return i.k < kWords;
      return i.code == (BPF_LD | BPF_W | BPF_LEN) || i.code == (BPF_LD | BPF_IMM);
    case BPF_LDX:
      if (i.code == (BPF_LDX | BPF_MEM)) return i.k < kWords;
      return i.code == (BPF_LDX | BPF_W | BPF_LEN) || i.code == (BPF_LDX | BPF_IMM);
    case BPF_ST:
    case BPF_STX: return (i.code == BPF_ST || i.code == BPF_STX) && i.k < kWords;
    case BPF_ALU:
      if ((i.code & ~0xff) != 0 || !is_alu(i.code)) return false;
      if (i.code == (BPF_ALU | BPF_DIV | BPF_K)) return i.k != 0;
      if (i.code == (BPF_ALU | BPF_LSH | BPF_K) || i.code == (BPF_ALU | BPF_RSH | BPF_K)) return i.k < 32;
      return true;
    case BPF_JMP:
      if (i.code == (BPF_JMP | BPF_JA)) return i.k < left;
      switch (i.code & ~BPF_X) {
        case BPF_JMP | BPF_JEQ: case BPF_JMP | BPF_JGT: case BPF_JMP | BPF_JGE: case BPF_JMP | BPF_JSET:
          return i.jt < left && i.jf < left;
        default: return false;
      }
    case BPF_RET: return i.code == (BPF_RET | BPF_K) || i.code == (BPF_RET | BPF_A);
    default: return i.code == (BPF_MISC | BPF_TAX) || i.code == (BPF_MISC | BPF_TXA);
  }
}

// check_load_and_stores(): no word of scratch memory is read before it was written, on any path.
bool loads_what_was_stored(const std::vector<sock_filter>& code) {
  std::vector<uint16_t> stored(code.size(), 0xffff);  // words written on every path to here
  uint16_t now = 0;
  for (size_t pc = 0; pc < code.size(); ++pc) {
    now &= stored[pc];
    const sock_filter& i = code[pc];
    const auto reaches = [&](size_t target) { stored[target] &= now; };
    if (i.code == BPF_ST || i.code == BPF_STX) {
      now = static_cast<uint16_t>(now | 1 << i.k);
    } else if (i.code == (BPF_LD | BPF_MEM) || i.code == (BPF_LDX | BPF_MEM)) {
      if ((now & 1 << i.k) == 0) return false;
    } else if (i.code == (BPF_JMP | BPF_JA)) {
      reaches(pc + 1 + i.k);
      now = 0xffff;
    } else if (BPF_CLASS(i.code) == BPF_JMP) {
      reaches(pc + 1 + i.jt);
      reaches(pc + 1 + i.jf);
      now = 0xffff;
    }
  }
  return true;
}

// One program on one call.
class Machine {
 public:
  explicit Machine(const seccomp_data& call) { std::memcpy(data_.data(), &call, sizeof call); }
  uint32_t run(const std::vector<sock_filter>& code) {
    for (size_t pc = 0;; ++pc) {
      const sock_filter& i = code[pc];
      switch (BPF_CLASS(i.code)) {
        case BPF_RET: return BPF_RVAL(i.code) == BPF_A ? a_ : i.k;
        case BPF_LD: a_ = load(i); break;
        case BPF_LDX: x_ = load(i); break;
        case BPF_ST: memory_[i.k] = a_; break;
        case BPF_STX: memory_[i.k] = x_; break;
        case BPF_ALU:
          if (!compute(i)) return 0;  // division by zero ends the program
          break;
        case BPF_JMP: pc += BPF_OP(i.code) == BPF_JA ? i.k : test(i) ? i.jt : i.jf; break;
        default: (BPF_MISCOP(i.code) == BPF_TAX ? x_ : a_) = BPF_MISCOP(i.code) == BPF_TAX ? a_ : x_; break;
      }
    }
  }

 private:
  uint32_t load(const sock_filter& i) const {
    switch (BPF_MODE(i.code)) {
      case BPF_ABS: return data_[i.k / 4];
      case BPF_MEM: return memory_[i.k];
      case BPF_LEN: return sizeof(seccomp_data);
      default: return i.k;
    }
  }
  bool compute(const sock_filter& i) {
    const uint32_t v = BPF_SRC(i.code) == BPF_X ? x_ : i.k;
    switch (BPF_OP(i.code)) {
      case BPF_ADD: a_ += v; break;
      case BPF_SUB: a_ -= v; break;
      case BPF_MUL: a_ *= v; break;
      case BPF_DIV:
        if (v == 0) return false;
        a_ /= v;
        break;
      case BPF_AND: a_ &= v; break;
      case BPF_OR: a_ |= v; break;
      case BPF_XOR: a_ ^= v; break;
      case BPF_LSH: a_ <<= v & 31; break;
      case BPF_RSH: a_ >>= v & 31; break;
      default: a_ = -a_; break;
    }
    return true;
  }
  bool test(const sock_filter& i) const {
    const uint32_t v = BPF_SRC(i.code) == BPF_X ? x_ : i.k;
    switch (BPF_OP(i.code)) {
      case BPF_JEQ: return a_ == v;
      case BPF_JGT: return a_ > v;
      case BPF_JGE: return a_ >= v;
      default: return (a_ & v) != 0;
    }
  }

  uint32_t a_ = 0, x_ = 0;
  std::array<uint32_t, kWords> memory_{};
  std::array<uint32_t, sizeof(seccomp_data) / 4> data_;
};

}  // namespace

// A chain is as long as its guest likes: it is not freed by recursion.
SeccompFilter::~SeccompFilter() {
  SeccompFilterRef next = std::move(before);
  while (next && next.use_count() == 1) {
    SeccompFilterRef after = next->before;
    const_cast<SeccompFilter&>(*next).before.reset();
    next = std::move(after);
  }
}

Result<SeccompFilterRef> make_seccomp_filter(std::vector<sock_filter> code, SeccompFilterRef before) {
  if (code.empty() || code.size() > BPF_MAXINSNS) return Errno{EINVAL};
  for (size_t pc = 0; pc < code.size(); ++pc) {
    if (!is_valid(code[pc], code.size() - pc - 1)) return Errno{EINVAL};
  }
  if (BPF_CLASS(code.back().code) != BPF_RET || !loads_what_was_stored(code)) return Errno{EINVAL};
  auto f = std::make_shared<SeccompFilter>();
  f->chain_length = code.size() + (before ? before->chain_length + kFilterCost : 0);
  f->chain_count = 1 + (before ? before->chain_count : 0);
  if (f->chain_length > kMaxChain) return Errno{ENOMEM};
  f->code = std::move(code);
  f->before = std::move(before);
  return SeccompFilterRef(std::move(f));
}

uint32_t run_seccomp(const SeccompFilter& chain, const seccomp_data& call) {
  const auto strictness = [](uint32_t r) { return static_cast<int32_t>(r & SECCOMP_RET_ACTION_FULL); };
  uint32_t verdict = SECCOMP_RET_ALLOW;
  for (const SeccompFilter* f = &chain; f != nullptr; f = f->before.get()) {
    const uint32_t r = Machine(call).run(f->code);
    if (strictness(r) < strictness(verdict)) verdict = r;
  }
  return verdict;
}

bool is_ancestor(const SeccompFilter* older, const SeccompFilter* chain) {
  if (older == nullptr) return true;
  for (; chain != nullptr; chain = chain->before.get()) {
    if (chain == older) return true;
  }
  return false;
}

}  // namespace run9::sentry
