#include "runtime/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

#include "runtime/json_reader.h"

namespace run9::runtime {
namespace {

namespace json = boost::json;
using ::testing::HasSubstr;
using ::testing::StartsWith;

// Every field that we read, each with a value that is not its default.
constexpr std::string_view kFull = R"json({
  "ociVersion": "1.0.2",
  "process": {
    "terminal": true, "consoleSize": {"height": 25, "width": 80},
    "user": {"uid": 1, "gid": 2, "umask": 18, "additionalGids": [3, 4]},
    "args": ["sh", "-c", "true"], "env": ["PATH=/bin", "EMPTY="], "cwd": "/tmp",
    "capabilities": {"bounding": ["CAP_KILL"], "effective": ["CAP_KILL"], "permitted": ["CAP_KILL"],
                     "inheritable": ["CAP_KILL"], "ambient": ["CAP_KILL"]},
    "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 18446744073709551615, "soft": 512}],
    "noNewPrivileges": true, "oomScoreAdj": -5
  },
  "root": {"path": "rootfs", "readonly": true},
  "hostname": "box", "domainname": "example",
  "mounts": [
    {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["nosuid", "ro", "mode=1777", "size=64m"]},
    {"destination": "/data", "source": "/srv", "options": ["rbind", "ro"]}
  ],
  "hooks": {"prestart": [{"path": "/bin/true", "args": ["true"], "env": ["A=b"], "timeout": 3}]},
  "linux": {
    "namespaces": [{"type": "pid"}, {"type": "network", "path": "/proc/1/ns/net"}],
    "uidMappings": [{"containerID": 0, "hostID": 1000, "size": 1}],
    "gidMappings": [{"containerID": 0, "hostID": 1000, "size": 1}],
    "resources": {"memory": {"limit": 1048576, "reservation": 524288, "swap": 2097152}, "pids": {"limit": 10},
      "cpu": {"shares": 512, "quota": 50000, "period": 100000, "cpus": "0-1", "mems": "0"},
      "unified": {"memory.high": "900000"}},
    "cgroupsPath": "/x/y", "maskedPaths": ["/proc/kcore"], "readonlyPaths": ["/proc/sys"],
    "sysctl": {"net.core.somaxconn": "256"},
    "devices": [{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 438, "uid": 0, "gid": 0}]
  },
  "annotations": {"com.example.key": "value", "org.run9.host-sockets": "connect"}
})json";

std::string complaint(std::string_view text) {
  auto r = parse_config("config.json", text);
  return r ? "" : r.error().text;
}

// kFull with the value at `pointer` replaced.
std::string with(std::string_view pointer, json::value value) {
  json::value doc = json::parse(kFull);
  json::error_code error;
  json::value* at = doc.find_pointer(pointer, error);
  if (at == nullptr) ADD_FAILURE() << "no " << pointer;
  else *at = std::move(value);
  return json::serialize(doc);
}

void leaves(const json::value& v, const std::string& pointer, std::vector<std::string>& out) {
  if (!pointer.empty()) out.push_back(pointer);
  if (v.is_object()) {
    for (const auto& [k, m] : v.get_object()) leaves(m, pointer + "/" + std::string(k), out);
  } else if (v.is_array()) {
    size_t i = 0;
    for (const auto& m : v.get_array()) leaves(m, pointer + "/" + std::to_string(i++), out);
  }
}

