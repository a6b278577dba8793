"""How long tests wait until they say that a thing will never happen."""
import os

# Of this build, beside the release build: ctest tells (cmake/run9.cmake).
SLOWNESS = int(os.environ.get("RUN9_SLOWNESS", "1"))


def patience(seconds):
    """`seconds` of a release build on a busy machine, for this build."""
    return seconds * SLOWNESS
