#include "lab/http_server.h"

#include <unistd.h>

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <chrono>
#include <deque>
#include <memory>
#include <optional>
#include <set>
#include <sstream>
#include <utility>
#include <vector>

namespace turnstile::lab {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using boost::system::error_code;
using tcp = asio::ip::tcp;

constexpr std::uint64_t kBodyBytes = std::uint64_t{16} * 1024;
constexpr std::uint32_t kHeaderBytes = 16 * 1024;
constexpr std::size_t kMaxUnsentBytes = std::size_t{4} * 1024 * 1024;  // for one listener
constexpr std::size_t kListeners = 256;
constexpr int kKernelBytes = 256 * 1024;      // send buffer of one connection
constexpr std::chrono::seconds kTimeout{30};  // for sending a request, and for reading an answer
constexpr std::chrono::seconds kPingEvery{15};

constexpr const char* kPolicy =
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src "
    "'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

template <typename Fields>
void add_common_headers(Fields& fields) {
  fields.set(http::field::cache_control, "no-store");
  fields.set("X-Content-Type-Options", "nosniff");
  fields.set("Referrer-Policy", "no-referrer");
  fields.set("Cross-Origin-Resource-Policy", "same-origin");
  fields.set("Content-Security-Policy", kPolicy);
}

std::string_view view_of(beast::string_view text) {
  return {text.data(), text.size()};
}

class Server;

// A connection: handles requests one after another, until it becomes a listener or ends.
class Session : public std::enable_shared_from_this<Session> {
 public:
  Session(tcp::socket socket, Server& server) : stream_(std::move(socket)), server_(server) {}

  void start() { read(); }
  void send(const std::shared_ptr<const std::string>& frames);
  void close();

 private:
  void read();
  void on_read(error_code failed);
  void handle();
  void answer(const HttpAnswer& answer, bool keep_alive);
  void refuse(int status);
  void begin_stream();
  void write_next();
  void watch_for_end();

  beast::tcp_stream stream_;
  Server& server_;
  beast::flat_buffer buffer_;
  std::optional<http::request_parser<http::string_body>> parser_;
  std::optional<http::response<http::string_body>> response_;

  // As a listener.
  std::deque<std::shared_ptr<const std::string>> queue_;
  std::size_t queued_bytes_ = 0;  // without the greeting, which has no bound
  std::string ignored_ = std::string(64, '\0');
};

class Server final : public HttpServer {
 public:
  explicit Server(HttpServerOptions options)
      : options_(std::move(options)), acceptor_(context_), ping_(context_) {}

  Result<void> open();
  [[nodiscard]] std::uint16_t port() const override { return guard_.port; }
  void run(int stop_fd) override;
  void post(std::function<void()> work) override { asio::post(context_, std::move(work)); }
  void send(std::string frames) override;

  [[nodiscard]] const HttpServerOptions& options() const { return options_; }
  [[nodiscard]] const HttpGuard& guard() const { return guard_; }
  void add_listener(const std::shared_ptr<Session>& session) { listeners_.insert(session); }
  void remove_listener(const std::shared_ptr<Session>& session) { listeners_.erase(session); }

 private:
  void accept();
  void ping();