TEST(ConfigTest, EveryFieldIsRead) {
  auto r = parse_config("config.json", kFull);
  ASSERT_TRUE(r) << r.error().text;
  const Config& c = r.assume_value();
  EXPECT_THAT(c.process.args, testing::ElementsAre("sh", "-c", "true"));
  EXPECT_THAT(c.process.env, testing::ElementsAre("PATH=/bin", "EMPTY="));
  EXPECT_EQ(c.process.cwd, "/tmp");
  EXPECT_EQ(c.process.uid, 1u);
  EXPECT_EQ(c.process.gid, 2u);
  EXPECT_EQ(c.process.umask, 022u);
  EXPECT_THAT(c.process.groups, testing::ElementsAre(3u, 4u));
  EXPECT_EQ(c.process.caps.ambient, uint64_t{1} << 5);
  ASSERT_EQ(c.process.rlimits.size(), 1u);
  EXPECT_EQ(c.process.rlimits[0].first, RLIMIT_NOFILE);
  EXPECT_EQ(c.process.rlimits[0].second.rlim_max, RLIM_INFINITY);
  EXPECT_TRUE(c.process.terminal);
  EXPECT_EQ(c.process.rows, 25);
  EXPECT_EQ(c.process.columns, 80);
  EXPECT_EQ(c.process.oom_score_adj, -5);
  EXPECT_TRUE(c.root_readonly);
  ASSERT_EQ(c.mounts.size(), 2u);
  EXPECT_EQ(c.mounts[0].data, "mode=1777,size=64m");
  EXPECT_EQ(c.mounts[0].flags, kRelatime | 3u);
  EXPECT_EQ(c.mounts[1].type, "bind");
  EXPECT_EQ(c.resources.memory, 1048576u);
  EXPECT_EQ(c.resources.pids, 10u);
  EXPECT_EQ(c.resources.cpu_quota, 50000);
  EXPECT_EQ(c.resources.cpus, "0-1");
  EXPECT_EQ(c.resources.unified.at("memory.high"), "900000");
  EXPECT_EQ(c.hooks.at("prestart")[0].timeout_s, 3);
  EXPECT_EQ(c.devices[0].minor, 229);
  EXPECT_EQ(c.annotations.at("com.example.key"), "value");
  EXPECT_TRUE(c.host_sockets);
}

TEST(ConfigTest, TheDefaultIsValid) {
  EXPECT_EQ(complaint(default_config()), "");
}

TEST(ConfigTest, EveryCutIsRefusedInOneLine) {
  for (std::string_view text : {kFull, std::string_view(R"({"ociVersion":"1.0.2"})")}) {
    for (size_t n = 0; n < text.size(); ++n) {
      const std::string why = complaint(text.substr(0, n));
      EXPECT_THAT(why, StartsWith("config.json: /")) << "cut at " << n;
      EXPECT_THAT(why, HasSubstr("the text ends in the middle")) << "cut at " << n;
      EXPECT_EQ(why.find('\n'), std::string::npos);
      EXPECT_EQ(why.find("EOF"), std::string::npos);
    }
  }
}

TEST(ConfigTest, ACutNamesTheField) {
  const size_t at = kFull.find("CAP_KILL");
  EXPECT_THAT(complaint(kFull.substr(0, at)), StartsWith("config.json: /process/capabilities/bounding/0 (line"));
}

// A wrong type at any field that we read gives a line that names that field.
TEST(ConfigTest, EveryWrongTypeIsRefused) {
  std::vector<std::string> all;
  leaves(json::parse(kFull), "", all);
  ASSERT_GT(all.size(), 80u);
  for (const std::string& pointer : all) {
    const json::value doc = json::parse(kFull);
    const json::value& old = doc.at_pointer(pointer);
    for (const json::value& wrong :
         {json::value(json::object{{"x", 1}}), json::value(json::array{nullptr}), json::value("wrong\x01"),
          json::value(""), json::value(-77777), json::value(1.5), json::value(true), json::value(1e300)}) {
      // What is right for this field, or an object without known members, is no mistake.
      if (wrong.kind() == old.kind()) continue;
      if (old.is_int64() && wrong.is_uint64()) continue;
      if (old.is_uint64() && wrong.is_int64() && wrong.get_int64() >= 0) continue;
      const std::string why = complaint(with(pointer, wrong));
      EXPECT_THAT(why, StartsWith("config.json: " + pointer)) << json::serialize(wrong);
      EXPECT_THAT(why, HasSubstr("; ")) << why;
      EXPECT_EQ(why.find('\n'), std::string::npos) << why;
    }
  }
}

