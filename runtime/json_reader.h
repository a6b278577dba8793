// JsonReader: strict reading of a JSON document that a person or a tool wrote. Every complaint names the
// file, the field as a JSON pointer, the cause and the fix. The first complaint counts; after it, getters
// give empty values, so that parsing code stays free of error paths and asks failure() once at the end.
#pragma once
#include <boost/json/value.hpp>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "runtime/failure.h"

namespace run9::runtime {

class JsonReader;

// One place in the document: a value, or its absence. null counts as absent, as Go's encoders write it.
class JsonNode {
 public:
  bool present() const { return value_ != nullptr; }
  JsonNode member(std::string_view name) const;
  // `fix` completes the sentence "... is missing; ".
  JsonNode required(std::string_view name, std::string_view fix) const;

  std::string string() const;
  // A string that must not be empty, begin with "/" (path) or exceed `limit`.
  std::string absolute_path() const;
  bool boolean() const;
  int64_t integer(int64_t min, int64_t max) const;
  uint64_t unsigned_integer() const;
  std::vector<std::string> strings() const;
  void each(const std::function<void(JsonNode)>& f) const;  // of an array
  void each_member(const std::function<void(std::string_view, JsonNode)>& f) const;  // of an object

  // Records "file: pointer: cause; fix".
  void complain(std::string_view cause, std::string_view fix) const;
  const std::string& pointer() const { return pointer_; }

 private:
  friend class JsonReader;
  JsonNode(JsonReader& reader, const boost::json::value* value, std::string pointer)
      : reader_(&reader), value_(value), pointer_(std::move(pointer)) {}
  JsonNode child(const boost::json::value* v, std::string_view name) const;
  bool is_object() const;  // complains if it is something else
  bool is_array() const;
  void complain_type(std::string_view wanted) const;

  JsonReader* reader_;
  const boost::json::value* value_;
  std::string pointer_;
};

class JsonReader {
 public:
  // `file` is what complaints call the text.
  static Expected<JsonReader> create(std::string file, std::string_view text);
  JsonNode root() { return JsonNode(*this, &document_, ""); }
  const std::optional<Failure>& failure() const { return failure_; }

 private:
  friend class JsonNode;
  JsonReader() = default;
  std::string file_;
  boost::json::value document_;
  std::optional<Failure> failure_;
};

// Where in a document the byte at `offset` is: "/process/args/1". For texts that do not parse.
std::string json_pointer_at(std::string_view text, size_t offset);

}  // namespace run9::runtime
