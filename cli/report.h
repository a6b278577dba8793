// What the user is told: results on stdout, as text or as one JSON document, and failures on stderr with their cause
// and, where one is known, what to do about it.
#pragma once
#include <boost/json/value.hpp>
#include <string>
#include <string_view>

#include "base/result.h"
#include "p9/messages.h"

namespace run9::cli {

enum class Format { kText, kJson };

class Reporter {
 public:
  explicit Reporter(Format format) : format_(format) {}
  bool json() const { return format_ == Format::kJson; }

  // Tells that `what` could not be done to `subject`, why, and what to do (`hint`; else the usual one for this errno).
  // Gives `error` back, for `return`.
  Errno fail(std::string_view what, std::string_view subject, Errno error, std::string_view hint = {});
  // The same where the result is one.
  template <typename T>
  Result<T> step(std::string_view what, std::string_view subject, Result<T> r) {
    if (!r) return fail(what, subject, r.assume_error());
    return r;
  }
  void warn(std::string_view what, std::string_view subject, std::string_view why);
  // The command's result, with --json.
  void result(const boost::json::value& document) const;

 private:
  const Format format_;
};

// Names come from a server: no control character of theirs reaches a terminal.
std::string printable(std::string_view name);
// Bytes that are no UTF-8 become U+FFFD: JSON has no others.
std::string json_text(std::string_view bytes);
// "2026-01-31 12:00:00"
std::string local_time(const p9::Time& t);
// "-rw-r--r--"
std::string mode_text(uint32_t mode);
std::string type_name(uint32_t mode);
// "1.5 MiB"
std::string size_text(double bytes);

}  // namespace run9::cli
