// A consumer between a broker that the test plays and a target that does as it is told, on a clock
// that only waiting moves.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "consumer/consumer.h"
#include "tests/client/fake_broker.h"

namespace turnstile::consumer {

using namespace std::chrono_literals;

// What outlives the targets that are opened.
struct FakeFile {
  std::vector<std::string> done;  // in order
  // What the next calls of that name fail with.
  std::map<std::string, std::deque<Errc>> fails;
  int open = 0;  // targets that are open now
  std::map<std::string, std::uint64_t> through;
  std::vector<store::BatchOutcome> final_outcomes;
  std::uint32_t dead_per_batch = 0;
  std::optional<Error> text_error;
  std::function<void()> on_apply;
  std::function<void()> on_commit;
  // Within begin(): what a wait for a lock asks. False gives up.
  int waits_in_begin = 0;
  std::vector<std::string> notes;
  std::vector<TableTrouble> troubles;
  // Within begin(): who holds the target, while it waits.
  std::optional<Error> held_by;

  std::optional<Error> failure_of(const std::string& call) {
    done.push_back(call);
    auto& errors = fails[call];
    if (errors.empty()) {
      return std::nullopt;
    }
    const Errc code = errors.front();
    errors.pop_front();
    done.back() += " fails";
    return Error{code, call + " failed", "a hint"};
  }
};

class FakeTarget final : public store::WritableTarget {
 public:
  FakeTarget(FakeFile& file, store::TargetOptions options)
      : file_(file), options_(std::move(options)) {
    ++file_.open;
  }
  ~FakeTarget() override {
    --file_.open;
    file_.done.emplace_back("close");
  }

  Result<Generation> take_over() override {
    return done("take_over").map([] { return Generation{7}; });
  }
  Result<void> begin() override {
    for (int i = 0; i < file_.waits_in_begin; ++i) {
      if (file_.held_by) {
        options_.on_locked(*file_.held_by);
      }
      if (!options_.while_waiting()) {
        return fail(Errc::locked, "given up");
      }
    }
    return done("begin");
  }
  Result<store::BatchOutcome> apply(const BatchHeader& header, const Bytes& rows) override {
    if (file_.on_apply) {
      file_.on_apply();
    }
    auto applied = done("apply");
    if (!applied) {
      return tl::make_unexpected(applied.error());
    }
    file_.done.back() += " " + header.producer.text + " " + std::to_string(header.first.value) +
                         " " + std::string(rows.view());
    file_.through[header.producer.text] = header.last().value;
    store::BatchOutcome outcome;
    outcome.through = header.last();
    outcome.rows_applied = header.rows;
    outcome.dead_count = file_.dead_per_batch;
    for (std::uint32_t i = 0; i < file_.dead_per_batch; ++i) {
      outcome.dead.push_back({header.first, "no"});
    }
    return outcome;
  }
  std::vector<store::BatchOutcome> take_outcomes() override {
    return std::exchange(file_.final_outcomes, {});
  }
  Result<void> commit() override {
    if (file_.on_commit) {
      file_.on_commit();
    }
    return done("commit");
  }
  void rollback() override { file_.done.emplace_back("rollback"); }
  Result<void> catch_up_text_log() override {
    auto caught_up = done("catch_up");
    if (caught_up) {
      file_.text_error.reset();
    }
    return caught_up;
  }
  [[nodiscard]] const std::optional<Error>& text_log_error() const override {
    return file_.text_error;
  }
  std::vector<std::string> take_notes() override { return std::exchange(file_.notes, {}); }
  Result<Progress> progress(const ProducerId& producer, Sequence since) override {
    return done("progress").map([&] {
      Progress progress;
      progress.known = true;
      progress.through = {file_.through[producer.text]};
      progress.dead_count = static_cast<std::uint32_t>(since.value);
      return progress;
    });
  }
  Result<TableAnswer> check_table(const std::string& table,
                                  const std::vector<std::string>& columns) override {
    return done("check_table").map([&] {
      return TableAnswer{0, TableState::missing_column, table + "." + columns.front()};
    });
  }
  [[nodiscard]] std::uint64_t dead_letters() const override { return 42; }
  [[nodiscard]] std::vector<TableTrouble> table_troubles() const override { return file_.troubles; }
  Result<void> housekeeping() override {
    // Noted once, however often the consumer is idle.
    if (!file_.fails["housekeeping"].empty() || file_.done.empty() ||
        file_.done.back() != "housekeeping") {
      return done("housekeeping");
    }
    return {};
  }

