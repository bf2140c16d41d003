// What the page asks (HTTP.md): the scenarios, to run and to stop, the report. Runs go on in a
// thread of their own; everything else belongs to the thread of the server.
//
// What is shown is the latest run of each mode, as long as the work is the same: so that modes
// which were run one by one stand beside each other too.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
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

  // A run that is shown, from its beginning on.
  struct Shown {
    std::uint64_t number = 0;
    std::optional<Outcome> outcome;
  };

  HttpAnswer get(const std::string& path) const;
  [[nodiscard]] HttpAnswer report() const;
  [[nodiscard]] HttpAnswer numbers() const;
  HttpAnswer start(const std::string& body);
  HttpAnswer stop();
  void run_all(const std::vector<Order>& orders);
  void run_one(const Order& order);
  [[nodiscard]] bool is_to_stop() const;
  void begin_run(const Order& order);
  void keep(const Order& order, Outcome outcome);
  void tell(std::vector<LiveMessage> messages);
  void publish(const std::vector<LiveMessage>& messages);
  void end_all();

  ApiOptions options_;
  Stream stream_;
  Order work_;                   // whose scenario and settings are shown; its mode says nothing
  std::map<Mode, Shown> shown_;  // in the order of modes
  std::uint64_t next_number_ = 1;
  bool is_running_ = false;
  std::thread thread_;  // of the latest request
  int stop_fd_ = -1;    // readable when what is under way is to end
};

}  // namespace turnstile::lab
