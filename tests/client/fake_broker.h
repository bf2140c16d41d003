// A link whose other end is the test, with its own clock: receive() advances that clock instead of
// waiting.
#pragma once

#include <chrono>
#include <deque>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "link/link.h"
#include "proto/messages.h"

namespace turnstile {

class FakeBroker final : public Link {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;

  FakeBroker() { welcome.epoch = {1}; }

  bool send(const Message& message) override {
    if (!is_connected) {
      return false;
    }
    sent.push_back(message);
    now += std::holds_alternative<Batch>(message) ? writing_takes : writing_takes.zero();
    if (answers) {
      std::visit([this](const auto& m) { answer(m); }, message);
    }
    return true;
  }

  std::optional<Message> receive(std::chrono::milliseconds wait) override {
    if (to_producer.empty()) {
      now += wait;
      if (wait.count() > 0 && on_wait) {
        on_wait();
      }
    }
    if (to_producer.empty()) {
      return std::nullopt;
    }
    Message message = std::move(to_producer.front());
    to_producer.pop_front();
    return message;
  }

  void reconnect() override {
    ++reconnects;
    to_producer.clear();
    if (on_reconnect) {
      on_reconnect();
    }
  }

  [[nodiscard]] const std::optional<LinkTrouble>& trouble() const override { return why_not; }

  // All messages of one type sent so far.
  template <typename M>
  [[nodiscard]] std::vector<M> all() const {
    std::vector<M> found;
    for (const auto& message : sent) {
      if (const auto* one = std::get_if<M>(&message)) {
        found.push_back(*one);
      }
    }
    return found;
  }

  [[nodiscard]] std::function<TimePoint()> clock() {
    return [this] { return now; };
  }

  bool is_connected = true;
  std::optional<LinkTrouble> why_not;          // the trouble that the link reports
  std::chrono::milliseconds writing_takes{0};  // duration of send(), as in direct mode
  bool answers = true;                         // false: answers nothing
  enum class Rows { applied, stored, ignored } rows = Rows::applied;
  Welcome welcome = [] {
    Welcome w;
    w.credit_bytes = 1'000'000;
    w.consumer_attached = true;
    w.through_is_sure = true;
    return w;
  }();
  TableState table_state = TableState::ready;
  std::string report = "\x80";     // of AskStatus: an empty map
  std::vector<std::string> types;  // of the table's columns

  std::vector<Message> sent;
  std::deque<Message> to_producer;
  std::function<void()> on_wait;  // the producer waits, and no message is in flight to it
  std::function<void()> on_reconnect;
  TimePoint now{};
  int reconnects = 0;

 private:
  void answer(const Hello& /*hello*/) { to_producer.push_back(welcome); }
  void answer(const Heartbeat& heartbeat) { to_producer.push_back(heartbeat); }
  void answer(const CheckTable& question) {
    to_producer.push_back(TableAnswer{question.request, table_state, "", types});
  }
  void answer(const Batch& batch) {
    if (rows == Rows::stored) {
      to_producer.push_back(Stored{batch.header.last()});
    } else if (rows == Rows::applied) {
      to_producer.push_back(Applied{batch.header.last(), 0, {}});
    }
  }
  void answer(const AskStatus& question) {
    to_producer.push_back(Status{question.request, Bytes(report)});
  }
  template <typename Other>
  void answer(const Other& /*other*/) {}
};

}  // namespace turnstile
