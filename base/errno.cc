#include "base/errno.h"

namespace run9 {

int host_errno() { return errno; }

}  // namespace run9
