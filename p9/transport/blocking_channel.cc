#include "p9/transport/blocking_channel.h"

#include "p9/transport/socket_io.h"

namespace run9::p9 {

Result<Reply> BlockingChannel::round_trip(std::vector<std::byte> frame, Tag tag) {
  TRY(send_with_fd(socket_.borrow(), frame, BorrowedFd{}));
  for (;;) {
    if (auto in = TRY(demux_.next())) {
      if (in->tag != tag) return Errno{EPROTO};  // nobody else is asking
      return Reply{std::move(in->frame), std::move(in->fd)};
    }
    Received got = TRY(receive_with_fd(socket_.borrow(), demux_.space(), 0));
    if (got.bytes == 0) return Errno{ECONNRESET};
    TRY(demux_.commit(got.bytes, std::move(got.fd)));
  }
}

}  // namespace run9::p9
