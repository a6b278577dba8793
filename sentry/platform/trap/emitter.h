// Emitter: writes machine code that will run at `address`.
#pragma once
#include <cstdint>
#include <cstring>
#include <initializer_list>

namespace run9::sentry::trap {

class Emitter {
 public:
  Emitter(uint8_t* at, uint64_t address) : at_(at), address_(address) {}
  void bytes(std::initializer_list<uint8_t> list) { copy(list.begin(), list.size()); }
  void copy(const uint8_t* from, size_t n) {
    memcpy(at_, from, n);
    at_ += n, address_ += n;
  }
  void word(uint32_t v) {
    memcpy(at_, &v, sizeof v);
    at_ += 4, address_ += 4;
  }
  uint64_t address() const { return address_; }
  // A displacement that ends the instruction, to an absolute address.
  void relative(uint64_t target) { word(static_cast<uint32_t>(target - (address_ + 4))); }

 private:
  uint8_t* at_;
  uint64_t address_;
};

}  // namespace run9::sentry::trap
