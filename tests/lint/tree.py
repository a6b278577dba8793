"""The source tree, as the lint tests see it."""
import pathlib
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
FOLDERS = ["base", "p9", "gofer", "vfs", "sentry", "runtime", "cli", "fuse-bridge", "bench", "tests"]


def sources(*suffixes):
    """Files of the project's folders with one of these suffixes, sorted, relative to ROOT."""
    found = [p for folder in FOLDERS for s in suffixes for p in (ROOT / folder).rglob(f"*{s}")]
    return sorted(p.relative_to(ROOT) for p in found)


def text_files():
    """Every file of the repository that may hold a remark: git's list, or without git the sources."""
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT,
                            capture_output=True, text=True)
    if listed.returncode != 0:
        return sources(".cc", ".h", ".S", ".py", ".sh", ".txt", ".md")
    return sorted(pathlib.Path(line) for line in listed.stdout.splitlines() if (ROOT / line).is_file())
