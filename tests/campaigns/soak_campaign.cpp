// A long run with a load that comes and goes, and a consumer that is away and comes back: nothing
// grows but the target. TURNSTILE_SOAK=1h says how long; unless set, short.
#include <signal.h>
#include <sqlite3.h>

#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <stdexcept>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tests/e2e/harness.h"

namespace turnstile::campaign {
namespace {

using namespace std::chrono_literals;
using e2e::kMiB;
using e2e::Process;
using e2e::System;
using Clock = std::chrono::steady_clock;

constexpr auto kDrained = 300s;

std::chrono::seconds soak_time(std::chrono::seconds unless_given) {
  const char* given = std::getenv("TURNSTILE_SOAK");
  if (given == nullptr) {
    return unless_given;
  }
  std::size_t digits = 0;
  const std::chrono::seconds number(std::stoll(given, &digits));
  const std::string unit(given + digits);
  if (unit == "h") {
    return number * 3600;
  }
  if (unit == "m") {
    return number * 60;
  }
  if (unit != "s") {
    throw std::runtime_error("TURNSTILE_SOAK is a number with s, m or h");
  }
  return number;
}

// What one look shows, or the greatest of many.
struct Sizes {
  std::uintmax_t broker_kib = 0;
  std::uintmax_t broker_files = 0;
  std::uintmax_t consumer_kib = 0;
  std::uintmax_t consumer_files = 0;
  std::uintmax_t journal = 0;
  std::uintmax_t journal_wal = 0;
  std::uintmax_t journal_and_log = 0;
  std::uintmax_t target_wal = 0;

  static constexpr std::array kMembers{&Sizes::broker_kib,      &Sizes::broker_files,
                                       &Sizes::consumer_kib,    &Sizes::consumer_files,
                                       &Sizes::journal_and_log, &Sizes::target_wal};
  static constexpr std::array kNames{"broker, KiB resident",       "broker, open files",
                                     "consumer, KiB resident",     "consumer, open files",
                                     "journal and its log, bytes", "the target's log, bytes"};
  // What may be more at the end than at the beginning: heaps fragment, connections come and go, and
  // a look may find the backlog in the journal and in its log (of each, the bound when drained is
  // asserted apart).
  static constexpr std::array<std::uintmax_t, kMembers.size()> kSlack{
      8 * 1024, 8, 8 * 1024, 4, 32 * kMiB, 8 * kMiB};

  void raise(const Sizes& other) {
    for (const auto member : kMembers) {
      this->*member = std::max(this->*member, other.*member);
    }
  }
};

class Soak {
 public:
  Soak(std::uint64_t seed, std::chrono::milliseconds interval)
      : random_(seed),
        interval_(interval),
        broker_(system_.broker({"--memory", "8MiB"})),
        consumer_(system_.consumer()) {
    fmt::print("{:>8} {:>8} {:>8} {:>6} {:>8} {:>6} {:>9} {:>9} {:>9} {:>9} {:>10}\n", "s", "phase",
               "broker", "files", "consumer", "files", "journal", "its log", "target", "its log",
               "rows sent");
    fmt::print("{:>8} {:>8} {:>8} {:>6} {:>8} {:>6} {:>9} {:>9} {:>9} {:>9} {:>10}\n", "", "",
               "KiB", "", "KiB", "", "KiB", "KiB", "KiB", "KiB", "");
  }