  HttpServerOptions options_;
  HttpGuard guard_;
  asio::io_context context_{1};
  tcp::acceptor acceptor_;
  asio::steady_timer ping_;
  std::set<std::shared_ptr<Session>> listeners_;
};

// ---- requests

void Session::read() {
  parser_.emplace();
  parser_->body_limit(kBodyBytes);
  parser_->header_limit(kHeaderBytes);
  stream_.expires_after(kTimeout);
  http::async_read(stream_, buffer_, *parser_,
                   [self = shared_from_this()](error_code failed, std::size_t /*bytes*/) {
                     self->on_read(failed);
                   });
}

void Session::on_read(error_code failed) {
  if (!failed) {
    return handle();
  }
  if (failed == http::error::body_limit) {
    return refuse(static_cast<int>(http::status::payload_too_large));
  }
  if (failed == http::error::header_limit) {
    return refuse(static_cast<int>(http::status::request_header_fields_too_large));
  }
  if (failed == http::error::end_of_stream || failed == beast::error::timeout ||
      failed.category() == asio::error::get_system_category()) {
    return close();
  }
  refuse(static_cast<int>(http::status::bad_request));
}

void Session::handle() {
  const auto& request = parser_->get();
  const bool has_origin = request.find(http::field::origin) != request.end();
  const int status = server_.guard().status_for(
      view_of(request.method_string()), view_of(request[http::field::host]),
      view_of(request[http::field::origin]), has_origin, view_of(request["Turnstile-Token"]),
      view_of(request[http::field::content_type]));
  if (status != 0) {
    return refuse(status);
  }
  HttpRequest asked;
  asked.method = std::string(view_of(request.method_string()));
  const std::string_view target = view_of(request.target());
  asked.path = std::string(target.substr(0, target.find('?')));
  asked.body = request.body();
  if (asked.method == "GET" && asked.path == server_.options().stream_path) {
    return begin_stream();
  }
  answer(server_.options().answer(asked), request.keep_alive());
}

void Session::refuse(int status) {
  const std::string reason(view_of(http::obsolete_reason(static_cast<http::status>(status))));
  answer(http_error(status, reason), false);
}

void Session::answer(const HttpAnswer& answer, bool keep_alive) {
  constexpr unsigned kHttp11 = 11;
  response_.emplace(static_cast<http::status>(answer.status), kHttp11);
  add_common_headers(*response_);
  response_->set(http::field::content_type, answer.type);
  if (!answer.disposition.empty()) {
    response_->set(http::field::content_disposition, answer.disposition);
  }
  response_->keep_alive(keep_alive);
  response_->body() = answer.body;
  response_->prepare_payload();
  stream_.expires_after(kTimeout);
  http::async_write(
      stream_, *response_,
      [self = shared_from_this(), keep_alive](error_code failed, std::size_t /*bytes*/) {
        if (failed || !keep_alive) {
          return self->close();
        }
        self->read();
      });
}

void Session::close() {
  error_code ignored;
  stream_.socket().shutdown(tcp::socket::shutdown_both, ignored);
  stream_.socket().close(ignored);
  server_.remove_listener(shared_from_this());
}

// ---- the stream

void Session::begin_stream() {
  constexpr unsigned kHttp11 = 11;
  http::response<http::empty_body> head(http::status::ok, kHttp11);
  add_common_headers(head);
  head.set(http::field::content_type, "text/event-stream");
  head.set(http::field::connection, "close");  // the stream ends with the connection
  std::ostringstream text;
  text << head.base();
  stream_.expires_never();
  queue_.push_back(std::make_shared<const std::string>(text.str() + server_.options().greeting()));
  server_.add_listener(shared_from_this());
  watch_for_end();
  write_next();
}

void Session::send(const std::shared_ptr<const std::string>& frames) {
  queued_bytes_ += frames->size();
  if (queued_bytes_ > kMaxUnsentBytes) {
    return close();
  }
  queue_.push_back(frames);
  if (queue_.size() == 1) {
    write_next();
  }
}

void Session::write_next() {
  asio::async_write(stream_.socket(), asio::buffer(*queue_.front()),
                    [self = shared_from_this()](error_code failed, std::size_t bytes) {
                      if (failed) {
                        return self->close();
                      }
                      self->queued_bytes_ -= std::min(bytes, self->queued_bytes_);
                      self->queue_.pop_front();
                      if (!self->queue_.empty()) {
                        self->write_next();
                      }
                    });
}

void Session::watch_for_end() {
  stream_.socket().async_read_some(asio::buffer(ignored_),
                                   [self = shared_from_this()](error_code failed, std::size_t) {
                                     if (failed) {
                                       return self->close();
                                     }
                                     self->watch_for_end();
                                   });
}

// ---- the server

Result<void> Server::open() {
  const tcp::endpoint where(asio::ip::address_v4::loopback(), options_.port);
  error_code failed;
  acceptor_.open(where.protocol(), failed);
  if (!failed) {
    acceptor_.set_option(asio::socket_base::reuse_address(true), failed);
  }
  if (!failed) {
    acceptor_.bind(where, failed);
  }
  if (!failed) {
    acceptor_.listen(asio::socket_base::max_listen_connections, failed);
  }
  if (failed) {
    return fail(
        Errc::unreachable,
        "cannot listen on 127.0.0.1:" + std::to_string(options_.port) + ": " + failed.message(),
        "another lab may be running; choose another port with --port");
  }
  guard_ = {acceptor_.local_endpoint(failed).port(), options_.token};
  accept();
  ping();
  return {};
}

void Server::accept() {
  acceptor_.async_accept([this](error_code failed, tcp::socket socket) {
    if (failed == asio::error::operation_aborted) {
      return;
    }
    if (!failed && listeners_.size() < kListeners) {
      error_code ignored;
      socket.set_option(tcp::no_delay(true), ignored);
      socket.set_option(asio::socket_base::send_buffer_size(kKernelBytes), ignored);
      std::make_shared<Session>(std::move(socket), *this)->start();
    }
    accept();
  });
}

void Server::ping() {
  ping_.expires_after(kPingEvery);
  ping_.async_wait([this](error_code failed) {
    if (!failed) {
      send(": still here\n\n");
      ping();
    }
  });
}

void Server::send(std::string frames) {
  const auto shared = std::make_shared<const std::string>(std::move(frames));
  const std::vector<std::shared_ptr<Session>> all(listeners_.begin(), listeners_.end());
  for (const auto& listener : all) {
    listener->send(shared);
  }
}

void Server::run(int stop_fd) {
  asio::posix::stream_descriptor stop(context_, ::dup(stop_fd));
  stop.async_wait(asio::posix::stream_descriptor::wait_read,
                  [this](error_code /*failed*/) { context_.stop(); });
  context_.run();
  listeners_.clear();
}

}  // namespace

Result<std::unique_ptr<HttpServer>> HttpServer::listen(HttpServerOptions options) {
  auto server = std::make_unique<Server>(std::move(options));
  if (auto opened = server->open(); !opened) {
    return tl::make_unexpected(opened.error());
  }
  return server;
}

}  // namespace turnstile::lab
