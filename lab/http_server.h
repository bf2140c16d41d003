// HTTP/1.1 on the loopback interface for one page: requests with small bodies, and one stream of
// server-sent events. Refuses requests that another site makes a browser send (HTTP.md, "Who may
// ask"). Implemented with Boost.Beast, in one translation unit only.
//
// One thread, that of run(), calls everything except post(), and runs the given functions.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"

namespace turnstile::lab {

struct HttpRequest {
  std::string method;
  std::string path;  // without query
  std::string body;
};

struct HttpAnswer {
  int status = 200;
  std::string type = "application/json";
  std::string body;
  std::string disposition;  // Content-Disposition; empty: none
};

HttpAnswer http_error(int status, const std::string& what);

struct HttpServerOptions {
  std::uint16_t port = 0;  // 0: any free port
  std::string token;       // required for POST
  std::string stream_path;
  std::function<HttpAnswer(const HttpRequest&)> answer;
  std::function<std::string()> greeting;  // sent first to a new listener of the stream
};

class HttpServer {
 public:
  // Errors: unreachable (the port is in use, ...).
  static Result<std::unique_ptr<HttpServer>> listen(HttpServerOptions options);
  HttpServer() = default;
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;
  virtual ~HttpServer() = default;

  [[nodiscard]] virtual std::uint16_t port() const = 0;
  // Returns when `stop_fd` is readable.
  virtual void run(int stop_fd) = 0;
  // From any thread: run() does `work`.
  virtual void post(std::function<void()> work) = 0;
  // To all listeners. Never waits: a listener with too many unread bytes is disconnected.
  virtual void send(std::string frames) = 0;
};

// Checks a request before it is answered. Returns the status to refuse it with; 0: accepted.
// `origin` and the others are empty when the header is missing.
struct HttpGuard {
  std::uint16_t port = 0;
  std::string token;

  [[nodiscard]] int status_for(std::string_view method, std::string_view host,
                               std::string_view origin, bool has_origin,
                               std::string_view token_sent, std::string_view content_type) const;
};

}  // namespace turnstile::lab
