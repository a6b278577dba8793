// What somebody else's program needs to talk to a 9P server: lists the root of the one at argv[1].
#include <p9/client.h>
#include <p9/transport/address.h>
#include <p9/transport/blocking_channel.h>

#include <cstdio>

using namespace run9;

static Result<void> list(const char* where) {
  const auto address = p9::parse_address(where);
  if (!address) return Errno{EINVAL};
  p9::BlockingChannel channel(TRY(p9::dial(*address)));
  p9::Client client(channel, {.dialect = false});
  TRY(client.start());
  const p9::Fid root = TRY(client.attach("")).fid;
  TRY(client.call(p9::Tlopen{.fid = root}));
  const auto reply = TRY(client.call(p9::Treaddir{.fid = root, .count = client.max_io()}));
  p9::DirentReader<p9::Dirent> entries(reply->data);
  while (const auto e = TRY(entries.next())) std::printf("%.*s\n", static_cast<int>(e->name.size()), e->name.data());
  return ok();
}

int main(int argc, char** argv) { return argc == 2 && list(argv[1]) ? 0 : 1; }
