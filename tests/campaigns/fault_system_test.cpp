// The real processes without what they need of the system: room on the disk, file descriptors. They
// wait and say for what, nobody crashes, and once it is there again every row arrives, once.
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/campaigns/fault_small_disk.h"
#include "tests/e2e/harness.h"

namespace turnstile::campaign {
namespace {

using e2e::kMiB;
using e2e::Process;
using e2e::System;
using ::testing::HasSubstr;

class SystemFaults : public ::testing::Test {
 protected:
  // 2 MB of rows, in batches of a few.
  static constexpr std::int64_t kRows = 30'000;

  void start_both() {
    broker_.emplace(system_.broker());
    consumer_.emplace(system_.consumer());
    ASSERT_TRUE(system_.wait_for_status([](const auto& s) {
      return s["consumer"]["attached"] == true;
    })) << broker_->err()
        << consumer_->err();
  }

  Process produce(std::int64_t first, std::int64_t rows, const std::string& timeout = "0") {
    const std::string name = "rows" + std::to_string(first);
    e2e::write_file(system_.folder.file(name + ".csv"), e2e::nutrients_csv(rows, first));
    ledgers_.push_back(system_.folder.file(name + ".ledger"));
    return system_.produce({"csv", system_.folder.file(name + ".csv"), "--table", "nutrients",
                            "--batch-rows", "100", "--timeout", timeout, "--ledger",
                            ledgers_.back(), "--json"});
  }

  bool says(const Process& process, const std::string& what) {
    return system_.folder.wait_until([&] { return process.err().find(what) != std::string::npos; },
                                     &process);
  }

  void expect_all_once(std::int64_t rows) {
    EXPECT_TRUE(broker_->running()) << broker_->err();
    EXPECT_TRUE(consumer_->running()) << consumer_->err();
    EXPECT_EQ(system_.query("SELECT count(*) FROM nutrients"), rows);
    EXPECT_EQ(system_.query("SELECT count(DISTINCT id) FROM nutrients"), rows);
    broker_->signal(SIGTERM);
    consumer_->signal(SIGTERM);
    EXPECT_EQ(broker_->wait(), 0) << broker_->err();
    EXPECT_EQ(consumer_->wait(), 0) << consumer_->err();
    EXPECT_EQ(e2e::read_file(system_.folder.file("out9.txt")), e2e::expected_text_log(system_));
    std::vector<std::string> ledgers;
    for (const auto& ledger : ledgers_) {
      ledgers.insert(ledgers.end(), {"--ledger", ledger});
    }
    Process check = system_.check(ledgers);
    EXPECT_EQ(check.wait(), 0) << check.out() << check.err();
  }

  System system_;
  std::optional<Process> broker_;
  std::optional<Process> consumer_;
  std::vector<std::string> ledgers_;
};

// ---- a full disk

class FullDisk : public SystemFaults {
 protected:
  // What the name stands for is on the small disk.
  void put_on_small_disk(const std::string& name) {
    if (name == "out9.txt") {
      e2e::write_file(disk_.file(name), "");
    }
    std::filesystem::create_symlink(disk_.file(name), system_.folder.file(name));
  }
  void fill() {
    disk_.fill();
    ASSERT_EQ(disk_.free_bytes(), 0U);
  }

  SmallDisk disk_{system_.folder.file("small"), 24 * kMiB};
};

TEST_F(FullDisk, OfTheTargetRowsWaitInTheQueueAndAllArriveWhenThereIsRoom) {
  put_on_small_disk("shared.db");
  start_both();
  fill();
  Process producer = produce(1, kRows);
  EXPECT_TRUE(says(*consumer_, "no space left")) << consumer_->err();
  EXPECT_TRUE(producer.running()) << producer.err();
  EXPECT_TRUE(consumer_->running()) << consumer_->err();
  disk_.make_room();
  EXPECT_EQ(producer.wait(), 0) << producer.err() << consumer_->err();
  expect_all_once(kRows);
}

TEST_F(FullDisk, OfTheTextLogItsLinesFollowWhenThereIsRoom) {
  put_on_small_disk("out9.txt");
  start_both();
  fill();
  Process producer = produce(1, kRows);
  EXPECT_TRUE(says(*consumer_, "No space left")) << consumer_->err();
  EXPECT_TRUE(producer.running()) << producer.err();
  EXPECT_LT(e2e::size_of(disk_.file("out9.txt")), kMiB);
  disk_.make_room();
  EXPECT_EQ(producer.wait(), 0) << producer.err() << consumer_->err();
  expect_all_once(kRows);
}

TEST_F(FullDisk, OfTheJournalProducersAreToldToWaitAndAllArrivesWhenThereIsRoom) {
  put_on_small_disk("journal.db");
  broker_.emplace(system_.broker());
  ASSERT_TRUE(system_.wait_for_status([](const auto&) { return true; })) << broker_->err();
  fill();
  Process producer = produce(1, kRows);
  ASSERT_TRUE(system_.wait_for_status([](const auto& s) {
    return s["journal"]["problem"].template get<std::string>().find("no space left") !=
           std::string::npos;
  })) << broker_->err();
  EXPECT_TRUE(producer.running()) << producer.err();
  EXPECT_EQ(system_.status()["journal"]["rows"], 0);
  disk_.make_room();
  // Nobody applies yet: all of it fits into the journal now.
  EXPECT_TRUE(system_.wait_for_status([](const auto& s) {
    return s["journal"]["rows"] == kRows && s["journal"]["problem"] == "";
  })) << broker_->err();
  consumer_.emplace(system_.consumer());
  EXPECT_EQ(producer.wait(), 0) << producer.err() << consumer_->err();
  expect_all_once(kRows);
}

// ---- no descriptor

class NoDescriptors : public SystemFaults {
 protected:
  // Each process has so many from its start to its end. Not less: poll() takes no more than the
  // limit.
  static constexpr rlim_t kInUse = 4;

