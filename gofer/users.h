// The host's users, for --multi-user: read once, before the jail. What /etc/passwd and /etc/group
// say is all there is: no directory service is asked (a static program has no resolver), and a
// number that is not there is nobody's.
#pragma once
#include <sys/types.h>

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace run9::gofer {

struct User {
  uint32_t uid = 0;
  uint32_t gid = 0;
  std::vector<gid_t> groups;  // with gid
};

class Users {
 public:
  // From the texts of the two files; lines that are none are passed over.
  static Users parse(std::string_view passwd, std::string_view group);
  static Result<Users> load();

  // Null if there is none. Good as long as this lives.
  const User* find(uint32_t uid) const;
  const User* find(std::string_view name) const;
  // Whom root of another machine acts as.
  const User& nobody() const { return nobody_; }

 private:
  std::map<uint32_t, User> by_uid_;
  std::map<std::string, uint32_t, std::less<>> by_name_;
  User nobody_{65534, 65534, {65534}};
};

}  // namespace run9::gofer
