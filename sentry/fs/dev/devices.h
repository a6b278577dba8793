// The character devices of /dev: null, zero, full, random, urandom, tty, console, ptmx.
#pragma once
#include "vfs/file.h"

namespace run9::sentry {

class Kernel;

// Makes open(2) of their nodes work, wherever they are.
void register_devices(Kernel& kernel);
// /dev/null: a write never looks at the bytes, so that they may well be nowhere.
bool discards_writes(const vfs::File& file);

}  // namespace run9::sentry
