// How a target of an older format becomes one of the present format, with steps of the test's own:
// all of them or none, whatever ends the program, and nobody writes in the old way afterwards.
#include "store/format.h"

#include <array>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "store/books.h"
#include "tests/store/fixture.h"
#include "tests/support/database.h"
#include "tests/support/killed.h"

namespace turnstile::test {
namespace {

using ::testing::HasSubstr;

constexpr std::array kSteps{
    // Not in the order of their versions, on purpose.
    sqlite::Migration{2, "UPDATE colours SET name = name || '!'; INSERT INTO colours VALUES('b')"},
    sqlite::Migration{1, "CREATE TABLE colours(name); INSERT INTO colours VALUES('a')"},
};

constexpr const char* kAll =
    "SELECT * FROM turnstile_meta; SELECT * FROM turnstile_producers; "
    "SELECT id, producer, sequence, reason FROM turnstile_dead_letters; SELECT * FROM nutrients; "
    "SELECT name, sql FROM sqlite_schema ORDER BY name";
constexpr const char* kVersion = "SELECT value FROM turnstile_meta WHERE key = 'format_version'";
constexpr const char* kGeneration = "SELECT value FROM turnstile_meta WHERE key = 'generation'";

sqlite::Format format_of(std::int64_t version, std::span<const sqlite::Migration> steps) {
  auto format = store::Books::format();
  format.version = version;
  format.migrations = steps;
  return format;
}

class FormatTest : public StoreTest {
 protected:
  FormatTest() { make_from_fixture(db(), "target-1.sql", db().parent_path()); }

