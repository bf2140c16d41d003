#include "lab/api.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <system_error>
#include <utility>

#include <nlohmann/json.hpp>

#include "lab/assets.h"
#include "lab/json.h"
#include "lab/report.h"
#include "lab/runner.h"

namespace turnstile::lab {
namespace {

constexpr int kAccepted = 202;
constexpr int kBadRequest = 400;
constexpr int kNotFound = 404;
constexpr int kNotAllowed = 405;
constexpr int kConflict = 409;

bool is_known(const std::string& path) {
  return path == "/" || path == "/api/run" || path == "/api/stop" || path == "/api/scenarios" ||
         path == "/api/report" || path == "/api/numbers" || path == "/api/events" ||
         (!path.empty() && !asset(std::string_view(path).substr(1)).empty());
}

Result<std::vector<Mode>> modes_in(const nlohmann::json& asked, const Scenario& scenario) {
  const auto found = asked.find("modes");
  if (found == asked.end()) {
    return scenario.modes;
  }
  std::vector<Mode> modes;
  if (!found->is_array() || found->empty() || found->size() > scenario.modes.size()) {
    return fail(Errc::bad_input, "modes must be a list of the scenario's modes");
  }
  for (const auto& name : *found) {
    const auto mode = name.is_string() ? mode_of(name.get<std::string>()) : std::nullopt;
    if (!mode ||
        std::find(scenario.modes.begin(), scenario.modes.end(), *mode) == scenario.modes.end()) {
      return fail(Errc::bad_input, "the scenario has no such mode: " + name.dump());
    }
    modes.push_back(*mode);
  }
  return modes;
}

}  // namespace

Api::Api(ApiOptions options)
    : options_(std::move(options)), stop_fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (!stop_fd_) {
    throw std::system_error(errno, std::generic_category(), "eventfd");
  }
}

Api::~Api() {
  stop();
  if (thread_.joinable()) {
    thread_.join();
  }
}

HttpAnswer Api::answer(const HttpRequest& request) {
  if (!is_known(request.path)) {
    return http_error(kNotFound, "there is nothing at " + request.path);
  }
  const bool is_post = request.path == "/api/run" || request.path == "/api/stop";
  if (request.method != (is_post ? "POST" : "GET")) {
    return http_error(kNotAllowed, request.path + " takes " + (is_post ? "POST" : "GET"));
  }
  if (!is_post) {
    return get(request.path);
  }
  return request.path == "/api/run" ? start(request.body) : stop();
}

HttpAnswer Api::get(const std::string& path) const {
  if (path == "/") {
    return {200, "text/html; charset=utf-8", std::string(asset("index.html")), {}};
  }
  if (path == "/api/scenarios") {
    return {200, "application/json", dump(json_of_scenarios()), {}};
  }
  if (path == "/api/report") {
    return report();
  }
  if (path == "/api/numbers") {
    return numbers();
  }
  const std::string_view name = std::string_view(path).substr(1);
  for (const Asset& one : assets()) {
    if (one.name == name) {
      return {200, std::string(one.type), std::string(one.content), {}};
    }
  }
  return http_error(kNotFound, "there is nothing at " + path);
}

HttpAnswer Api::report() const {
  std::vector<const Outcome*> outcomes;
  for (const auto& [mode, shown] : shown_) {
    if (shown.outcome) {
      outcomes.push_back(&*shown.outcome);
    }
  }
  if (outcomes.empty()) {
    return http_error(kNotFound, "nothing has run yet");
  }
  return {200, "text/html; charset=utf-8", report_html(outcomes),
          "attachment; filename=\"turnstile-lab.html\""};
}

HttpAnswer Api::numbers() const {
  Json runs = Json::array();
  for (const auto& [mode, shown] : shown_) {
    if (shown.outcome) {
      runs.push_back(json_of_end(*shown.outcome, shown.number));
    }
  }
  return {200, "application/json", dump({{"runs", std::move(runs)}}), {}};
}

