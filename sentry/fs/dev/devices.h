// The character devices of /dev: null, zero, full, random, urandom, tty, console, ptmx.
#pragma once

namespace run9::sentry {

class Kernel;

// Makes open(2) of their nodes work, wherever they are.
void register_devices(Kernel& kernel);

}  // namespace run9::sentry