TEST(ConfigTest, WrongValuesAreRefused) {
  const std::pair<std::string_view, json::value> cases[] = {
      {"/ociVersion", "2.0"},
      {"/ociVersion", ""},
      {"/process/args", json::array{}},
      {"/process/args/0", ""},
      {"/process/args/1", json::string(std::string_view("a\0b", 3))},
      {"/process/env/0", "NOEQUALS"},
      {"/process/env/0", "=x"},
      {"/process/cwd", "tmp"},
      {"/process/cwd", ""},
      {"/process/user/uid", -1},
      {"/process/user/uid", 4294967295},
      {"/process/user/gid", 4294967296},
      {"/process/user/umask", 01000},
      {"/process/user/additionalGids/0", -3},
      {"/process/capabilities/bounding/0", "CAP_NOPE"},
      {"/process/capabilities/bounding/0", "KILL"},
      {"/process/capabilities/effective/0", "CAP_CHOWN"},
      {"/process/rlimits/0/type", "RLIMIT_NOPE"},
      {"/process/rlimits/0/soft", -1},
      {"/process/rlimits/0/hard", 4},
      {"/process/consoleSize/height", 65536},
      {"/process/oomScoreAdj", 1001},
      {"/root/path", ""},
      {"/hostname", json::string(65, 'h')},
      {"/domainname", json::string(65, 'h')},
      {"/mounts/0/destination", "dev/shm"},
      {"/mounts/0/type", "ext4"},
      {"/mounts/0/options/0", "nosiud"},
      {"/mounts/0/options/2", "mode=9"},
      {"/mounts/0/options/3", "size=big"},
      {"/mounts/1/source", ""},
      {"/hooks/prestart/0/path", "true"},
      {"/hooks/prestart/0/timeout", 0},
      {"/linux/namespaces/0/type", "pids"},
      {"/linux/namespaces/1/type", "pid"},
      {"/linux/namespaces/1/path", "ns"},
      {"/linux/namespaces/1/type", "mount"},
      {"/linux/uidMappings/0/size", 0},
      {"/linux/resources/cpu/quota", -2},
      {"/linux/resources/cpu/cpus", "all"},
      {"/linux/resources/unified/memory.high", 1},
      {"/linux/resources/memory/limit", -2},
      {"/linux/resources/pids/limit", -2},
      {"/linux/maskedPaths/0", "proc"},
      {"/linux/readonlyPaths/0", "proc"},
      {"/linux/devices/0/type", "x"},
      {"/linux/devices/0/path", "fuse"},
      {"/linux/devices/0/fileMode", 0200000},
      {"/annotations/com.example.key", 1},
      {"/annotations/org.run9.host-sockets", "yes"},
  };
  for (const auto& [pointer, value] : cases) {
    const std::string why = complaint(with(pointer, value));
    // A pair of values that contradict each other may be blamed on the other one.
    const std::string parent(pointer.substr(0, pointer.find('/', 1)));
    EXPECT_THAT(why, StartsWith("config.json: " + parent)) << pointer;
    EXPECT_THAT(why, HasSubstr("; ")) << pointer;
    EXPECT_EQ(why.find('\n'), std::string::npos) << why;
  }
}

TEST(ConfigTest, WhatMustBeThereIsMissed) {
  for (std::string_view pointer : {"/ociVersion", "/process", "/root", "/process/args", "/process/cwd", "/root/path",
                                   "/mounts/0/destination", "/mounts/0/type", "/mounts/1/source",
                                   "/linux/namespaces/0/type", "/process/rlimits/0/hard",
                                   "/hooks/prestart/0/path", "/linux/devices/0/major"}) {
    EXPECT_THAT(complaint(with(pointer, nullptr)),
                StartsWith("config.json: " + std::string(pointer) + ": is missing; "));
  }
}

TEST(ConfigTest, MissingFileSaysWhatToDo) {
  auto r = load_config("/nonexistent");
  ASSERT_FALSE(r);
  EXPECT_THAT(r.error().text, StartsWith("/nonexistent/config.json: ENOENT"));
  EXPECT_THAT(r.error().text, HasSubstr("run9 spec"));
}

TEST(JsonPointerTest, NamesThePlace) {
  EXPECT_EQ(json_pointer_at(R"({"a": [1, {"b/c": )", 18), "/a/1/b~1c");
  EXPECT_EQ(json_pointer_at("", 0), "/");
  EXPECT_EQ(json_pointer_at(R"({"a": 1, "b)", 11), "/b");
}

}  // namespace
}  // namespace run9::runtime