  // No file and no socket can be opened; those that are open go on.
  void take_descriptors_from(const Process& process) {
    ASSERT_EQ(::prlimit(process.pid(), RLIMIT_NOFILE, nullptr, &usual_), 0);
    const rlimit none{kInUse, usual_.rlim_max};
    ASSERT_EQ(::prlimit(process.pid(), RLIMIT_NOFILE, &none, nullptr), 0);
  }
  void give_descriptors_to(const Process& process) {
    ASSERT_EQ(::prlimit(process.pid(), RLIMIT_NOFILE, &usual_, nullptr), 0);
  }
  // Until a new broker has been there for so long that everybody has tried to reach it.
  void restart_broker() {
    broker_->kill();
    broker_.emplace(system_.broker());
    ASSERT_TRUE(system_.wait_for_status([](const auto& s) { return s["uptime_ms"] > 2500; }))
        << broker_->err();
  }

  rlimit usual_{};
};

TEST_F(NoDescriptors, InTheBrokerNobodyConnectsAndWhoIsConnectedGoesOn) {
  start_both();
  Process early = produce(1, kRows);
  ASSERT_TRUE(system_.wait_for_rows("nutrients", 1)) << consumer_->err();
  take_descriptors_from(*broker_);
  Process late = produce(100'001, 10, "1s");
  EXPECT_EQ(late.wait(), 3) << late.err();
  EXPECT_EQ(early.wait(), 0) << early.err();
  EXPECT_THAT(broker_->err(), HasSubstr("no file descriptor is free"));
  give_descriptors_to(*broker_);
  Process again = produce(200'001, 10);
  EXPECT_EQ(again.wait(), 0) << again.err();
  expect_all_once(kRows + 10);
}

TEST_F(NoDescriptors, InTheConsumerRowsAreStoredUntilItCanConnectAgain) {
  start_both();
  take_descriptors_from(*consumer_);
  restart_broker();
  Process producer = produce(1, kRows);
  EXPECT_TRUE(system_.wait_for_status([](const auto& s) { return s["journal"]["rows"] == kRows; }))
      << broker_->err();
  EXPECT_TRUE(consumer_->running()) << consumer_->err();
  give_descriptors_to(*consumer_);
  EXPECT_EQ(producer.wait(), 0) << producer.err() << consumer_->err();
  expect_all_once(kRows);
}

TEST_F(NoDescriptors, InAProducerItsRowsArriveWhenItCanConnectAgain) {
  start_both();
  Process producer = produce(1, kRows);
  ASSERT_TRUE(system_.wait_for_rows("nutrients", 1)) << consumer_->err();
  take_descriptors_from(producer);
  restart_broker();
  EXPECT_TRUE(producer.running()) << producer.err();
  give_descriptors_to(producer);
  EXPECT_EQ(producer.wait(), 0) << producer.err();
  expect_all_once(kRows);
}

class Connected {
 public:
  explicit Connected(const std::string& path)
      : fd_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_un name{};
    name.sun_family = AF_UNIX;
    std::strncpy(name.sun_path, path.c_str(), sizeof(name.sun_path) - 1);
    is_connected_ = ::connect(fd_, reinterpret_cast<const sockaddr*>(&name), sizeof(name)) == 0;
  }
  Connected(const Connected&) = delete;
  Connected& operator=(const Connected&) = delete;
  ~Connected() { ::close(fd_); }
  [[nodiscard]] bool is_connected() const { return is_connected_; }

 private:
  int fd_;
  bool is_connected_ = false;
};

TEST_F(NoDescriptors, ABrokerTakesMoreConnectionsThanItsStarterCouldHave) {
  constexpr std::size_t kMany = 100;
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &usual_), 0);
  ASSERT_GT(usual_.rlim_max, 2 * kMany);
  const rlimit few{40, usual_.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &few), 0);
  broker_.emplace(system_.broker());
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &usual_), 0);
  consumer_.emplace(system_.consumer());
  ASSERT_TRUE(
      system_.wait_for_status([](const auto& s) { return s["consumer"]["attached"] == true; }));
  const std::size_t before = broker_->open_files();
  std::vector<std::unique_ptr<Connected>> many;
  for (std::size_t i = 0; i < kMany; ++i) {
    many.push_back(std::make_unique<Connected>(system_.folder.file("broker.sock")));
    ASSERT_TRUE(many.back()->is_connected()) << i;
  }
  EXPECT_TRUE(system_.wait_for_status([&](const auto&) {
    return broker_->open_files() >= before + kMany;
  })) << broker_->err();
  Process producer = produce(1, 10);
  EXPECT_EQ(producer.wait(), 0) << producer.err();
  expect_all_once(10);
}

}  // namespace
}  // namespace turnstile::campaign