HttpAnswer Api::start(const std::string& body) {
  if (is_running_) {
    return http_error(kConflict, "a run is in progress: stop it, or wait until it ends");
  }
  const auto asked = nlohmann::json::parse(body, nullptr, false);
  const auto name = asked.is_object() ? asked.find("scenario") : asked.end();
  if (!asked.is_object() || name == asked.end() || !name->is_string()) {
    return http_error(kBadRequest, "the body must be an object with a scenario");
  }
  auto scenario = find_scenario(name->get<std::string>());
  if (!scenario) {
    return http_error(kBadRequest, scenario.error().what);
  }
  const auto given = asked.find("settings");
  auto settings =
      given == asked.end() ? (*scenario)->settings : settings_from(*given, (*scenario)->settings);
  const auto checked =
      settings.and_then([&](const Settings& all) { return check_settings(**scenario, all); });
  const auto modes = modes_in(asked, **scenario);
  if (!checked || !modes) {
    return http_error(kBadRequest, (!checked ? checked.error() : modes.error()).what);
  }
  std::vector<Order> orders;
  Json runs = Json::array();
  for (const Mode mode : *modes) {
    orders.push_back({next_number_++, *scenario, mode, *settings});
    runs.push_back({{"run", orders.back().number}, {"mode", name_of(mode)}});
  }
  if (thread_.joinable()) {
    thread_.join();
  }
  std::uint64_t ignored = 0;
  [[maybe_unused]] const ssize_t emptied = ::read(stop_fd_.get(), &ignored, sizeof(ignored));
  is_running_ = true;
  thread_ = std::thread([this, orders] { run_all(orders); });
  return {kAccepted, "application/json", dump({{"runs", std::move(runs)}}), {}};
}

HttpAnswer Api::stop() {
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(stop_fd_.get(), &one, sizeof(one));
  return {kAccepted, "application/json", "{}", {}};
}

// ---- on the thread of the runs

void Api::run_all(const std::vector<Order>& orders) {
  for (const Order& order : orders) {
    if (is_to_stop()) {
      break;
    }
    run_one(order);
  }
  options_.post([this] { end_all(); });
}

bool Api::is_to_stop() const {
  pollfd item{stop_fd_.get(), POLLIN, 0};
  return ::poll(&item, 1, 0) == 1;
}

void Api::run_one(const Order& order) {
  const Plan plan = make_plan(*order.scenario, order.mode, order.settings);
  std::unique_ptr<LiveRun> live;
  Watcher watcher;
  watcher.on_begin = [&](const RunInfo& run, const std::filesystem::path& directory) {
    live = std::make_unique<LiveRun>(run, order.number, directory);
    options_.post([this, order] { begin_run(order); });
    tell({live->begin()});
  };
  watcher.on_events = [&](std::span<const Event> events) {
    tell(live->take(events, monotonic_ns()));
  };
  watcher.on_end = [&](const Recording& recording, const std::vector<Table>& tables) {
    auto outcome = std::make_shared<Outcome>(evaluate(recording));
    tell(live->end(*outcome, plan, tables));
    options_.post([this, order, outcome] { keep(order, std::move(*outcome)); });
  };
  const auto ran = run_plan(plan, stop_fd_.get(), watcher);
  if (!ran) {
    tell({{order.number,
           "failed",
           dump({{"run", order.number}, {"error", ran.error().what}, {"hint", ran.error().hint}}),
           {},
           0}});
  }
}

void Api::tell(std::vector<LiveMessage> messages) {
  options_.post([this, messages = std::move(messages)] { publish(messages); });
}

// ---- on the server's thread

void Api::begin_run(const Order& order) {
  if (shown_work_.scenario != order.scenario || !(shown_work_.settings == order.settings)) {
    stream_.clear();
    shown_.clear();
  }
  shown_work_ = order;
  Shown& shown = shown_[order.mode];
  stream_.forget(shown.number);
  shown = {order.number, {}};
}

void Api::keep(const Order& order, Outcome outcome) {
  shown_[order.mode] = {order.number, std::move(outcome)};
}

void Api::publish(const std::vector<LiveMessage>& messages) {
  std::string frames;
  for (const LiveMessage& message : messages) {
    frames += stream_.add(message);
  }
  options_.send(std::move(frames));
}

void Api::end_all() {
  is_running_ = false;
  options_.send(sse_frame("idle", "{}"));
}

}  // namespace turnstile::lab
