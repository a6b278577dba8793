#include "metrics/exposition.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace run9::metrics {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

Answer gofer(const std::string& name) {
  Answer a{.kind = Answer::Kind::kGofer, .name = name, .up = true};
  control::GoferState& s = *a.reply.mutable_gofer();
  s.set_connections(7);
  control::GoferRequests& r = *s.add_requests();
  r.set_name("Tread");
  r.set_count(3);
  r.set_nanoseconds(1'500'000'000);
  return a;
}

TEST(ExpositionTest, CountersOfAGofer) {
  const std::string text = metrics_text({gofer("files")});
  EXPECT_THAT(text, HasSubstr("# TYPE run9_gofer_connections_total "
                              "counter\nrun9_gofer_connections_total{gofer=\"files\"} 7\n"));
  EXPECT_THAT(text, HasSubstr("run9_gofer_requests_total{gofer=\"files\",type=\"Tread\"} 3\n"));
  EXPECT_THAT(text,
              HasSubstr("run9_gofer_request_seconds_total{gofer=\"files\",type=\"Tread\"} 1.5\n"));
  EXPECT_THAT(text, HasSubstr("run9_up{kind=\"gofer\",name=\"files\"} 1\n"));
}

TEST(ExpositionTest, WhoDoesNotAnswerHasNoCounters) {
  Answer down{.kind = Answer::Kind::kSandbox, .name = "c"};
  const std::string text = metrics_text({down, gofer("g")});
  EXPECT_THAT(text, HasSubstr("run9_up{kind=\"sandbox\",name=\"c\"} 0\n"));
  EXPECT_THAT(text, Not(HasSubstr("sandbox=\"c\"")));
  EXPECT_FALSE(health({down}).good);
  EXPECT_EQ(health({down}).text, "sandbox \"c\" does not answer\n");
  EXPECT_EQ(health({gofer("g")}).text, "ok\n");
}

// A Sentry that was taken over, or a container's name: no line of its own, no end of the quotes.
TEST(ExpositionTest, NamesStayInTheirQuotes) {
  Answer a = gofer("a\"} 1\nrun9_up{x=\"");
  a.reply.mutable_gofer()->mutable_requests(0)->set_name("T\\\x01\xff" + std::string(1000, 'x'));
  const std::string text = metrics_text({a});
  EXPECT_THAT(text, HasSubstr("name=\"a\\\"} 1?run9_up{x=\\\"\""));
  EXPECT_THAT(text, HasSubstr("type=\"T\\\\??xx"));
  EXPECT_THAT(text, Not(HasSubstr(std::string(100, 'x'))));
}

TEST(ExpositionTest, SamplesOfANameStandTogether) {
  const std::string text = metrics_text({gofer("a"), gofer("b")});
  EXPECT_THAT(text, HasSubstr("run9_gofer_fids{gofer=\"a\"} 0\nrun9_gofer_fids{gofer=\"b\"} 0\n"));
  const std::string head = "# TYPE run9_gofer_fids gauge";
  EXPECT_EQ(text.find(head), text.rfind(head));
}

}  // namespace
}  // namespace run9::metrics
