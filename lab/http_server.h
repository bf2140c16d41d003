// HTTP/1.1 on the loopback interface for one page: requests with small bodies, and one stream of
// server-sent events. Refuses what other sites could make a browser ask (HTTP.md, "Who may ask").
// Boost.Beast is behind it, and in one translation unit only.
//
// All but post() is for one thread, that of run(); what is given as functions is called on it.
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
  std::uint16_t port = 0;  // 0: any that is free
  std::string token;       // what POST needs
  std::string stream_path;
  std::function<HttpAnswer(const HttpRequest&)> answer;
  std::function<std::string()> greeting;  // what a new listener of the stream gets first
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
  // Until `stop_fd` is readable.
  virtual void run(int stop_fd) = 0;
  // From any thread: `work` is done by run().
  virtual void post(std::function<void()> work) = 0;
  // To all listeners. One that lets too much wait for it is cut off; nobody waits for it.
  virtual void send(std::string frames) = 0;
};

// What is refused before anything is answered; 0: nothing. `origin` and others are empty when the
// header is missing.
struct HttpGuard {
  std::uint16_t port = 0;
  std::string token;

  [[nodiscard]] int status_for(std::string_view method, std::string_view host,
                               std::string_view origin, bool has_origin,
                               std::string_view token_sent, std::string_view content_type) const;
};

}  // namespace turnstile::lab
