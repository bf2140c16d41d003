#include <array>
#include <cstdio>
#include <memory>
#include <random>
#include <string>
#include <utility>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "base/signals.h"
#include "flags/options.h"
#include "lab/api.h"
#include "lab/command.h"
#include "lab/http_server.h"

namespace turnstile::lab {
namespace {

constexpr std::uint16_t kDefaultPort = 7373;

struct ServeFlags {
  std::uint16_t port = kDefaultPort;
};

// 128 bits from the kernel.
std::string make_token() {
  std::random_device device;
  std::string token;
  for (int i = 0; i < 4; ++i) {
    token += fmt::format("{:08x}", device());
  }
  return token;
}

Result<void> serve(const ServeFlags& flags) {
  const StopSignal stop;
  std::unique_ptr<HttpServer> server;
  ApiOptions options;
  options.post = [&](std::function<void()> work) { server->post(std::move(work)); };
  options.send = [&](std::string frames) { server->send(std::move(frames)); };
  HttpServerOptions http;
  http.port = flags.port;
  http.token = make_token();
  const std::string token = http.token;
  http.stream_path = "/api/events";
  Api api(std::move(options));
  http.answer = [&](const HttpRequest& request) { return api.answer(request); };
  http.greeting = [&] { return api.greeting(); };
  auto listening = HttpServer::listen(std::move(http));
  if (!listening) {
    return tl::make_unexpected(listening.error());
  }
  server = std::move(*listening);
  fmt::print("The lab is at http://127.0.0.1:{}/#token={} (Ctrl+C ends it)\n", server->port(),
             token);
  std::fflush(stdout);
  server->run(stop.fd());
  return {};
}

}  // namespace

void add_serve_command(CLI::App& lab, int& exit_code) {
  const auto flags = std::make_shared<ServeFlags>();
  CLI::App& app = *lab.add_subcommand("serve", "Serve the live page, on this machine only");
  app.add_option("--port", flags->port, "Port on 127.0.0.1; 0: any free port")
      ->capture_default_str();
  add_config_option(app);
  app.callback([flags, &exit_code] {
    const auto done = serve(*flags);
    if (!done) {
      print_error(done.error());
    }
    exit_code = done ? static_cast<int>(ExitCode::done) : exit_code_for(done.error());
  });
}

}  // namespace turnstile::lab
