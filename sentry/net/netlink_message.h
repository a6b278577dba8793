// Building netlink(7) messages: headers, then attributes (NLA), each padded to four bytes.
#pragma once
#include <linux/netlink.h>

#include <cstring>
#include <string>
#include <string_view>

#include "base/bytes.h"

namespace run9::sentry {

class NetlinkWriter {
 public:
  // Starts a message; the one before is complete.
  void begin(uint16_t type, uint16_t flags, const nlmsghdr& asked, uint32_t port) {
    end();
    start_ = out_.size();
    put(nlmsghdr{.nlmsg_len = 0, .nlmsg_type = type, .nlmsg_flags = flags, .nlmsg_seq = asked.nlmsg_seq, .nlmsg_pid = port});
  }
  template <typename T>
  void put(const T& v) {
    raw(bytes_of(v));
  }
  void raw(std::string_view bytes) {
    out_ += bytes;
    out_.resize(NLMSG_ALIGN(out_.size()), '\0');
  }
  void attribute(uint16_t type, std::string_view value) {
    put(nlattr{.nla_len = static_cast<uint16_t>(NLA_HDRLEN + value.size()), .nla_type = type});
    raw(value);
  }
  template <typename T>
  void number(uint16_t type, T v) {
    attribute(type, bytes_of(v));
  }
  void text(uint16_t type, const char* value) { attribute(type, std::string_view(value, std::strlen(value) + 1)); }
  std::string take() {
    end();
    return std::move(out_);
  }

 private:
  void end() {
    if (start_ == out_.size()) return;
    const auto length = static_cast<uint32_t>(out_.size() - start_);
    std::memcpy(out_.data() + start_, &length, sizeof length);
    start_ = out_.size();
  }
  std::string out_;
  size_t start_ = 0;
};

}  // namespace run9::sentry