  Result<void> make(const sqlite::Format& format) {
    auto connection = sqlite::Connection::open(db(), sqlite::Access::create);
    return store::Books::create(*connection, format);
  }
  [[nodiscard]] std::string all() const { return run_sql(db(), kAll); }
};

TEST_F(FormatTest, AllStepsAreTakenInOrderAndTheVersionMoves) {
  const auto migrated = make(format_of(3, kSteps));
  ASSERT_TRUE(migrated) << migrated.error().what;
  EXPECT_EQ(run_sql(db(), "SELECT name FROM colours"), "a!\nb\n");
  EXPECT_EQ(number(kVersion), 3);
  // Once: a second start finds nothing to do.
  ASSERT_TRUE(make(format_of(3, kSteps)));
  EXPECT_EQ(run_sql(db(), "SELECT name FROM colours"), "a!\nb\n");
}

TEST_F(FormatTest, ATextLogOfFormat1BeginsWithItsTable) {
  write_text(text(), fixture_text("out9-1.txt"));
  auto target = open([this] {
    auto with = options();
    with.text_path = text();
    return with;
  }());
  EXPECT_EQ(number(kVersion), 2);
  EXPECT_EQ(run_sql(db(), "SELECT base_length, base_rowid FROM turnstile_text_log"),
            "0|-9223372036854775808\n");
  EXPECT_EQ(read_text(text()), lines_of("nutrients"));
}

TEST_F(FormatTest, AConsumerThatWritesInTheOldWayIsFenced) {
  auto old_writer = open(options());
  write(*old_writer, header_of("p", 1, 1, "pets", {"name"}), {{std::string_view("Rex")}});
  const auto generation = number(kGeneration);
  const auto present = number(kVersion);
  const std::array step{sqlite::Migration{present, "CREATE TABLE colours(name)"}};
  ASSERT_TRUE(make(format_of(present + 1, step)));
  EXPECT_EQ(number(kGeneration), generation + 1);
  const auto begun = old_writer->begin();
  ASSERT_FALSE(begun);
  EXPECT_EQ(begun.error().code, Errc::fenced);
}

TEST_F(FormatTest, AStepThatFailsLeavesEverythingAsItWas) {
  const std::string before = all();
  const std::array broken{kSteps[1], sqlite::Migration{2, "DELETE FROM nutrients; no such words"}};
  const auto migrated = make(format_of(3, broken));
  ASSERT_FALSE(migrated);
  EXPECT_THAT(migrated.error().what, HasSubstr("migrating to a newer format"));
  EXPECT_EQ(all(), before);
}

TEST_F(FormatTest, KilledAtAnyStatementItIsAsItWasOrMigrated) {
  const std::string before = all();
  const auto create = [](sqlite::Connection& connection) {
    return store::Books::create(connection, format_of(3, kSteps)).has_value();
  };
  int kills = 0;
  bool ended = false;
  while (!ended) {
    const int version = std::stoi(run_sql(db(), kVersion));
    EXPECT_TRUE(version == 1 ? all() == before : version == 3) << "after " << kills << " kills";
    ended = version == 3 || !killed_at_statement(db(), ++kills, create);
  }
  EXPECT_GE(kills, 9);
  EXPECT_EQ(number(kVersion), 3);
  EXPECT_EQ(run_sql(db(), "SELECT name FROM colours"), "a!\nb\n");
}

TEST_F(FormatTest, WhileAnotherProgramHoldsTheFileItSaysSoAndChangesNothing) {
  auto other = sqlite::Connection::open(db(), sqlite::Access::read_write);
  ASSERT_TRUE(other->execute("BEGIN IMMEDIATE"));
  const auto migrated = make(format_of(3, kSteps));
  ASSERT_FALSE(migrated);
  EXPECT_EQ(migrated.error().code, Errc::locked);
  ASSERT_TRUE(other->execute("ROLLBACK"));
  EXPECT_EQ(number(kVersion), 1);
}

TEST_F(FormatTest, WhatAnotherProcessMigratedMeanwhileIsNotMigratedAgain) {
  auto first = sqlite::Connection::open(db(), sqlite::Access::read_write);
  auto second = sqlite::Connection::open(db(), sqlite::Access::read_write);
  ASSERT_TRUE(first->execute("BEGIN IMMEDIATE"));
  bool waited = false;
  second->on_busy([&](std::chrono::milliseconds) {
    waited = true;
    return first
        ->execute(
            "CREATE TABLE colours(name); INSERT INTO colours VALUES('of the first'); "
            "UPDATE turnstile_meta SET value = 3 WHERE key = 'format_version'; COMMIT")
        .has_value();
  });
  const auto migrated = sqlite::migrate(*second, format_of(3, kSteps));
  ASSERT_TRUE(migrated) << migrated.error().what;
  EXPECT_TRUE(waited);
  EXPECT_FALSE(migrated->has_value());
  EXPECT_EQ(run_sql(db(), "SELECT name FROM colours"), "of the first\n");
}

TEST_F(FormatTest, AVersionThatNoStepLeadsFromIsRefused) {
  const std::string before = all();
  const auto migrated = make(format_of(3, std::span(kSteps).first(1)));
  ASSERT_FALSE(migrated);
  EXPECT_EQ(migrated.error().code, Errc::unreachable);
  EXPECT_THAT(migrated.error().what, HasSubstr("has format version 1, this program knows 3"));
  EXPECT_THAT(migrated.error().what, HasSubstr("no way from there"));
  EXPECT_EQ(all(), before);
}

TEST_F(FormatTest, LettersOfVersion1KeepTheirIdsAndShareTheirColumns) {
  const char* const kLetters =
      "SELECT id, producer, epoch, sequence, rows, kind, table_name, columns, hex(row), reason, "
      "at_ms, live FROM turnstile_dead_letters ORDER BY id";
  run("INSERT INTO turnstile_dead_letters(producer, epoch, sequence, rows, kind, table_name, "
      "columns, row, reason, at_ms, live) SELECT producer, epoch, 100 + value, 1, 1, table_name, "
      "columns, row, reason, at_ms, 0 FROM turnstile_dead_letters, json_each('[1,2,3,4]') "
      "WHERE turnstile_dead_letters.id = 1; DELETE FROM turnstile_dead_letters WHERE id > 3");
  const std::string before = run_sql(db(), kLetters);
  const auto greatest = number("SELECT seq FROM sqlite_sequence");
  ASSERT_TRUE(make(store::Books::format()));
  EXPECT_EQ(run_sql(db(), kLetters), before);
  EXPECT_EQ(number("SELECT seq FROM sqlite_sequence WHERE name = 'turnstile_letters'"), greatest);
  EXPECT_EQ(number("SELECT count(*) FROM turnstile_forms"), 1);
  EXPECT_GT(number("SELECT letter_bytes FROM turnstile_producers WHERE producer = 'zoo'"), 100);
  EXPECT_EQ(number("SELECT count(*) FROM turnstile_meta WHERE key = 'foreign_keys'"), 0);
}

TEST_F(FormatTest, ATargetOfVersion1GoesOnWithItsProgressLettersAndTextLog) {
  write_text(text(), fixture_text("out9-1.txt"));
  run("UPDATE turnstile_producers SET updated_at_ms = " + std::to_string(now_ms_));
  auto all_options = options();
  all_options.text_path = text();
  auto target = open(all_options);
  ASSERT_NE(target, nullptr);
  EXPECT_EQ(number(kVersion), store::schema::kFormatVersion);
  const auto stream = target->progress({"stream"}, {});
  ASSERT_TRUE(stream);
  EXPECT_EQ(stream->through.value, 17U);
  EXPECT_EQ(stream->epoch.value, 1795488014623U);
  const auto zoo = target->progress({"zoo"}, {});
  ASSERT_TRUE(zoo);
  ASSERT_EQ(zoo->dead_count, 1U);
  EXPECT_EQ(zoo->dead[0].reason, "UNIQUE constraint failed: pets.id");
  std::string lines;
  for (int id = 1; id <= 17; ++id) {
    const std::string number_of = id % 7 == 0 ? "" : std::to_string(3 * id);
    lines += "[" + std::to_string(id) + ", Vitamin " + std::to_string(id) + ", total, MG, " +
             number_of + ", " + std::to_string(100 * id) + ", 10:45]\n";
  }
  EXPECT_EQ(read_text(text()), lines);
}

}  // namespace
}  // namespace turnstile::test