  // A burst, a trickle, a backlog while the consumer is away, and the end of it. The greatest
  // sizes seen.
  Sizes cycle() {
    peaks_ = {};
    phase_ = "burst";
    send(2, between(2'000, 20'000), {});
    phase_ = "trickle";
    send(1, between(100, 300), {"--interval", "2ms"});
    phase_ = "backlog";
    consumer_.signal(SIGSTOP);
    send(3, 20'000, {"--ack", "stored"});
    EXPECT_GT(look().journal_and_log, 20 * kMiB) << "no backlog to speak of";
    consumer_.signal(SIGCONT);
    phase_ = "drain";
    const auto until = Clock::now() + kDrained;
    while (!drained() && Clock::now() < until) {
      look_if_due();
    }
    EXPECT_TRUE(drained()) << broker_.err() << consumer_.err();
    phase_ = "drained";
    drained_ = look();
    return peaks_;
  }
  // After the latest cycle.
  [[nodiscard]] const Sizes& when_drained() const { return drained_; }

  void expect_everything_once() {
    EXPECT_EQ(system_.query("SELECT count(*) FROM nutrients"), rows_);
    EXPECT_EQ(system_.query("SELECT count(DISTINCT id) FROM nutrients"), rows_);
    for (auto* process : {&broker_, &consumer_}) {
      process->signal(SIGTERM);
      EXPECT_EQ(process->wait(), 0) << process->err();
    }
    Process check = system_.check();
    EXPECT_EQ(check.wait(), 0) << check.out() << check.err();
  }

 private:
  std::int64_t between(std::int64_t low, std::int64_t high) {
    return std::uniform_int_distribution<std::int64_t>(low, high)(random_);
  }

  // Rows of about 400 bytes: a backlog of some size takes little time.
  std::string csv(std::int64_t rows) {
    const auto path = system_.folder.file("soak" + std::to_string(++files_) + ".csv");
    std::string text = "id,name,unit_name,nutrient_nbr,rank,time\n";
    for (std::int64_t i = 0; i < rows; ++i) {
      text += std::to_string(++rows_) + "," + std::string(400, static_cast<char>('a' + i % 26)) +
              ",MG,1,2,10:45\n";
    }
    e2e::write_file(path, text);
    return path;
  }

  void send(int producers, std::int64_t rows, const std::vector<std::string>& more) {
    std::vector<Process> running;
    std::vector<std::string> paths;
    for (int i = 0; i < producers; ++i) {
      paths.push_back(csv(rows));
      std::vector<std::string> arguments{"csv",       paths.back(), "--table",
                                         "nutrients", "--timeout",  "0"};
      arguments.insert(arguments.end(), more.begin(), more.end());
      running.push_back(system_.produce(std::move(arguments), "soak"));
    }
    for (auto& producer : running) {
      const auto until = Clock::now() + kDrained;
      while (producer.running() && Clock::now() < until) {
        look_if_due();
        system_.folder.wait_until([&] { return !producer.running() || Clock::now() >= next_look_; },
                                  &producer, interval_);
      }
      EXPECT_EQ(producer.wait(0ms), 0) << producer.err();
    }
    for (const auto& path : paths) {
      std::filesystem::remove(path);
    }
  }

  bool drained() {
    const auto report = system_.status();
    return report.is_object() && report["journal"]["batches"] == 0 &&
           report["window"]["batches"] == 0;
  }

  void look_if_due() {
    if (Clock::now() >= next_look_) {
      look();
      next_look_ = Clock::now() + interval_;
    }
  }

  Sizes look() {
    const auto file = [this](const char* name) { return e2e::size_of(system_.folder.file(name)); };
    const Sizes now{broker_.resident_kib(),
                    broker_.open_files(),
                    consumer_.resident_kib(),
                    consumer_.open_files(),
                    file("journal.db"),
                    file("journal.db-wal"),
                    file("journal.db") + file("journal.db-wal"),
                    file("shared.db-wal")};
    fmt::print("{:8.1f} {:>8} {:8} {:6} {:8} {:6} {:9} {:9} {:9} {:9} {:10}\n",
               std::chrono::duration<double>(Clock::now() - begun_).count(), phase_, now.broker_kib,
               now.broker_files, now.consumer_kib, now.consumer_files, now.journal / 1024,
               now.journal_wal / 1024, file("shared.db") / 1024, now.target_wal / 1024, rows_);
    std::cout.flush();
    peaks_.raise(now);
    return now;
  }

  System system_;
  std::mt19937_64 random_;
  std::chrono::milliseconds interval_;
  Clock::time_point begun_ = Clock::now();
  Clock::time_point next_look_ = begun_;
  const char* phase_ = "start";
  std::int64_t rows_ = 0;
  int files_ = 0;
  Sizes peaks_;
  Sizes drained_;
  Process broker_;
  Process consumer_;
};

// What the files may have once a backlog is drained (JOURNAL.md; 4,000 pages of 16 KiB in the
// target's log before it is used again, and a transaction or two more).
constexpr std::uintmax_t kJournalDrained = 16 * kMiB;
constexpr std::uintmax_t kJournalLogDrained = 24 * kMiB;
constexpr std::uintmax_t kTargetLogDrained = 96 * kMiB;

// The rule: the first cycle is warm-up; of those behind it, the greatest of the last third may not
// be above the greatest of the first third by more than the slack.
TEST(SoakCampaign, NothingGrowsButTheTarget) {
  constexpr std::size_t kFewestCycles = 4;
  const auto time = soak_time(kSanitized ? 5s : 20s);
  Soak soak(e2e::test_seed(),
            std::max<std::chrono::milliseconds>(1000ms, std::chrono::milliseconds(time) / 200));
  std::vector<Sizes> cycles;
  const auto until = Clock::now() + time;
  while ((Clock::now() < until || cycles.size() < kFewestCycles) && !HasFailure()) {
    cycles.push_back(soak.cycle());
    EXPECT_LE(soak.when_drained().journal, kJournalDrained) << "the journal keeps its size";
    EXPECT_LE(soak.when_drained().journal_wal, kJournalLogDrained);
    EXPECT_LE(soak.when_drained().target_wal, kTargetLogDrained);
  }
  ASSERT_GE(cycles.size(), kFewestCycles);
  const std::size_t third = (cycles.size() - 1) / 3;
  Sizes first;
  Sizes last;
  for (std::size_t i = 0; i < third; ++i) {
    first.raise(cycles[1 + i]);
    last.raise(cycles[cycles.size() - 1 - i]);
  }
  fmt::print("{} cycles; the greatest of the first and of the last third, without warm-up:\n",
             cycles.size());
  for (std::size_t i = 0; i < Sizes::kMembers.size(); ++i) {
    const auto member = Sizes::kMembers.at(i);
    fmt::print("  {:<24} {:>12} {:>12}\n", Sizes::kNames.at(i), first.*member, last.*member);
    EXPECT_LE(last.*member, first.*member + Sizes::kSlack.at(i)) << Sizes::kNames.at(i);
  }
  soak.expect_everything_once();
}

// A reader of the target that does not end keeps the target's log from being used again.
TEST(SoakCampaign, AReaderThatStaysOpenIsNamedInTheLogAndItsSpaceIsGivenBackWhenItEnds) {
  System system;
  Process broker = system.broker();
  Process consumer = system.consumer();
  const auto file = system.folder.file("wide.csv");
  const auto write_csv = [&](std::int64_t first, std::int64_t rows) {
    std::string text = "id,what\n";
    for (std::int64_t i = 0; i < rows; ++i) {
      text += std::to_string(first + i) + "," + std::string(60'000, 'w') + "\n";
    }
    e2e::write_file(file, text);
  };
  const auto send = [&] {
    Process producer = system.produce({"csv", file, "--create", "--timeout", "0"});
    EXPECT_EQ(producer.wait(), 0) << producer.err();
  };
  write_csv(1, 10);
  send();
  {
    sqlite3* handle = nullptr;
    ASSERT_EQ(sqlite3_open_v2(system.folder.file("shared.db").c_str(), &handle,
                              SQLITE_OPEN_READONLY, nullptr),
              SQLITE_OK);
    const std::unique_ptr<sqlite3, int (*)(sqlite3*)> reader(handle, sqlite3_close_v2);
    ASSERT_EQ(sqlite3_exec(handle, "BEGIN; SELECT count(*) FROM wide", nullptr, nullptr, nullptr),
              SQLITE_OK);
    write_csv(11, 2'500);  // 150 MB
    send();
    EXPECT_TRUE(system.folder.wait_until(
        [&] { return consumer.err().find("write-ahead log") != std::string::npos; }, nullptr, 10s))
        << consumer.err();
    EXPECT_GT(e2e::size_of(system.folder.file("shared.db-wal")), 120 * kMiB);
  }
  write_csv(3'000, 200);
  send();  // may still begin behind what the reader kept
  write_csv(4'000, 200);
  send();
  EXPECT_LE(e2e::size_of(system.folder.file("shared.db-wal")), kTargetLogDrained);
  EXPECT_EQ(system.query("SELECT count(*) FROM wide"), 10 + 2'500 + 400);
}

}  // namespace
}  // namespace turnstile::campaign
