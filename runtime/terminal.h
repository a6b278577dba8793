// Terminals of the host: raw mode, window sizes, pseudo-terminals for --console-socket.
#pragma once
#include <termios.h>

#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "base/unique_fd.h"
#include "runtime/failure.h"

namespace run9::runtime {

// The caller's terminal in raw mode (the guest's own line discipline does the rest) as long as it lives.
class RawTerminal {
 public:
  RawTerminal() = default;
  static RawTerminal enter(BorrowedFd terminal);  // does nothing for what is no terminal
  RawTerminal(RawTerminal&& o) noexcept : fd_(o.fd_), saved_(std::exchange(o.saved_, {})) {}
  RawTerminal& operator=(RawTerminal&& o) noexcept;
  ~RawTerminal() { leave(); }
  void leave();

 private:
  BorrowedFd fd_;
  std::optional<termios> saved_;
};

struct WindowSize {
  uint16_t rows = 0, columns = 0;
};
WindowSize window_size(BorrowedFd terminal);

// Makes a pseudo-terminal, sends its master over the unix socket at `path` (as runc and containerd
// agree on), and gives the slave, in raw mode.
Expected<UniqueFd> open_console(const std::string& path, WindowSize size);

}  // namespace run9::runtime
