// What the container's descriptors 0..2 are: ours as they are, or, where ours are a real terminal and we
// stay to relay, the far ends of pipes and sockets.
#pragma once
#include <string>
#include <vector>

#include "runtime/failure.h"
#include "runtime/relay.h"
#include "runtime/terminal.h"

namespace run9::runtime {

struct StdioRequest {
  bool terminal = false;       // the guest gets a terminal of its own
  std::string console_socket;  // its host end goes there
  bool foreground = true;      // we stay, so we can relay
  WindowSize size;             // 0: ours
  bool separate_errors = false;  // with a terminal: standard error stays ours if it is no terminal
};

struct Stdio {
  // As ProcessSpec::stdio: without a terminal, 0..2. With one, [0] is the terminal's host end, and
  // [1 + n], if valid, is the guest's descriptor n instead of the terminal (n = 2 alone).
  std::vector<UniqueFd> guest;
  std::vector<Relay> relays;
  RawTerminal raw;
  WindowSize size;
  UniqueFd console;  // with a console socket: the slave once more, for window_watcher.h
};

Expected<Stdio> make_stdio(const StdioRequest& request);
// Standard input and output are terminals: what `do` asks before it asks for a terminal.
bool on_terminal();
// Copies of 3, 4, ..., which the container gets as these numbers.
Expected<std::vector<UniqueFd>> preserved_descriptors(int count);

}  // namespace run9::runtime
