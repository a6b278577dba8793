#!/bin/bash
# The life cycle of containers whose root is the machine's own: states, statuses, signals, files, and that
# nothing is left. usage: lifecycle_test.sh DIRECTORY-OF-PROGRAMS
set -u
bin=$1
work=$(mktemp -d /tmp/run9-lifecycle-XXXXXX)
chmod 755 "$work"
slowness=${RUN9_SLOWNESS:-1}  # of this build (cmake/run9.cmake)
run9() { timeout $((20 * slowness)) "$bin/run9" --root "$work/state" "$@"; }
failed=0
trap 'rm -rf "$work"' EXIT

fail() {
  echo "FAIL line ${BASH_LINENO[1]}: $*" >&2
  failed=1
}
expect() {  # expect WANTED GOT
  [[ $2 == "$1" ]] || fail "wanted '$1', got '$2'"
}
expect_match() {
  [[ $2 =~ $1 ]] || fail "wanted something like '$1', got '$2'"
}
wait_for() {  # until the command succeeds
  local i
  for ((i = 0; i < 200 * slowness; ++i)); do
    "$@" && return
    sleep 0.02
  done
  fail "never: $*"
}

# bundle NAME PROGRAM-AS-JSON [MORE-JSON]
bundle() {
  mkdir -p "$work/$1"
  cat >"$work/$1/config.json" <<JSON
{"ociVersion": "1.0.2", "process": {"args": $2, "env": ["PATH=/usr/bin:/bin"], "cwd": "/", "user": {"uid": 0, "gid": 0}},
 "root": {"path": "/", "readonly": true},
 "mounts": [{"destination": "/proc", "type": "proc"}, {"destination": "/tmp", "type": "tmpfs"}], "annotations": {"a": "b"} ${3:-}}
JSON
}
status_of() { run9 state "$1" | sed 's/.*"status":"\([a-z]*\)".*/\1/'; }
pid_of() { run9 state "$1" | sed 's/.*"pid":\([0-9]*\).*/\1/'; }
alive() { [[ -e /proc/$1 && $(awk '{print $3}' "/proc/$1/stat" 2>/dev/null) != Z ]]; }
gone() { [[ -n $1 ]] && ! alive "$1"; }

# run: statuses and streams.
bundle exit7 '["sh", "-c", "exit 7"]'
run9 run -b "$work/exit7" a
expect 7 $?
bundle echo '["echo", "hello"]'
expect hello "$(run9 run -b "$work/echo" a)"
bundle cat '["cat"]'
expect "some input" "$(echo "some input" | run9 run -b "$work/cat" a)"
bundle missing '["missing"]'
expect 'run9: process.args[0] "missing": not found in the container'"'"'s PATH' "$(run9 run -b "$work/missing" a 2>&1)"
bundle crash '["sh", "-c", "sh -c \"kill -SEGV \\$\\$\"; exit $?"]'
run9 run -b "$work/crash" a
expect 139 $?
expect "" "$(ls "$work/state")"

# create, start, kill, delete.
bundle sleep '["sleep", "100"]' ', "hooks": {"prestart": [{"path": "/bin/sh", "args": ["sh", "-c", "cat >prestart"]}],
  "poststop": [{"path": "/bin/sh", "args": ["sh", "-c", "cat >poststop"]}]}'
run9 create -b "$work/sleep" --pid-file "$work/pid" c </dev/null >/dev/null 2>&1
expect 0 $?
expect created "$(status_of c)"
pid=$(cat "$work/pid")
expect "$pid" "$(pid_of c)"
expect_match "^run9-sentry c" "$(tr '\0' ' ' <"/proc/$pid/cmdline")"
expect "" "$(tr -d '\0' <"/proc/$pid/environ")"
# What the Sentry's process is on the host.
expect_match "NoNewPrivs:.1" "$(cat "/proc/$pid/status")"
expect_match "Seccomp:.2" "$(cat "/proc/$pid/status")"
expect_match "CapBnd:.0000000000000000" "$(cat "/proc/$pid/status")"
expect "" "$(ls "/proc/$pid/root/")"
expect_match '"id":"c"' "$(cat "$work/sleep/prestart")"
expect_match "exists already" "$(run9 create -b "$work/sleep" c 2>&1)"
expect_match "is created; kill it first" "$(run9 delete c 2>&1)"
expect_match "exec needs a running one" "$(run9 exec c echo x 2>&1)"
run9 start c
expect 0 $?
expect running "$(status_of c)"
expect_match "only a created container" "$(run9 start c 2>&1)"
expect_match "c +$pid +running" "$(run9 list)"
expect c "$(run9 list -q)"
expect_match '"a":"b"' "$(run9 list -f json)"
expect "[1]" "$(run9 ps -f json c)"
expect_match "sleep" "$(run9 ps c)"

# exec.
expect "from exec" "$(run9 exec c echo "from exec")"
run9 exec --user 5:6 -e A=b --cwd /tmp c sh -c 'test "$(id -u):$(id -g):$A:$PWD" = 5:6:b:/tmp && exit 3'
expect 3 $?
expect_match 'exec: process.args.0. "missing": not found in the container' "$(run9 exec c missing 2>&1)"
run9 exec -d --pid-file "$work/exec-pid" c sleep 50 </dev/null >/dev/null 2>&1
expect 0 $?
alive "$(cat "$work/exec-pid")" || fail "nobody stands for the detached exec"
"$bin/run9" --root "$work/state" exec --pid-file "$work/cli-pid" c sleep 50 &
cli=$!
wait_for test -s "$work/cli-pid"
sleep 0.2
kill -TERM $cli
wait $cli
expect 143 $?

