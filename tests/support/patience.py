"""How long tests wait until they say that a thing will never happen, and how much memory they grant."""
import os

# Of this build, beside the release build: ctest tells (cmake/run9.cmake).
SLOWNESS = int(os.environ.get("RUN9_SLOWNESS", "1"))


def patience(seconds):
    """`seconds` of a release build on a busy machine, for this build."""
    return seconds * SLOWNESS


def room(size):
    """`size` bytes of a release build's process, for this build: sanitizers have shadows, and keep what was freed."""
    return size * SLOWNESS
