// One protobuf message, and the descriptors that ride along, over a SOCK_SEQPACKET socket.
#pragma once
#include <google/protobuf/message_lite.h>

#include <optional>
#include <span>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"

namespace run9::control {

enum class Blocking { kNo, kYes };

inline constexpr size_t kMaxDescriptors = 64;
// Exec.stdio_slots: from here on they count ProcessSpec::extra.
inline constexpr uint32_t kFirstExtraSlot = 16;
inline constexpr size_t kMaxMessage = 4 << 20;

// EMSGSIZE: more than the socket's buffer takes. EAGAIN (kNo): the peer does not read.
Result<void> send_message(BorrowedFd socket, const google::protobuf::MessageLite& message,
                          std::span<const int> descriptors, Blocking blocking);

// false: the peer has closed. EPROTO: not a message of this type; EMSGSIZE: too long.
// Descriptors beyond kMaxDescriptors are closed; `descriptors` null refuses them all.
Result<bool> receive_message(BorrowedFd socket, google::protobuf::MessageLite& message,
                             std::vector<UniqueFd>* descriptors, Blocking blocking);

}  // namespace run9::control