# kill and delete.
expect_match "is no signal" "$(run9 kill c NOPE 2>&1)"
run9 kill c 0
expect 0 $?
run9 kill c TERM
expect 0 $?
wait_for gone "$pid"
expect stopped "$(status_of c)"
expect_match "container not running" "$(run9 kill c 2>&1)"
run9 delete c
expect 0 $?
expect_match '"status":"stopped"' "$(cat "$work/sleep/poststop")"
wait_for gone "$(cat "$work/exec-pid")"
expect_match "does not exist" "$(run9 state c 2>&1)"
run9 delete --force c
expect 0 $?

# A created container that is never started.
run9 create -b "$work/sleep" --pid-file "$work/pid" c </dev/null >/dev/null 2>&1
run9 kill c KILL
wait_for gone "$(cat "$work/pid")"
expect stopped "$(status_of c)"
run9 delete c
expect 0 $?

# Detached run; a state file that is broken; forced deletion.
cgroups_of() { find /sys/fs/cgroup -path "*/run9/$1" 2>/dev/null; }
groups=$(cgroups_of d)
run9 run -d -b "$work/sleep" --pid-file "$work/pid" d </dev/null >/dev/null 2>&1
expect 0 $?
echo '{"id": "d", "se' >"$work/state/d/state.json"
expect_match "state.json: /.*use --force" "$(run9 delete d 2>&1)"
run9 delete --force d
expect 0 $?
wait_for gone "$(cat "$work/pid")"
expect "$groups" "$(cgroups_of d)"

# Death of the CLI in the foreground takes the sandbox along.
"$bin/run9" --root "$work/state" run -b "$work/sleep" --pid-file "$work/pid2" e </dev/null >/dev/null 2>&1 &
cli=$!
wait_for test -s "$work/pid2"
wait_for test "$(status_of e)" = running
kill -KILL $cli
wait_for gone "$(cat "$work/pid2")"
expect stopped "$(status_of e)"
run9 delete --force e
# And a signal to it reaches the container.
"$bin/run9" --root "$work/state" run -b "$work/sleep" --pid-file "$work/pid3" f </dev/null >/dev/null 2>&1 &
cli=$!
wait_for test -s "$work/pid3"
sleep 0.2
kill -USR1 $cli
wait $cli
expect 138 $?
expect "" "$(ls "$work/state")"

# do.
expect hi "$(cd "$work" && run9 do -- echo hi)"
run9 do sh -c 'exit 5'
expect 5 $?
run9 do -- missing 2>/dev/null
expect 127 $?
run9 do 2>/dev/null
expect 125 $?
expect "" "$(ls "$work/state")"

expect_match '"--memory": not an option of do' "$(run9 do --memory 1g -- true 2>&1)"

# What it says of the guest's system calls: all of them, and the first that is missing.
calls=$(run9 --strace do -- cat /proc/self/comm 2>&1 >/dev/null)
expect_match '"cat" openat\(AT_FDCWD, "/proc/self/comm", O_RDONLY, 00\) = [0-9]+ \([0-9.]+ us\)' "$calls"
expect_match '"cat" write\(1, "cat\\x0a", 4\) = 4 ' "$calls"
expect_match 'openat\(.*\) = -ENOENT \(No such file or directory\)' "$(run9 --strace do -- cat /missing 2>&1)"
expect Ready! "$(run9 do -- dmesg | sed -n '1s/.*] Starting Run9.*//; $s/.*] //p')"
run9 --strict do -- true
expect 0 $?
if command -v perl >/dev/null; then
  expect "-1" "$(run9 do -- perl -e 'print syscall(134, 0)')"
  expect_match 'uselib is missing, asked for by "perl"' "$(run9 --strict do -- perl -e 'syscall(134, 0); sleep 100' 2>&1)"
fi
# Many that begin at once sweep each other's directories, if they are dead.
for i in {1..30}; do run9 do -- true 2>>"$work/at-once" & done
wait
expect "" "$(cat "$work/at-once")"
expect "" "$(ls "$work/state")"
"$bin/run9" --root "$work/state" do -- sleep 100 &
wait_for test -e "$work/state/do-$!/control.sock"
kill -KILL $!
wait $! 2>/dev/null
run9 do -- true
expect "" "$(ls "$work/state")"

# Messages.
expect_match 'platform "kvm": not known; use trap or ptrace' "$(run9 --platform kvm list 2>&1)"
expect_match "config.json: ENOENT.*run9 spec" "$(run9 run -b "$work" x 2>&1)"
run9 --log "$work/log.json" --log-format json state nope 2>/dev/null
expect_match '"level":"error","msg":"container' "$(cat "$work/log.json")"
(cd "$work" && run9 spec) || fail spec
expect_match '"ociVersion"' "$(cat "$work/config.json")"
rm -f "$work/config.json"

# A terminal of ours around it all.
if command -v script >/dev/null; then
  bundle tty '["stty", "size"]'
  sed -i 's/"cwd"/"terminal": true, "consoleSize": {"height": 30, "width": 90}, "cwd"/' "$work/tty/config.json"
  # Its input does not end: script(1) waits only so long for a program behind the end of its own.
  mkfifo "$work/silence"
  expect_match "30 90" "$(script -qec "$bin/run9 --root $work/state run -b $work/tty t" /dev/null <>"$work/silence")"
fi
expect "" "$(ls "$work/state")"
exit $failed
