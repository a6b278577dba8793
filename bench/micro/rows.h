// The rows of run9-bench: each is one small operation that is repeated and timed, natively and in a sandbox.
#pragma once
#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace run9::bench {

// Does the row's operations `count` times.
using Body = std::function<void(int count)>;

struct Row {
  std::string name;
  // Makes what the operation needs (files, pipes, memory), once, when the row is chosen.
  std::function<Body()> prepare;
  int operations = 1;  // in one turn of the body
};
using Rows = std::vector<Row>;

// One for each subject. Files are made in `directory`.
void add_calls(Rows& rows);
void add_files(Rows& rows, const std::string& directory);
void add_memory(Rows& rows);
void add_processes(Rows& rows);
void add_threads(Rows& rows);
void add_sockets(Rows& rows);

// The program of bench/memory.
int hold(const std::string& kind, int count, const std::string& directory);

// Ends the program, naming `what` and errno, unless `ok`: a row that fails must not be taken for a fast one.
void check(bool ok, const char* what);

// A pipe's ends, open until the program ends.
struct Pipe {
  int reader = -1, writer = -1;
  Pipe();
};

}  // namespace run9::bench
