#!/usr/bin/env python3
"""Programs of this machine that bring a runtime of their own (node, java, go), under `run9 do`, each doing some work.

usage: runtimes_test.py BIN_DIR
"""
import os
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
from sandbox import fail_if, skip

# Workers, a child process, timers and files.
NODE = r"""
const {Worker, isMainThread, parentPort} = require('worker_threads');
if (!isMainThread) {
  parentPort.postMessage(6 * 7);
} else {
  const fs = require('fs');
  fs.writeFileSync('/tmp/node.txt', require('child_process').execSync('echo from a shell'));
  new Worker(__filename).on('message', n => setTimeout(() => console.log(n, fs.readFileSync('/tmp/node.txt', 'utf8')), 5));
}
"""

GO = r"""
package main

import ("fmt"; "os/exec"; "sync"; "time")

func main() {
	var wait sync.WaitGroup
	results := make(chan int, 100)
	for i := 0; i < 100; i++ {
		wait.Add(1)
		go func(i int) { defer wait.Done(); time.Sleep(time.Millisecond); results <- i }(i)
	}
	wait.Wait()
	close(results)
	sum := 0
	for n := range results { sum += n }
	out, err := exec.Command("echo", "from", "a", "child").Output()
	fmt.Print(sum, " ", string(out), err, "\n")
}
"""

JAVA = r"""
import java.util.concurrent.*;
import java.util.stream.*;

public class Work {
  public static void main(String[] a) throws Exception {
    var pool = Executors.newFixedThreadPool(4);
    var parts = IntStream.range(0, 100).mapToObj(i -> pool.submit(() -> i)).toList();
    int sum = 0;
    for (var p : parts) sum += p.get();
    pool.shutdown();
    var child = new ProcessBuilder("echo", "from a child").start();
    System.out.println(sum + " " + new String(child.getInputStream().readAllBytes()).trim());
  }
}
"""


class Machine:
    def __init__(self, bin_dir, platform, folder):
        self.command = [os.path.join(bin_dir, "run9"), "--platform", platform, "do", "--expose", folder, "--cwd", folder, "--"]
        self.platform = platform
        self.problems = []

    def expect(self, what, wanted, *command):
        run = subprocess.run(self.command + list(command), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=100)
        if run.returncode != 0 or wanted not in run.stdout + run.stderr:
            self.problems.append(f"{self.platform}: {what}: status {run.returncode}, wanted {wanted!r}, got "
                                 f"{(run.stdout + run.stderr)[-600:]!r}")


def write(folder, name, text):
    with open(os.path.join(folder, name), "w") as f:
        f.write(text)


def build_go(folder):
    go = shutil.which("go") or "/usr/local/go/bin/go"
    if not os.access(go, os.X_OK):
        return False
    write(folder, "work.go", GO)
    env = {**os.environ, "GO111MODULE": "off", "GOCACHE": os.path.join(folder, "cache"), "CGO_ENABLED": "0"}
    subprocess.run([go, "build", "-o", "gowork", "work.go"], cwd=folder, env=env, check=True)
    return True


def compile_java(folder):
    if not shutil.which("javac"):
        return False
    write(folder, "Work.java", JAVA)
    subprocess.run(["javac", "Work.java"], cwd=folder, check=True)
    return True


def main(bin_dir):
    missing = [name for name in ("node", "java") if not shutil.which(name)]
    with tempfile.TemporaryDirectory(prefix="run9-runtimes-") as folder:
        os.chmod(folder, 0o755)
        write(folder, "work.js", NODE)
        go, javac = build_go(folder), compile_java(folder)
        if not go:
            missing.append("go")
        if len(missing) == 3:
            skip("neither node, java nor go is on this machine")
        problems = []
        for platform in ("trap", "ptrace"):
            m = Machine(bin_dir, platform, folder)
            if "node" not in missing:
                m.expect("node -e", "42", "node", "-e", "console.log(6 * 7)")
                m.expect("node", "42 from a shell", "node", "work.js")
            if "java" not in missing:
                m.expect("java -version", "version", "java", "-version")
            if javac:
                m.expect("java", "4950 from a child", "java", "-cp", ".", "Work")
            if go:
                m.expect("go", "4950 from a child\n<nil>", "./gowork")
            problems += m.problems
    if missing:
        print("not on this machine:", ", ".join(missing))
    fail_if(problems)


if __name__ == "__main__":
    main(sys.argv[1])
