# Runs in the container, as its bash: one line for each thing that fails.
failed=0
try() {  # try NAME PATTERN COMMAND...: the output has to match
  local name=$1 pattern=$2 out status
  shift 2
  out=$("$@" 2>&1 </dev/null)
  status=$?
  [[ $out =~ $pattern ]] && return
  echo "FAIL $name (status $status): wanted something like '$pattern', got '${out:0:600}'"
  failed=1
}
cd /root || exit 1
try sort '^100$' bash -c 'seq 100 | sort -rn | head -1'
try coreutils '^root:0:600:5$' bash -c 'umask 077; echo text >a; mv a b; ln -s b c; stat -L -c %U:%g:%a:%s c; rm b c'
try du '/usr/share$' du -s /usr/share
try find '^[0-9]{4,}$' bash -c 'find / -xdev | wc -l'
try tar '^same$' bash -c 'tar cf /tmp/e.tar -C / etc && mkdir /tmp/x && tar xf /tmp/e.tar -C /tmp/x && diff -r --no-dereference /etc /tmp/x/etc && echo same'
try sed '^toor' bash -c 'cp /etc/passwd p; sed -i s/root/toor/ p; head -1 p; rm p'
try awk '^[0-9]+$' awk -F: '{n += $3} END {print n}' /etc/passwd
try grep 'passwd:root:' grep -r '^root:' /etc
try dpkg 'ii +bash' dpkg -l
try 'dpkg -S' '^bash: /bin/bash' dpkg -S /bin/bash
try apt-get '^apt 2' apt-get --version
try 'apt-get check' 'Building dependency tree' apt-get check
try perl '^2,4,6:3:sub$' perl -e 'my $p = fork; exit 3 if !$p; waitpid $p, 0; my $s = $? >> 8; chomp(my $o = `echo sub`); print join(",", map { $_ * 2 } 1..3), ":$s:$o"'
printf '#include <stdio.h>\nint main() { puts("hello"); }\n' >/tmp/h.c
try gcc '^hello$' bash -c 'gcc -O2 /tmp/h.c -o /tmp/h && /tmp/h'
try 'gcc -static' '^hello$' bash -c 'gcc -static /tmp/h.c -o /tmp/h && /tmp/h'
try ps 'ps aux' ps aux
try top 'Tasks: +[0-9]+ total' top -b -n1
try free 'Mem: +[1-9]' free
try uname '6.12.0-run9' uname -a
cat >/tmp/work.py <<'P'
import asyncio, json, multiprocessing, os, sqlite3, subprocess, sys, threading

def square(x):
    return x * x

def threads():
    seen, lock = [], threading.Lock()
    def add(i):
        with lock:
            seen.append(i)
    all_of_them = [threading.Thread(target=add, args=(i,)) for i in range(50)]
    for t in all_of_them: t.start()
    for t in all_of_them: t.join()
    return sum(seen)

async def coroutines():
    p = await asyncio.create_subprocess_exec("cat", stdin=-1, stdout=-1)
    out, _ = await p.communicate(b"through cat")
    return out.decode(), await asyncio.gather(*(asyncio.sleep(0.01, i) for i in range(5)))

def database(path):
    with sqlite3.connect(path) as c:
        c.execute("pragma journal_mode = wal")
        c.execute("create table t (a)")
        c.executemany("insert into t values (?)", [(i,) for i in range(1000)])
        c.commit()
        return c.execute("select sum(a) from t").fetchone()[0]

def main():
    print(json.dumps(json.loads('{"a": [1, 2]}')))
    print(threads())
    print(subprocess.run(["sh", "-c", "exit 4"]).returncode)
    print(*asyncio.run(coroutines()))
    print(database(":memory:"), database("/root/run9-test.db"))
    with multiprocessing.Pool(3) as pool:
        print(sum(pool.map(square, range(100))))
    q = multiprocessing.Queue()
    p = multiprocessing.Process(target=q.put, args=("queued",))
    p.start()
    print(q.get())
    p.join()

if __name__ == "__main__":
    main()
P
try python3 $'^."a": .1, 2..\n1225\n4\nthrough cat .0, 1, 2, 3, 4.\n499500 499500\n328350\nqueued$' python3 /tmp/work.py
cat >/tmp/net.py <<'P'
import asyncio, functools, http.server, threading, urllib.request

class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *a): pass

def http_get():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory="/etc")) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/passwd") as answer:
            got = answer.read() == open("/etc/passwd", "rb").read()
        server.shutdown()
    return got

async def echo():
    async def serve(reader, writer):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()
    async def ask(port, data):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(data)
        writer.write_eof()
        return await reader.read() == data
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    return all(await asyncio.gather(*(ask(port, bytes([i]) * 300_000) for i in range(20))))

print(http_get(), asyncio.run(echo()))
P
try 'python3 over loopback' '^True True$' python3 /tmp/net.py
exit $failed
