// A small assembler for seccomp filters: labels, so that jumps need no counting. Programs are built at
// boot, before anything hostile runs.
#pragma once
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/check.h"

namespace run9::sentry {

class BpfProgram {
 public:
  using Label = size_t;

  Label label() {
    targets_.push_back(kUnset);
    return targets_.size() - 1;
  }
  void bind(Label l) { targets_[l] = code_.size(); }

  void load(uint32_t offset) { emit(BPF_LD | BPF_W | BPF_ABS, offset); }
  void load_nr() { load(offsetof(seccomp_data, nr)); }
  void load_arch() { load(offsetof(seccomp_data, arch)); }
  void load_ip_low() { load(offsetof(seccomp_data, instruction_pointer)); }
  void load_ip_high() { load(offsetof(seccomp_data, instruction_pointer) + 4); }
  void load_arg_low(int n) { load(static_cast<uint32_t>(offsetof(seccomp_data, args) + 8 * n)); }
  void load_arg_high(int n) { load(static_cast<uint32_t>(offsetof(seccomp_data, args) + 8 * n + 4)); }
  void ret(uint32_t action) { emit(BPF_RET | BPF_K, action); }
  void op(uint16_t code, uint32_t k) { emit(code, k); }

  // Jumps when the comparison of A with k does (not) hold; falls through otherwise.
  void jump_if_eq(uint32_t k, Label to) { branch(BPF_JEQ, k, to, true); }
  void jump_if_ne(uint32_t k, Label to) { branch(BPF_JEQ, k, to, false); }
  void jump_if_ge(uint32_t k, Label to) { branch(BPF_JGE, k, to, true); }
  void jump_if_gt(uint32_t k, Label to) { branch(BPF_JGT, k, to, true); }
  void jump_if_any(uint32_t mask, Label to) { branch(BPF_JSET, mask, to, true); }
  void jump_if_none(uint32_t mask, Label to) { branch(BPF_JSET, mask, to, false); }
  void jump(Label to) {
    fixups_.push_back({code_.size(), to});
    emit(BPF_JMP | BPF_JA, 0);
  }

  const std::vector<sock_filter>& finish() {
    for (const auto& f : fixups_) {
      CHECK(targets_[f.label] != kUnset && targets_[f.label] > f.at);
      code_[f.at].k = static_cast<uint32_t>(targets_[f.label] - f.at - 1);
    }
    fixups_.clear();
    return code_;
  }

 private:
  static constexpr size_t kUnset = ~size_t{0};
  struct Fixup {
    size_t at;
    Label label;
  };
  void emit(uint16_t code, uint32_t k) { code_.push_back({code, 0, 0, k}); }
  // A conditional jump reaches 255 instructions only, so it steps over an unconditional one.
  void branch(uint16_t cond, uint32_t k, Label to, bool when) {
    code_.push_back({static_cast<uint16_t>(BPF_JMP | cond | BPF_K), static_cast<uint8_t>(when ? 0 : 1),
                     static_cast<uint8_t>(when ? 1 : 0), k});
    jump(to);
  }

  std::vector<sock_filter> code_;
  std::vector<size_t> targets_;
  std::vector<Fixup> fixups_;
};

}  // namespace run9::sentry
