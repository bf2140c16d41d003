// What the tests of `turnstile check` share: a target, a text log and a journal made by the code
// that makes them in earnest, and ways to break them by hand.
#pragma once

#include <sqlite3.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "broker/journal.h"
#include "inspect/check.h"
#include "proto/messages.h"
#include "proto/rows.h"
#include "store/target.h"
#include "tests/support/temporary_folder.h"

namespace turnstile {

class CheckTest : public ::testing::Test {
 protected:
  using Row = std::vector<ValueRef>;

  CheckTest() : folder_(std::filesystem::temp_directory_path()) {
    options_.target = folder_.path() / "shared.db";
    options_.text_log = folder_.path() / "out9.txt";
    options_.patience = std::chrono::milliseconds(0);
  }

  static Batch batch_of(const std::string& producer, std::uint64_t first,
                        const std::vector<Row>& rows,
                        const std::vector<std::string>& columns = {"name", "amount"}) {
    BatchHeader header;
    header.producer = {producer};
    header.epoch = {1};
    header.first = {first};
    header.rows = static_cast<std::uint32_t>(rows.size());
    header.table = "nutrients";
    header.columns = columns;
    RowsEncoder encoder;
    for (const Row& row : rows) {
      encoder.add(std::span<const ValueRef>(row));
    }
    return {header, encode_batch_header(header), encoder.take()};
  }

  static std::vector<Row> plain_rows(std::size_t count) {
    return std::vector<Row>(count, Row{std::string_view("Protein"), std::int64_t{203}});
  }

  // A target with a table that refuses negative amounts.
  void open_target() {
    store::TargetOptions options;
    options.path = options_.target;
    options.text_path = options_.text_log;
    auto target = store::Target::open(options);
    ASSERT_TRUE(target) << target.error().what;
    target_ = std::move(*target);
    auto taken = target_->take_over();
    ASSERT_TRUE(taken) << taken.error().what;
    sql("CREATE TABLE IF NOT EXISTS nutrients(id INTEGER PRIMARY KEY, name TEXT, amount NUMERIC "
        "CHECK (typeof(amount) <> 'integer' OR amount >= 0))");
  }

  store::BatchOutcome apply(const Batch& batch) {
    auto begun = target_->begin();
    EXPECT_TRUE(begun) << begun.error().what;
    auto outcome = target_->apply(batch.header, batch.rows_frame);
    EXPECT_TRUE(outcome) << outcome.error().what;
    auto committed = target_->commit();
    EXPECT_TRUE(committed) << committed.error().what;
    return outcome.value_or(store::BatchOutcome{});
  }

  // Two producers with rows of every kind, one dead letter, and a definition.
  void make_sound_target() {
    open_target();
    apply(batch_of("P1", 1, plain_rows(100)));
    apply(batch_of("P2", 1,
                   {{std::string_view("a\nb\rc"), 1.5},
                    {Null{}, std::int64_t{-1}},
                    {std::string_view("blob"), Blob{"\x01\xff"}},
                    {std::string_view("Ωμέγα"), 1e300}}));
    apply(batch_of("P1", 101, plain_rows(60)));
    Batch definition = batch_of("P2", 5, {{std::string_view("TEXT")}}, {"name"});
    definition.header.kind = BatchKind::define;
    definition.header.table = "pets";
    apply(definition);
    target_.reset();
  }

  // Batches of these, one transaction each.
  void store(const std::vector<Batch>& batches) {
    options_.journal = folder_.path() / "journal.db";
    broker::JournalOptions options;
    options.path = options_.journal;
    auto journal = broker::Journal::open(options);
    ASSERT_TRUE(journal) << journal.error().what;
    for (const Batch& batch : batches) {
      const broker::Held held{
          batch.header.producer, batch.header.first, batch.header.last(), batch.header_frame,
          batch.rows_frame,      std::nullopt,       broker::TimePoint{}, Ticket{}};
      auto stored = journal->store({&held});
      ASSERT_TRUE(stored) << stored.error().what;
    }
  }

  static void run(const std::filesystem::path& file, const std::string& statement) {
    sqlite3* db = nullptr;
    ASSERT_EQ(sqlite3_open(file.c_str(), &db), SQLITE_OK);
    char* message = nullptr;
    EXPECT_EQ(sqlite3_exec(db, statement.c_str(), nullptr, nullptr, &message), SQLITE_OK)
        << message;
    sqlite3_free(message);
    sqlite3_close(db);
  }
  // As another program would.
  void sql(const std::string& statement) const { run(options_.target, statement); }
  void journal_sql(const std::string& statement) const { run(options_.journal, statement); }

  static std::string read(const std::filesystem::path& path) {
    std::ifstream in(path, std::ios::binary);
    std::ostringstream out;
    out << in.rdbuf();
    return out.str();
  }
  static void write(const std::filesystem::path& path, std::string_view text) {
    std::ofstream(path, std::ios::binary | std::ios::trunc) << text;
  }
  void ledger(std::string_view lines) {
    const auto path =
        folder_.path() / ("ledger" + std::to_string(options_.ledgers.size()) + ".ndjson");
    write(path, lines);
    options_.ledgers.push_back(path);
  }

  check::Report check() {
    auto report = check::check(options_);
    EXPECT_TRUE(report) << report.error().what;
    return report ? std::move(*report) : check::Report{};
  }
  static std::string problems(const check::Report& report) {
    std::string out;
    for (const auto& problem : report.problems) {
      out += std::string(check::breach_name(problem.breach)) + ": " + problem.what + "\n";
    }
    return out;
  }

  TemporaryFolder folder_;
  check::CheckOptions options_;
  std::unique_ptr<store::Target> target_;
};

}  // namespace turnstile
