// Producers and the consumer behind bad networks, with real processes over TCP: every row once, in
// order, the text log equal to the table, and everything at its end within a deadline.
#include <algorithm>
#include <iostream>

#include <gtest/gtest.h>

#include "tests/campaigns/network_proxy.h"
#include "tests/e2e/harness.h"

namespace turnstile::campaign {
namespace {

using namespace std::chrono_literals;
using e2e::Process;
using e2e::System;
using Clock = std::chrono::steady_clock;

constexpr auto kRoundPatience = 240s;

// A network that is bad for so many connections and then well, so that a round comes to its end.
class Weather {
 public:
  Weather(std::uint64_t seed, int bad_connections, int half_open)
      : random_(seed), bad_left_(bad_connections), half_open_left_(half_open) {}

  Fate operator()() {
    Fate fate;
    if (bad_left_ == 0) {
      return fate;
    }
    --bad_left_;
    if (one_in(3)) {
      fate.delay = std::chrono::microseconds(between(100, 60'000));
    }
    if (one_in(3)) {
      constexpr std::array<std::size_t, 6> kPieces{1, 3, 7, 61, 1021, 8191};
      fate.piece = kPieces.at(between(0, kPieces.size() - 1));
    }
    if (one_in(4)) {
      fate.bytes_a_second = between(60'000, 2'000'000);
    }
    fate.end = one_in(2) ? End::reset : End::fin;
    if (half_open_left_ > 0 && one_in(3)) {
      --half_open_left_;
      constexpr std::array kHalfOpen{End::swallow_up, End::swallow_down, End::swallow_both,
                                     End::black_hole};
      fate.end = kHalfOpen.at(between(0, kHalfOpen.size() - 1));
    }
    // Most end in mid-stream, some within the greeting.
    fate.end_after_bytes = one_in(5) ? between(0, 400) : between(400, 120'000);
    return fate;
  }

 private:
  std::size_t between(std::size_t low, std::size_t high) {
    return std::uniform_int_distribution<std::size_t>(low, high)(random_);
  }
  bool one_in(std::size_t n) { return between(1, n) == 1; }

  std::mt19937_64 random_;
  int bad_left_;
  int half_open_left_;
};

// A system whose processes reach the broker over TCP only.
class Remote {
 public:
  Remote() { system_.endpoint = "tcp://127.0.0.1:*"; }

  // Listens when this returns: a proxy's connections are ended by a plan, which counts them.
  Process broker() { return system_.broker(); }
  // Of the broker that runs.
  [[nodiscard]] std::uint16_t port() const {
    return static_cast<std::uint16_t>(
        std::stoul(system_.endpoint.substr(system_.endpoint.rfind(':') + 1)));
  }
  Process consumer(const Proxy& proxy) { return system_.consumer({"--broker", proxy.endpoint()}); }
  Process produce(const Proxy& proxy, int stream, std::int64_t rows,
                  std::vector<std::string> more) {
    const auto path = system_.folder.file("stream" + std::to_string(stream) + ".csv");
    e2e::write_file(path, e2e::nutrients_csv(rows, 1 + stream * 1'000'000));
    more.insert(more.begin(), {"csv", path, "--table", "nutrients", "--json", "--timeout", "0",
                               "--broker", proxy.endpoint()});
    return system_.produce(std::move(more));
  }

  bool wait_for_text(std::uintmax_t bytes, std::chrono::milliseconds patience) {
    const auto path = system_.folder.file("out9.txt");
    return system_.folder.wait_until([&] { return e2e::size_of(path) >= bytes; }, nullptr,
                                     patience);
  }
  [[nodiscard]] std::uintmax_t text_bytes() const {
    return e2e::size_of(system_.folder.file("out9.txt"));
  }

  void expect_every_row_once_in_order(std::int64_t rows) {
    EXPECT_EQ(system_.query("SELECT count(*) FROM nutrients"), rows);
    EXPECT_EQ(system_.query("SELECT count(DISTINCT id) FROM nutrients"), rows);
    // Rows of one producer are in the order of their ids.
    EXPECT_EQ(system_.query("SELECT count(*) FROM (SELECT id - lag(id) OVER (PARTITION BY "
                            "id / 1000000 ORDER BY rowid) AS step FROM nutrients) WHERE step <> 1"),
              0);
    EXPECT_TRUE(system_.folder.wait_until([this] {
      return e2e::read_file(system_.folder.file("out9.txt")) == e2e::expected_text_log(system_);
    })) << "out9.txt is not the table";
    Process check = system_.check();
    EXPECT_EQ(check.wait(), 0) << check.out() << check.err();
  }

 private:
  System system_;
};

std::int64_t ms_since(Clock::time_point begun) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - begun).count();
}

void bad_round(int round, std::uint64_t seed) {
  constexpr std::int64_t kRows = 4'000;
  const auto begun = Clock::now();
  std::mt19937_64 random(seed);
  Remote remote;
  Process broker = remote.broker();
  Proxy to_producers(remote.port(), Weather(random(), 20, 2));
  Proxy to_consumer(remote.port(), Weather(random(), 12, 1));
  Process consumer = remote.consumer(to_consumer);
  // Random ids and a name, small batches and large ones.
  const std::vector<std::vector<std::string>> streams{
      {"--batch-rows", "20"},
      {"--batch-rows", "500", "--resume", "stream1"},
      {"--batch-rows", "100"}};
  std::vector<Process> producers;
  for (std::size_t i = 0; i < streams.size(); ++i) {
    producers.push_back(remote.produce(to_producers, static_cast<int>(i), kRows, streams[i]));
  }
  for (auto& producer : producers) {
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(begun + kRoundPatience - Clock::now());
    ASSERT_EQ(producer.wait(std::max(left, 0ms)), 0)
        << producer.err() << broker.err() << consumer.err();
    EXPECT_EQ(producer.json()["rows_applied"], kRows) << producer.out();
  }
  remote.expect_every_row_once_in_order(kRows * static_cast<std::int64_t>(streams.size()));
  std::cout << "round " << round << ": " << ms_since(begun) << " ms, connections "
            << to_producers.accepted() << " + " << to_consumer.accepted();
  for (std::size_t i = 1; i < kEnds; ++i) {
    const auto end = static_cast<End>(i);
    std::cout << ", " << name_of(end) << " " << to_producers.ended(end) + to_consumer.ended(end);
  }
  std::cout << std::endl;
  EXPECT_GE(to_producers.ended(End::fin) + to_producers.ended(End::reset), 4U) << "nothing was cut";
}

TEST(Network, EveryRowOnceAndInOrderThroughCutsDelaysSplitsThrottlingAndHalfOpenConnections) {
  const std::uint64_t seed = e2e::test_seed();
  const int rounds = e2e::test_rounds(1);
  for (int round = 0; round < rounds && !::testing::Test::HasFailure(); ++round) {
    SCOPED_TRACE("round " + std::to_string(round));
    bad_round(round, seed + static_cast<std::uint64_t>(round));
  }
}

// A client notices after 6 s in which nothing answers it, ZeroMQ's heartbeat after 12 s, and a
// connection that never greets is given up after 5 s. Then it connects anew.
constexpr auto kNoticed = 30s;

// Half-opens the connection of the producer or the consumer in mid-stream, and measures how long it
// takes until there is a new one.
void half_open(End how, bool consumers, std::string& line) {
  constexpr std::int64_t kRows = 4'000;
  constexpr std::uintmax_t kSomeText = 2'000;
  std::atomic<bool> black_hole{false};
  const auto fate = [&black_hole] {
    Fate next;
    if (black_hole.exchange(false)) {
      next.end = End::black_hole;
    }
    return next;
  };
  Remote remote;
  Process broker = remote.broker();
  Proxy to_producer(remote.port(), consumers ? [] { return Fate(); } : std::function<Fate()>(fate));
  Proxy to_consumer(
      remote.port(), consumers ? std::function<Fate()>(fate) : [] { return Fate(); });
  Process consumer = remote.consumer(to_consumer);
  Process producer = remote.produce(to_producer, 0, kRows, {"--interval", "4ms"});
  const std::string what = std::string(consumers ? "consumer, " : "producer, ") + name_of(how);
  EXPECT_TRUE(remote.wait_for_text(kSomeText, e2e::kPatience)) << what << producer.err();
  Proxy& struck = consumers ? to_consumer : to_producer;
  const auto connections = struck.accepted() + (how == End::black_hole ? 2 : 1);
  if (how == End::black_hole) {
    black_hole = true;
    struck.strike(End::reset);
  } else {
    struck.strike(how);
  }
  const auto begun = Clock::now();
  EXPECT_TRUE(struck.wait_for_accepted(connections, kNoticed))
      << what << "\n"
      << producer.err() << broker.err() << consumer.err();
  const auto noticed = ms_since(begun);
  EXPECT_TRUE(remote.wait_for_text(remote.text_bytes() + kSomeText, kNoticed))
      << what << "\n"
      << producer.err() << broker.err() << consumer.err();
  line = what + ": connected anew after " + std::to_string(noticed) + " ms, rows arrive after " +
         std::to_string(ms_since(begun)) + " ms";
  EXPECT_GE(struck.ended(how), 1U) << what;
  EXPECT_EQ(producer.wait(), 0) << what << producer.err();
  remote.expect_every_row_once_in_order(kRows);
}

TEST(Network, AHalfOpenConnectionIsNoticedAndReplaced) {
  constexpr std::array kHow{End::swallow_up, End::swallow_down, End::swallow_both, End::black_hole};
  std::vector<std::string> lines(2 * kHow.size());
  std::vector<std::thread> threads;
  threads.reserve(lines.size());
  for (std::size_t i = 0; i < lines.size(); ++i) {
    threads.emplace_back([i, &kHow, &line = lines[i]] {
      half_open(kHow.at(i % kHow.size()), i >= kHow.size(), line);
    });
  }
  for (auto& thread : threads) {
    thread.join();
  }
  for (const auto& line : lines) {
    std::cout << line << "\n";
  }
}

}  // namespace
}  // namespace turnstile::campaign
