// What the page asks (HTTP.md): the scenarios, to run and to stop, the report. Runs go on in a
// thread of their own; everything else belongs to the thread of the server.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "lab/http_server.h"
#include "lab/live.h"
#include "lab/numbers.h"
#include "lab/scenario.h"
#include "lab/stream.h"

namespace turnstile::lab {

struct ApiOptions {
  std::string token;
  std::function<void(std::function<void()>)> post;  // to the server's thread, from any
  std::function<void(std::string)> send;            // to all listeners
};

class Api {
 public:
  explicit Api(ApiOptions options);
  Api(const Api&) = delete;
  Api& operator=(const Api&) = delete;
  // Ends what is under way.
  ~Api();

  HttpAnswer answer(const HttpRequest& request);
  std::string greeting() const { return stream_.state(is_running_); }

 private:
  struct Order {
    std::uint64_t number = 0;
    const Scenario* scenario = nullptr;
    Mode mode = Mode::direct;
    Settings settings;
  };

  HttpAnswer get(const std::string& path) const;
  HttpAnswer start(const std::string& body);
  HttpAnswer stop();
  void run_all(const std::vector<Order>& orders);
  void run_one(const Order& order);
  void tell(std::vector<LiveMessage> messages);
  void publish(const std::vector<LiveMessage>& messages);
  void end_run();

  ApiOptions options_;
  Stream stream_;
  std::vector<std::vector<Outcome>> outcomes_;  // of the latest request; one scenario
  std::uint64_t next_number_ = 1;
  bool is_running_ = false;
  std::thread thread_;  // of the latest request
  int stop_fd_ = -1;    // readable when what is under way is to end
};

}  // namespace turnstile::lab
