#include "runtime/json_reader.h"

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/stream_parser.hpp>

#include <algorithm>
#include <limits>

namespace run9::runtime {
namespace {

namespace json = boost::json;

// RFC 6901: "~" and "/" inside a name.
std::string escaped(std::string_view name) {
  std::string out;
  for (char c : name) {
    if (c == '~') {
      out += "~0";
    } else if (c == '/') {
      out += "~1";
    } else {
      out += c;
    }
  }
  return out;
}

std::string_view kind_name(const json::value& v) {
  switch (v.kind()) {
    case json::kind::null: return "null";
    case json::kind::bool_: return "a boolean";
    case json::kind::int64:
    case json::kind::uint64: return "an integer";
    case json::kind::double_: return "a fraction";
    case json::kind::string: return "a string";
    case json::kind::array: return "an array";
    case json::kind::object: return "an object";
  }
  return "something else";
}

std::string position(std::string_view text, size_t offset) {
  offset = std::min(offset, text.size());
  const auto before = text.substr(0, offset);
  const auto line = 1 + std::count(before.begin(), before.end(), '\n');
  const size_t start = before.rfind('\n');
  return fmt::format("line {}, column {}", line,
                     start == std::string_view::npos ? offset + 1 : offset - start);
}

// A container that json_pointer_at is inside of.
struct Level {
  bool array = false;
  size_t index = 0;
  std::string key;
  bool in_value = false;  // object: past the colon
};

// The string that begins at text[at] == '"'; moves `at` behind it, or to the end if it is cut.
std::string scan_string(std::string_view text, size_t& at, size_t end) {
  std::string out;
  for (++at; at < end; ++at) {
    if (text[at] == '"') {
      ++at;
      return out;
    }
    if (text[at] == '\\' && at + 1 < end) ++at;
    out += text[at];
  }
  return out;
}

}  // namespace

std::string json_pointer_at(std::string_view text, size_t offset) {
  std::vector<Level> levels;
  size_t at = 0;
  const size_t end = std::min(offset, text.size());
  while (at < end) {
    const char c = text[at];
    if (c == '"') {
      std::string s = scan_string(text, at, end);
      if (!levels.empty() && !levels.back().array && !levels.back().in_value) {
        levels.back().key = std::move(s);
      }
      continue;
    }
    ++at;
    if (c == '{' || c == '[') {
      levels.push_back(Level{.array = c == '['});
    } else if ((c == '}' || c == ']') && !levels.empty()) {
      levels.pop_back();
    } else if (c == ':' && !levels.empty()) {
      levels.back().in_value = true;
    } else if (c == ',' && !levels.empty()) {
      ++levels.back().index;
      levels.back().in_value = false;
      levels.back().key.clear();
    }
  }
  std::string pointer;
  for (const Level& l : levels) {
    if (l.array) {
      pointer += fmt::format("/{}", l.index);
    } else if (!l.key.empty()) {
      pointer += "/" + escaped(l.key);
    }
  }
  return pointer.empty() ? "/" : pointer;
}

Expected<JsonReader> JsonReader::create(std::string file, std::string_view text) {
  JsonReader reader;
  reader.file_ = std::move(file);
  json::stream_parser parser;
  json::error_code error;
  size_t used = parser.write_some(text.data(), text.size(), error);
  if (!error && used < text.size()) {
    const size_t rest = text.find_first_not_of(" \t\r\n", used);
    if (rest != std::string_view::npos) {
      return fail("{}: / ({}): there is text after the end of the document; remove it", reader.file_,
                  position(text, rest));
    }
  }
  if (!error) parser.finish(error);
  if (error) {
    const bool cut = used >= text.size() || error == json::error::incomplete;
    const std::string pointer = json_pointer_at(text, used);
    if (cut) {
      return fail("{}: {} ({}): the text ends in the middle of the document; write the file again in "
                  "full (\"run9 spec\" makes a complete one)",
                  reader.file_, pointer, position(text, text.size()));
    }
    return fail("{}: {} ({}): not JSON: {}; correct it there", reader.file_, pointer,
                position(text, used), error.message());
  }
  reader.document_ = parser.release();
  return reader;
}

JsonNode JsonNode::child(const json::value* v, std::string_view name) const {
  if (v != nullptr && v->is_null()) v = nullptr;
  return JsonNode(*reader_, v, pointer_ + "/" + escaped(name));
}

bool JsonNode::is_object() const {
  if (value_ == nullptr) return false;
  if (!value_->is_object()) complain_type("an object {...}");
  return value_->is_object();
}

bool JsonNode::is_array() const {
  if (value_ == nullptr) return false;
  if (!value_->is_array()) complain_type("an array [...]");
  return value_->is_array();
}

JsonNode JsonNode::member(std::string_view name) const {
  return child(is_object() ? value_->get_object().if_contains(name) : nullptr, name);
}

JsonNode JsonNode::required(std::string_view name, std::string_view fix) const {
  JsonNode n = member(name);
  if (!n.present()) n.complain("is missing", fix);
  return n;
}

std::string JsonNode::string() const {
  if (value_ == nullptr) return "";
  if (!value_->is_string()) {
    complain_type("a string");
    return "";
  }
  const auto& s = value_->get_string();
  if (s.find('\0') != json::string::npos) complain("has a NUL character", "remove \\u0000");
  return std::string(s);
}

std::string JsonNode::absolute_path() const {
  std::string s = string();
  if (value_ != nullptr && value_->is_string() && !s.starts_with('/')) {
    complain(fmt::format("{} is not an absolute path", quoted(s)), "begin it with \"/\"");
  }
  return s;
}

bool JsonNode::boolean() const {
  if (value_ == nullptr) return false;
  if (!value_->is_bool()) {
    complain_type("true or false");
    return false;
  }
  return value_->get_bool();
}

int64_t JsonNode::integer(int64_t min, int64_t max) const {
  if (value_ == nullptr) return 0;
  json::error_code error;
  const auto n = value_->is_number() ? value_->to_number<int64_t>(error) : 0;
  if (!value_->is_number() || value_->is_double()) {
    complain_type("an integer without quotes");
    return 0;
  }
  if (error || n < min || n > max) {
    complain(fmt::format("{} is out of range", json::serialize(*value_)),
             fmt::format("give an integer from {} to {}", min, max));
    return 0;
  }
  return n;
}

uint64_t JsonNode::unsigned_integer() const {
  if (value_ == nullptr) return 0;
  if (value_->is_uint64()) return value_->get_uint64();
  return static_cast<uint64_t>(integer(0, std::numeric_limits<int64_t>::max()));
}

std::vector<std::string> JsonNode::strings() const {
  std::vector<std::string> out;
  each([&](JsonNode n) {
    if (!n.present()) n.complain("is null", "give a string, or remove it");
    out.push_back(n.string());
  });
  return out;
}

void JsonNode::each(const std::function<void(JsonNode)>& f) const {
  if (!is_array()) return;
  size_t i = 0;
  for (const json::value& v : value_->get_array()) f(child(&v, std::to_string(i++)));
}

void JsonNode::each_member(const std::function<void(std::string_view, JsonNode)>& f) const {
  if (!is_object()) return;
  for (const auto& [key, v] : value_->get_object()) f(key, child(&v, key));
}

void JsonNode::complain(std::string_view cause, std::string_view fix) const {
  if (reader_->failure_) return;
  reader_->failure_ = fail("{}: {}: {}; {}", reader_->file_, pointer_.empty() ? "/" : pointer_, cause, fix);
}

void JsonNode::complain_type(std::string_view wanted) const {
  complain(fmt::format("is {}", kind_name(*value_)), fmt::format("give {}", wanted));
}

}  // namespace run9::runtime
