#include "metrics/http_server.h"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http.hpp>
#include <chrono>
#include <optional>

#include "base/log.h"
#include "metrics/exposition.h"

namespace run9::metrics {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using asio::ip::tcp;
using Clock = std::chrono::steady_clock;
using Response = http::response<http::string_body>;

constexpr auto kAsTuple = asio::as_tuple(asio::use_awaitable);
constexpr int kMostConnections = 64;
constexpr std::chrono::seconds kPatience{10};  // for a request to come, and for a response to go
constexpr std::chrono::seconds kFresh{1};
constexpr uint32_t kMostHeader = 8192;

class Server {
 public:
  explicit Server(std::function<std::vector<Answer>()> ask) : ask_(std::move(ask)) {}
  asio::awaitable<void> accept(tcp::acceptor acceptor);

 private:
  asio::awaitable<void> serve(tcp::socket socket);
  Response respond(const http::request<http::empty_body>& request);
  const std::vector<Answer>& answers();

  const std::function<std::vector<Answer>()> ask_;
  std::vector<Answer> answers_;
  std::optional<Clock::time_point> asked_;
  int connections_ = 0;
};

const std::vector<Answer>& Server::answers() {
  if (!asked_ || Clock::now() - *asked_ >= kFresh) {
    answers_ = ask_();
    asked_ = Clock::now();
  }
  return answers_;
}

Response Server::respond(const http::request<http::empty_body>& request) {
  Response response{http::status::ok, request.version()};
  response.set(http::field::server, "run9-metrics");
  response.set(http::field::content_type, "text/plain; charset=utf-8");
  response.keep_alive(request.keep_alive());
  const std::string_view target(request.target().data(), request.target().size());
  if (request.method() != http::verb::get && request.method() != http::verb::head) {
    response.result(http::status::method_not_allowed);
    response.set(http::field::allow, "GET, HEAD");
    response.body() = "GET and HEAD alone\n";
  } else if (target == "/metrics") {
    response.set(http::field::content_type, "text/plain; version=0.0.4; charset=utf-8");
    response.body() = metrics_text(answers());
  } else if (target == "/health") {
    Health h = health(answers());
    if (!h.good) response.result(http::status::service_unavailable);
    response.body() = std::move(h.text);
  } else {
    response.result(http::status::not_found);
    response.body() = "there are /metrics and /health\n";
  }
  response.prepare_payload();
  if (request.method() == http::verb::head) response.body().clear();
  return response;
}

asio::awaitable<void> Server::serve(tcp::socket socket) {
  beast::tcp_stream stream(std::move(socket));
  beast::flat_buffer buffer(kMostHeader);
  for (bool more = true; more;) {
    // A body is not asked for and not taken.
    http::request_parser<http::empty_body> parser;
    parser.header_limit(kMostHeader);
    stream.expires_after(kPatience);
    const auto [failed, read] = co_await http::async_read(stream, buffer, parser, kAsTuple);
    if (failed) break;
    const Response response = respond(parser.get());
    stream.expires_after(kPatience);
    const auto [cut, sent] = co_await http::async_write(stream, response, kAsTuple);
    more = !cut && response.keep_alive();
  }
  beast::error_code ignored;
  stream.socket().shutdown(tcp::socket::shutdown_both, ignored);
  --connections_;
}

asio::awaitable<void> Server::accept(tcp::acceptor acceptor) {
  for (;;) {
    auto [failed, socket] = co_await acceptor.async_accept(kAsTuple);
    if (failed == asio::error::operation_aborted) co_return;
    if (failed) continue;
    if (connections_ >= kMostConnections) continue;  // closed at once
    ++connections_;
    asio::co_spawn(acceptor.get_executor(), serve(std::move(socket)), asio::detached);
  }
}

Result<tcp::acceptor> listen(asio::io_context& loop, const ListenAt& at) {
  beast::error_code failed;
  const auto address = asio::ip::make_address(at.host, failed);
  tcp::acceptor acceptor(loop);
  const tcp::endpoint end(address, at.port);
  if (!failed) acceptor.open(end.protocol(), failed);
  if (!failed) acceptor.set_option(tcp::acceptor::reuse_address(true), failed);
  if (!failed) acceptor.bind(end, failed);
  if (!failed) acceptor.listen(asio::socket_base::max_listen_connections, failed);
  if (!failed) return acceptor;
  log_error("cannot listen at {} port {}: {}", quoted(at.host), at.port, failed.message());
  return Errno{failed.value()};
}

}  // namespace

Result<void> serve_http(const ListenAt& at, std::function<std::vector<Answer>()> ask) {
  asio::io_context loop(1);
  Server server(std::move(ask));
  asio::signal_set signals(loop, SIGTERM, SIGINT);
  signals.async_wait([&](const beast::error_code&, int) { loop.stop(); });
  asio::co_spawn(loop, server.accept(TRY(listen(loop, at))), asio::detached);
  loop.run();
  return ok();
}

}  // namespace run9::metrics
