#include "client/ledger.h"

#include <array>
#include <fstream>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "client/producer.h"
#include "inspect/check_ledger.h"
#include "tests/client/fake_broker.h"
#include "tests/support/folder.h"

namespace turnstile {
namespace {

using std::chrono::milliseconds;
using std::chrono::system_clock;
using ::testing::HasSubstr;

class LedgerTest : public ::testing::Test {
 protected:
  [[nodiscard]] std::filesystem::path path() const { return folder_.path() / "ledger.ndjson"; }

  [[nodiscard]] std::string text() const {
    std::ostringstream out;
    out << std::ifstream(path(), std::ios::binary).rdbuf();
    return out.str();
  }

  // Reads the ledger as `turnstile check` does.
  [[nodiscard]] check::Ledgers read() const {
    check::Ledgers ledgers;
    EXPECT_TRUE(check::read_ledger(path(), ledgers));
    return ledgers;
  }

  static Ledger must_open(const std::filesystem::path& path) {
    auto ledger = Ledger::open(path);
    EXPECT_TRUE(ledger) << ledger.error().what;
    return std::move(*ledger);
  }

  ProducerOptions options(Ledger& ledger) {
    ProducerOptions options;
    options.id = {"p"};
    options.clock = broker_.clock();
    options.coarse_clock = options.clock;
    options.on_acknowledged = [&ledger](const Acknowledged& acknowledged) {
      return ledger.append({"p"}, acknowledged, system_clock::time_point(milliseconds(1234)));
    };
    return options;
  }

  static void send_pets(Producer& producer, int rows) {
    producer.into("pets", {"name", "breed"});
    for (int i = 0; i < rows; ++i) {
      ASSERT_TRUE(producer.append(std::array<std::string_view, 2>{"Ace", "Dog"}));
    }
  }

