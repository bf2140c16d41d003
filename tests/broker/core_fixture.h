// A broker's core between scripted producers and consumers, with a real journal and a clock that
// the test moves.
#pragma once

#include <fstream>
#include <functional>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "broker/core.h"
#include "broker/journal.h"
#include "tests/broker/batches.h"
#include "tests/broker/folder.h"
#include "tests/support/fault_vfs.h"

namespace turnstile::broker {

inline constexpr std::uint64_t kWallClock = 1'700'000'000'000;

// Tests give their connections names.
inline ConnectionId id(std::string_view name) {
  return {std::hash<std::string_view>()(name)};
}

class CoreTest : public testing::Test {
 protected:
  CoreTest() { start(); }

  void start(WindowOptions window = {}, std::size_t limit = 1 << 30, std::size_t sessions = 100) {
    core_.reset();
    journal_.reset();
    auto journal = Journal::open({directory_ / "journal.db", limit, vfs_.name()});
    if (!journal) {
      throw std::runtime_error(journal.error().what);
    }
    journal_.emplace(std::move(*journal));
    CoreOptions options;
    options.window = window;
    options.max_sessions = sessions;
    options.broker_id = "b0";
    options.leases_after = {1'000 * ++starts_};
    options.own_user = own_user_;
    options.wall_clock_ms = [] { return kWallClock; };
    core_.emplace(std::move(options), *journal_, now_);
    ASSERT_TRUE(core_->start());
  }

  // One turn of the broker's loop.
  void turn(std::chrono::milliseconds later = std::chrono::milliseconds(0)) {
    now_ += later;
    core_->advance(now_);
    core_->store(now_);
    core_->advance(now_);
    for (auto& outgoing : core_->take_outbox()) {
      sent_.push_back(std::move(outgoing));
    }
  }
  void say(std::string_view name, Message message, User user = {}) {
    core_->receive(id(name), std::move(message), now_, user);
    turn();
  }

  static Hello producer_hello(const std::string& id, std::uint64_t epoch = 0,
                              std::uint64_t known = 0, bool named = false) {
    Hello hello;
    hello.role = Role::producer;
    hello.producer = {id};
    hello.named = named;
    hello.epoch = {epoch};
    hello.known = {known};
    return hello;
  }
  static Hello consumer_hello() {
    Hello hello;
    hello.role = Role::consumer;
    hello.producer = {"/data/shared.db"};
    return hello;
  }

  // Gives the messages of one kind that were sent to a connection since the last take().
  template <typename T>
  std::vector<T> take(std::string_view name) {
    std::vector<T> out;
    std::erase_if(sent_, [&](Outgoing& outgoing) {
      auto* message = std::get_if<T>(&outgoing.message);
      if (outgoing.connection != id(name) || message == nullptr) {
        return false;
      }
      out.push_back(std::move(*message));
      return true;
    });
    return out;
  }
  template <typename T>
  T one(std::string_view name) {
    auto all = take<T>(name);
    EXPECT_EQ(all.size(), 1U);
    return all.empty() ? T{} : std::move(all.front());
  }
  template <typename T>
  bool none(std::string_view name) {
    return take<T>(name).empty();
  }

  Welcome join_producer(std::string_view name, const std::string& id) {
    say(name, producer_hello(id));
    return one<Welcome>(name);
  }
  Lease join_consumer(std::string_view name) {
    say(name, consumer_hello());
    const auto state = one<LeaseState>(name);
    EXPECT_TRUE(state.granted);
    for (const auto& ask : take<AskProgress>(name)) {
      say(name, ProgressAnswer{ask.request, {}});
    }
    return state.lease;
  }
  void answer(std::string_view name, Lease lease, std::vector<BatchResult> results) {
    say(name, Results{lease, std::move(results), {}});
  }
  nlohmann::json report() {
    const Bytes bytes = core_->status_report(now_);
    return nlohmann::json::from_msgpack(bytes.view().begin(), bytes.view().end());
  }
  std::string journal_files() {
    std::ostringstream out;
    for (const char* name : {"journal.db", "journal.db-wal"}) {
      out << std::ifstream(directory_ / name, std::ios::binary).rdbuf() << '|';
    }
    return out.str();
  }

  std::uint64_t starts_ = 0;
  User own_user_;
  TempDirectory directory_;
  test::FaultVfs vfs_;
  TimePoint now_ = kStart;
  std::optional<Journal> journal_;
  std::optional<Core> core_;
  std::vector<Outgoing> sent_;
};

}  // namespace turnstile::broker
