// Answers the page's requests (HTTP.md): list scenarios, run, stop, report. Runs have a thread of
// their own; everything else belongs to the server's thread.
//
// The latest run of each mode is shown, so that modes run one by one appear together. A run of
// another scenario, or with other settings, clears what is shown.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/descriptor.h"
#include "lab/http_server.h"
#include "lab/live.h"
#include "lab/numbers.h"
#include "lab/scenario.h"
#include "lab/stream.h"

namespace turnstile::lab {

struct ApiOptions {
  std::function<void(std::function<void()>)> post;  // from any thread to the server's
  std::function<void(std::string)> send;            // to all listeners
};

class Api {
 public:
  explicit Api(ApiOptions options);
  Api(const Api&) = delete;
  Api& operator=(const Api&) = delete;
  // Stops the current runs.
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

  // A run that is shown; `outcome` is set when it has ended.
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
  Order shown_work_;  // scenario and settings of what is shown; its mode is unused
  std::map<Mode, Shown> shown_;
  std::uint64_t next_number_ = 1;
  bool is_running_ = false;
  std::thread thread_;  // of the latest request
  Descriptor stop_fd_;  // readable when the current runs must stop
};

}  // namespace turnstile::lab
