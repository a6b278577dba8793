// A guest that means harm. The test beside it (hostile_test.py) runs its attacks in a sandbox and looks at what became
// of the others.
//
// usage: hostile_guest ATTACK [SEED] | --list; for an attack: --nothing, --leave (threads, and ends), --rings, --files (are there any?)
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "tests/hostile/attack.h"

namespace hostile {
extern uint64_t g_dice;
constexpr int kLongestMs = 20'000;
}  // namespace hostile

int main(int argc, char** argv) {
  using namespace hostile;
  if (argc == 2 && strcmp(argv[1], "--nothing") == 0) return 0;
  if (argc == 2 && strcmp(argv[1], "--rings") == 0) return rings_here();
  if (argc == 2 && strcmp(argv[1], "--files") == 0) return readable_here();
  if (argc == 2 && strcmp(argv[1], "--leave") == 0) {
    leave_threads();
    return 0;
  }
  const bool list = argc == 2 && strcmp(argv[1], "--list") == 0;
  if (argc > 2) g_dice = strtoull(argv[2], nullptr, 10) * 0x9e3779b97f4a7c15 + 1;
  for (const Attack* attacks : {entry_attacks, stub_code_attacks, stub_memory_attacks, control_page_attacks,
                                identity_attacks, patch_attacks, fault_attacks, pipe_attacks, file_attacks, own_file_attacks, own_memory_attacks, lock_attacks}) {
    for (; attacks->name != nullptr; ++attacks) {
      if (list) puts(attacks->name);
      if (list || argc < 2 || strcmp(argv[1], attacks->name) != 0) continue;
      if (!in_child(attacks->run, kLongestMs)) broken("the attack did not come to its end");
      kill(-1, SIGKILL);  // what the attack left: all that this user may end
      while (waitpid(-1, nullptr, 0) > 0) {
      }
      return 0;
    }
  }
  return list ? 0 : 2;
}