 private:
  Result<void> done(const std::string& call) {
    auto failure = file_.failure_of(call);
    return failure ? Result<void>(tl::make_unexpected(*failure)) : Result<void>();
  }

  FakeFile& file_;
  store::TargetOptions options_;
};

class ConsumerTest : public testing::Test {
 protected:
  ConsumerTest() {
    broker_.answers = false;
    broker_.now = FakeBroker::TimePoint(1h);
    options_.target.path = "/data/shared.db";
    options_.clock = broker_.clock();
    options_.open_target =
        [this](store::TargetOptions target) -> Result<std::unique_ptr<store::WritableTarget>> {
      if (const auto failure = file_.failure_of("open")) {
        return tl::make_unexpected(*failure);
      }
      return std::make_unique<FakeTarget>(file_, std::move(target));
    };
  }

  Consumer& consumer() {
    if (!consumer_) {
      consumer_.emplace(broker_, options_, [this] { return is_stopped_; });
    }
    return *consumer_;
  }
  // One turn, with what the broker says before it.
  Result<void> turn(std::vector<Message> messages = {}, std::chrono::milliseconds wait = 0ms) {
    static_cast<void>(consumer());  // its clock starts before the first wait
    for (auto& message : messages) {
      broker_.to_producer.push_back(std::move(message));
    }
    return consumer().serve(wait);
  }
  // Idle turns for that long.
  Result<void> idle(std::chrono::milliseconds duration) {
    Result<void> served;
    for (const auto end = broker_.now + duration; broker_.now < end && served;) {
      served = turn({}, 100ms);
    }
    return served;
  }
  void get_lease(std::uint64_t lease = 1) {
    ASSERT_TRUE(turn({granted(lease)}));
    file_.done.clear();
    broker_.sent.clear();
  }

  static LeaseState granted(std::uint64_t lease) { return {true, {lease}, 5000ms}; }
  static LeaseState not_yours(std::uint64_t lease) { return {false, {lease}, 5000ms}; }
  static Refusal hello_first() { return {RefusalCode::hello_first, {}, "say hello first"}; }
  static Delivery batch(std::uint64_t ticket, std::uint64_t first, std::uint32_t rows = 1,
                        std::chrono::milliseconds task = 0ms) {
    BatchHeader header;
    header.producer = {"p"};
    header.epoch = {1};
    header.first = {first};
    header.rows = rows;
    header.table = "pets";
    header.columns = {"name"};
    header.task_duration = task;
    return {{ticket}, encode_batch_header(header), Bytes("rows" + std::to_string(first))};
  }

  // The messages of one kind that it sent since the last look.
  template <typename M>
  std::vector<M> sent() {
    std::vector<M> found = broker_.all<M>();
    std::erase_if(broker_.sent,
                  [](const Message& message) { return std::holds_alternative<M>(message); });
    return found;
  }
  // The tickets of the results that it sent since the last look, message by message; not those
  // messages that only say why it cannot apply rows.
  std::vector<std::vector<std::uint64_t>> tickets() {
    std::vector<std::vector<std::uint64_t>> found;
    for (const auto& message : sent<Results>()) {
      if (message.results.empty() && !message.stats.problem.empty()) {
        continue;
      }
      auto& list = found.emplace_back();
      for (const auto& result : message.results) {
        list.push_back(result.ticket.value);
      }
    }
    return found;
  }
  std::vector<std::string> done() { return std::exchange(file_.done, {}); }

  FakeBroker broker_;
  FakeFile file_;
  ConsumerOptions options_;
  bool is_stopped_ = false;
  std::optional<Consumer> consumer_;
};

}  // namespace turnstile::consumer