  Folder folder_;
  FakeBroker broker_;
};

TEST_F(LedgerTest, EachAcknowledgementIsOneLineWithTheRowsThatAreNewInIt) {
  Ledger ledger = must_open(path());
  Producer producer(broker_, options(ledger));
  ASSERT_TRUE(producer.start());
  send_pets(producer, 1);
  ASSERT_TRUE(producer.settle().value_or(false));
  broker_.rows = FakeBroker::Rows::stored;
  send_pets(producer, 1);
  ASSERT_TRUE(producer.pump(milliseconds(10)));
  send_pets(producer, 2);
  ASSERT_TRUE(producer.pump(milliseconds(10)));
  broker_.to_producer.push_back(Applied{{4}, 0, {}});
  ASSERT_TRUE(producer.settle().value_or(false));
  EXPECT_EQ(text(),
            "{\"producer\":\"p\",\"first\":1,\"last\":1,\"level\":\"applied\",\"at_ms\":1234}\n"
            "{\"producer\":\"p\",\"first\":2,\"last\":2,\"level\":\"stored\",\"at_ms\":1234}\n"
            "{\"producer\":\"p\",\"first\":3,\"last\":3,\"level\":\"stored\",\"at_ms\":1234}\n"
            "{\"producer\":\"p\",\"first\":4,\"last\":4,\"level\":\"stored\",\"at_ms\":1234}\n"
            "{\"producer\":\"p\",\"first\":2,\"last\":4,\"level\":\"applied\",\"at_ms\":1234}\n");
  const auto ledgers = read();
  EXPECT_TRUE(ledgers.files.at(0).problems.empty());
  EXPECT_EQ(ledgers.producers.at("p").applied.count(), 4U);
}

TEST_F(LedgerTest, RowsOfAnEarlierProcessInTheWelcomeAreRecordedAsStored) {
  broker_.welcome.through = {41};
  Ledger ledger = must_open(path());
  Producer producer(broker_, options(ledger));
  ASSERT_TRUE(producer.start());
  const auto ledgers = read();
  EXPECT_EQ(ledgers.producers.at("p").stored.count(), 41U);
  EXPECT_EQ(ledgers.producers.at("p").applied.count(), 0U);
}

TEST_F(LedgerTest, ADuplicateAcknowledgementIsRecordedOnce) {
  Ledger ledger = must_open(path());
  Producer producer(broker_, options(ledger));
  ASSERT_TRUE(producer.start());
  send_pets(producer, 1);
  ASSERT_TRUE(producer.settle().value_or(false));
  broker_.to_producer.push_back(Applied{{1}, 0, {}});
  broker_.to_producer.push_back(Stored{{1}});
  ASSERT_TRUE(producer.pump(milliseconds(10)));
  EXPECT_EQ(read().files.at(0).lines, 1U);
}

TEST_F(LedgerTest, ALedgerThatCannotBeWrittenEndsTheProducerAndSaysSo) {
  Ledger ledger = must_open("/dev/full");
  Producer producer(broker_, options(ledger));
  ASSERT_TRUE(producer.start());
  send_pets(producer, 1);
  const auto settled = producer.settle();
  ASSERT_FALSE(settled);
  EXPECT_EQ(settled.error().code, Errc::io);
  EXPECT_THAT(settled.error().what, HasSubstr("the ledger /dev/full cannot be written"));
  EXPECT_FALSE(producer.append(std::array<std::string_view, 2>{"Ace", "Dog"}));
}

TEST_F(LedgerTest, ALedgerInAMissingDirectoryIsRefusedImmediately) {
  const auto ledger = Ledger::open(folder_.path() / "missing" / "ledger");
  ASSERT_FALSE(ledger);
  EXPECT_EQ(ledger.error().code, Errc::unreachable);
  EXPECT_THAT(ledger.error().what, HasSubstr("No such file"));
}

TEST_F(LedgerTest, ALedgerThatIsNotARegularFileIsAppendedToAndNotTruncated) {
  Ledger ledger = must_open("/dev/null");
  Producer producer(broker_, options(ledger));
  ASSERT_TRUE(producer.start());
  send_pets(producer, 2);
  EXPECT_TRUE(producer.finish());
  EXPECT_EQ(producer.summary().applied, 2U);
}

TEST_F(LedgerTest, APartialLastLineIsRemovedAndEarlierLinesStay) {
  const std::string whole =
      "{\"producer\":\"q\",\"first\":1,\"last\":9,\"level\":\"stored\",\"at_ms\":1}\n";
  for (const std::string& before : {std::string(), whole, whole + std::string(9000, 'x') + "\n"}) {
    std::ofstream(path(), std::ios::binary) << before << std::string(5000, '{');
    Ledger ledger = must_open(path());
    EXPECT_EQ(text(), before);
    ASSERT_TRUE(ledger.append({"p"}, {Ack::stored, {1}, {2}}, system_clock::now()));
    EXPECT_TRUE(text().starts_with(before + "{\"producer\":\"p\""));
  }
}

TEST_F(LedgerTest, APartialLineStaysWhileAnotherProcessAppends) {
  const Ledger first = must_open(path());
  std::ofstream(path(), std::ios::binary | std::ios::app) << "{\"partial";
  const Ledger second = must_open(path());
  EXPECT_EQ(text(), "{\"partial");
}

TEST_F(LedgerTest, WritersOfOneFileDoNotMixTheirLines) {
  constexpr std::uint64_t kLines = 2000;
  std::vector<std::thread> writers;
  for (const std::string producer : {"P1", "P2", "P3"}) {
    writers.emplace_back([this, producer] {
      Ledger ledger = must_open(path());
      for (std::uint64_t i = 1; i <= kLines; ++i) {
        ASSERT_TRUE(ledger.append({producer}, {Ack::applied, {i}, {i}}, system_clock::now()));
      }
    });
  }
  for (auto& writer : writers) {
    writer.join();
  }
  const auto ledgers = read();
  EXPECT_TRUE(ledgers.files.at(0).problems.empty()) << ledgers.files.at(0).problems.front();
  EXPECT_EQ(ledgers.files.at(0).lines, 3 * kLines);
  for (const std::string producer : {"P1", "P2", "P3"}) {
    EXPECT_EQ(ledgers.producers.at(producer).applied.count(), kLines) << producer;
  }
}

}  // namespace
}  // namespace turnstile
