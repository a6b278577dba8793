#include "gofer/text_file.h"

#include <fcntl.h>
#include <unistd.h>

#include "base/unique_fd.h"

namespace run9::gofer {

Result<std::string> read_text_file(const std::string& path) {
  constexpr size_t kMost = 16 << 20;
  const UniqueFd fd = TRY(take_fd(open(path.c_str(), O_RDONLY | O_CLOEXEC)));
  std::string text;
  char block[16384];
  for (;;) {
    const ssize_t n = read(fd.get(), block, sizeof block);
    if (n == 0) return text;
    if (n < 0) return last_errno();
    text.append(block, static_cast<size_t>(n));
    if (text.size() > kMost) return Errno{EFBIG};
  }
}

}  // namespace run9::gofer
