// Tty: a terminal, as termios(3) and tty_ioctl(4) describe it: the line discipline between a keyboard
// side (the master) and the programs (the slave). Behaves as n_tty.c and pty.c of Linux do. Owned by its
// open files, by the session it controls and by its node in devpts; the master side is a TtyPeer.
#pragma once
#include <sys/ioctl.h>

#include <array>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>

#include "base/bytes.h"
#include "base/wait_queue.h"
#include "sentry/task/process.h"
#include "vfs/context.h"

namespace run9::sentry {

// struct termios2 of the kernel; the first 36 bytes are struct termios.
struct KernelTermios {
  uint32_t iflag, oflag, cflag, lflag;
  uint8_t line;
  uint8_t cc[19];
  uint32_t ispeed, ospeed;
};
static_assert(sizeof(KernelTermios) == 44);
inline constexpr size_t kTermiosSize = 36;

// The master side. Told from inside calls of the slave; must not block.
class TtyPeer {
 public:
  virtual ~TtyPeer() = default;
  virtual void output_ready() = 0;  // bytes in Tty::take_output, or a packet status
  virtual void input_room() = 0;    // Tty::input takes bytes again
  virtual void tty_ends() {}        // the terminal is being destroyed
};

class Tty final : public std::enable_shared_from_this<Tty> {
 public:
  Tty(Kernel& kernel, int index);
  ~Tty();

  Kernel& kernel() const { return kernel_; }
  int index() const { return index_; }  // N of /dev/pts/N; -1: has no node
  void set_peer(TtyPeer* peer) { peer_ = peer; }
  // A peer that lives as long as the terminal does.
  void own_peer(std::shared_ptr<TtyPeer> peer);
  WaitQueue& queue() { return queue_; }

  // --- the slave's side; `generation` is that of the open file.
  void slave_opened();
  void slave_closed(uint64_t generation);
  uint64_t generation() const { return generation_; }
  struct How {
    uint64_t generation;
    bool nonblocking;
  };
  Result<size_t> read(vfs::OpContext&, How, std::span<std::byte> dst);
  Result<size_t> write(vfs::OpContext&, How, ByteSpan src);
  uint32_t poll(uint64_t generation) const;

  // --- the master's side.
  // Typed bytes: how many were taken, 0 when the buffer is full.
  size_t input(ByteSpan bytes);
  bool has_room() const;
  size_t take_output(std::span<std::byte> dst);
  // What take_output gives next, and forgets when told how much of it went out.
  std::string_view output() const;
  void consume_output(size_t n);
  size_t output_size() const { return out_.size() - out_at_; }
  bool slave_gone() const { return opened_once_ && opens_ == 0; }
  // Packet mode (TIOCPKT): the status byte that comes before data, 0 if there is none.
  void set_packet_mode(bool on);
  bool packet_mode() const { return packet_mode_; }
  uint8_t packet_status() const { return packet_; }
  uint8_t take_packet_status() { return std::exchange(packet_, uint8_t{0}); }
  // The master is gone: SIGHUP to the session, every open slave is dead.
  void master_closed();
  bool locked = false;  // TIOCSPTLCK

  // --- both sides.
  Result<uint64_t> ioctl(vfs::OpContext&, uint32_t request, uint64_t arg, bool from_master);
  void set_window(const winsize& w);
  // Its session has ended: SIGHUP and SIGCONT to the leader and the foreground group, every open slave
  // is dead. A new open works while the master is there.
  void hang_up();

  // --- job control (tty_jobctrl.c).
  SessionRef session();  // the one it controls, or null
  // It was opened: it becomes the controlling terminal of a session leader that has none.
  void maybe_acquire(vfs::OpContext&, uint32_t open_flags);

 private:
  Result<void> check_change(vfs::OpContext&, int sig);
  void signal_foreground(int sig);
  Result<uint64_t> set_termios(vfs::OpContext&, uint64_t arg, size_t size, bool flush);
  Result<uint64_t> set_controlling(vfs::OpContext&, uint64_t arg);
  Result<uint64_t> give_up(vfs::OpContext&);
  Result<uint64_t> set_foreground(vfs::OpContext&, uint64_t arg);
  Result<uint64_t> get_foreground(vfs::OpContext&, uint64_t arg, bool from_master);
  Result<uint64_t> get_session(vfs::OpContext&, uint64_t arg, bool from_master);
  void set_stopped(bool stopped);
  void flush_input();
  void flush_output();
  void add_packet(uint8_t bit);

  // Line discipline: input.
  bool has(uint32_t lflag) const { return (termios_.lflag & lflag) != 0; }
  bool is_cc(size_t which, uint8_t c) const;
  bool canonical() const;
  void receive(uint8_t c);
  bool receive_signal(uint8_t c);
  bool receive_canonical(uint8_t c);
  void append(uint8_t c, uint16_t mark = 0);
  void erase(uint8_t c);
  void erase_one(bool whole_character);
  void echo(uint8_t c);
  void echo_raw(uint8_t c) { put_output(c); }
  unsigned width_before_end() const;
  size_t available() const;  // bytes a read could take now
  bool input_available(bool for_poll) const;
  size_t copy_input(std::span<std::byte> dst, bool& line_done);
  void after_read(bool was_full);
  // Output.
  void put_output(uint8_t c);
  void notify_peer();

  static constexpr uint16_t kLineEnd = 0x100;  // a line ends with this byte
  static constexpr uint16_t kNoByte = 0x200;   // end-of-file: ends a line, is not delivered

  Kernel& kernel_;
  const int index_;
  TtyPeer* peer_ = nullptr;
  std::shared_ptr<TtyPeer> own_peer_;
  KernelTermios termios_;
  winsize window_{};
  std::deque<uint16_t> in_;
  size_t committed_ = 0;  // entries of in_ that canonical reads may see; the rest is being edited
  bool literal_next_ = false;
  std::string out_;  // from out_at_ on
  size_t out_at_ = 0;
  unsigned column_ = 0;        // of the cursor, for tabs
  unsigned line_column_ = 0;   // where the line that is being edited began
  bool flow_stopped_ = false;  // ^S, TCOOFF
  bool packet_mode_ = false;
  uint8_t packet_ = 0;
  bool exclusive_ = false;     // TIOCEXCL
  bool master_gone_ = false;
  bool opened_once_ = false;
  int opens_ = 0;
  uint64_t generation_ = 0;  // hang-ups; an open file of an older one is dead
  std::weak_ptr<Session> session_;
  WaitQueue queue_;  // slaves wait here

 public:
  bool exclusive() const { return exclusive_; }
};

}  // namespace run9::sentry
