// Promise 7 against targets that a die throws: whatever is wrong with some tables, each row is in
// its table or a dead letter, every row of a healthy table is there, and nothing waits.
// TURNSTILE_SEED replays one seed, TURNSTILE_SEEDS says how many to try.
#include <sqlite3.h>

#include <cstdint>
#include <cstdlib>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include <gmock/gmock.h>

#include "store/target.h"
#include "tests/store/fixture.h"

namespace turnstile::test {
namespace {

constexpr int kSeeds = 20;

// What a row of a kind of table comes to.
enum class Fate {
  in_table,      // always there
  dead,          // always a dead letter
  one_of_both,   // there, or a dead letter
  at_most_once,  // it may also vanish: the table's own clause says so
};

struct TableKind {
  const char* name;
  const char* sql;  // %t is the table's name
  std::vector<std::string> columns;
  Fate good;
  Fate bad;  // of every few rows
  // The value beside the row's own text, when there is a second column.
  std::function<ValueRef(bool is_bad, std::int64_t number)> second = [](bool is_bad,
                                                                        std::int64_t number) {
    return is_bad ? ValueRef(std::int64_t{1}) : ValueRef(number + 100);
  };
};

const std::vector<std::string> kOne{"v"};
const std::vector<std::string> kTwo{"v", "k"};

std::vector<TableKind> kinds() {
  const Fate in = Fate::in_table;
  const Fate dead = Fate::dead;
  const Fate both = Fate::one_of_both;
  const Fate once = Fate::at_most_once;
  const auto text_when_bad = [](bool bad, std::int64_t number) {
    return bad ? ValueRef("no number") : ValueRef(number);
  };
  return {
      {"plain", "CREATE TABLE %t(v TEXT)", kOne, in, in},
      {"keyed", "CREATE TABLE %t(v TEXT PRIMARY KEY) WITHOUT ROWID", kOne, in, in},
      {"unique", "CREATE TABLE %t(v, k UNIQUE); INSERT INTO %t VALUES('first', 1)", kTwo, in, dead},
      {"strict", "CREATE TABLE %t(v TEXT, k INTEGER) STRICT", kTwo, in, dead, text_when_bad},
      {"generated",
       "CREATE TABLE %t(v TEXT, u TEXT AS (upper(v)) STORED, w AS (length(v)) VIRTUAL)", kOne, in,
       in},
      {"indexed",
       "CREATE TABLE %t(v TEXT, k); CREATE INDEX i_%t ON %t(upper(v)); "
       "CREATE UNIQUE INDEX j_%t ON %t(k) WHERE k = 1; INSERT INTO %t VALUES('first', 1)",
       kTwo, in, dead},
      {"checked", "CREATE TABLE %t(v, k CHECK (k > 1))", kTwo, in, dead},
      {"collated", "CREATE TABLE %t(v TEXT COLLATE LOCALIZED UNIQUE)", kOne, dead, dead},
      {"collated_index", "CREATE TABLE %t(v TEXT); CREATE INDEX i_%t ON %t(v COLLATE LOCALIZED)",
       kOne, dead, dead},
      {"check_of_nothing", "CREATE TABLE %t(v CHECK (foreign_function(v) > 0))", kOne, dead, dead},
      {"index_of_nothing", "CREATE TABLE %t(v); CREATE INDEX i_%t ON %t(foreign_function(v))", kOne,
       dead, dead},
      {"trigger_of_nothing",
       "CREATE TABLE %t(v); CREATE TRIGGER g_%t AFTER INSERT ON %t BEGIN "
       "INSERT INTO nowhere VALUES(new.v); END",
       kOne, dead, dead},
      {"module",
       "PRAGMA writable_schema=ON; INSERT INTO sqlite_schema(type, name, tbl_name, rootpage, sql) "
       "VALUES('table', '%t', '%t', 0, 'CREATE VIRTUAL TABLE %t USING vec0(v)')",
       kOne, dead, dead},
      {"tokenizer",
       "PRAGMA writable_schema=ON; INSERT INTO sqlite_schema(type, name, tbl_name, rootpage, sql) "
       "VALUES('table', '%t', '%t', 0, 'CREATE VIRTUAL TABLE %t USING fts5(v, tokenize=nope)')",
       kOne, dead, dead},
      {"full_text", "CREATE VIRTUAL TABLE %t USING fts5(v)", kOne, in, in},
      {"full_text_3", "CREATE VIRTUAL TABLE %t USING fts4(v)", kOne, in, in},
      {"full_text_damaged",
       "CREATE TABLE %t(id INTEGER PRIMARY KEY, v); "
       "CREATE VIRTUAL TABLE f_%t USING fts5(v, content='%t', content_rowid='id'); "
       "CREATE TRIGGER g_%t AFTER INSERT ON %t BEGIN "
       "INSERT INTO f_%t(f_%t, rowid, v) VALUES('delete', new.id, 'never there ' || new.v); "
       "INSERT INTO f_%t(rowid, v) VALUES(new.id, new.v); END",
       kOne, both, both},
      {"boxes", "CREATE VIRTUAL TABLE %t USING rtree(id, a, b, +v)", {"v", "a", "b"}, in, dead},
      {"at_its_end",
       "CREATE TABLE %t(id INTEGER PRIMARY KEY AUTOINCREMENT, v); "
       "INSERT INTO %t VALUES(9223372036854775807, 'last')",
       kOne, dead, dead},
      {"reaches_the_end",
       "CREATE TABLE e_%t(id INTEGER PRIMARY KEY AUTOINCREMENT, v); "
       "INSERT INTO e_%t VALUES(9223372036854775807, 'last'); CREATE TABLE %t(v); "
       "CREATE TRIGGER g_%t AFTER INSERT ON %t BEGIN INSERT INTO e_%t(v) VALUES(new.v); END",
       kOne, dead, dead},
      {"child",
       "CREATE TABLE p_%t(id INTEGER PRIMARY KEY); CREATE TABLE %t(v, k REFERENCES p_%t(id)); "
       "INSERT INTO p_%t VALUES(2), (3), (4)",
       kTwo, in, dead,
       [](bool bad, std::int64_t number) { return ValueRef(bad ? -1 : 2 + number % 3); }},
      {"child_later",
       "CREATE TABLE p_%t(id INTEGER PRIMARY KEY); "
       "CREATE TABLE %t(v, k REFERENCES p_%t(id) DEFERRABLE INITIALLY DEFERRED); "
       "INSERT INTO p_%t VALUES(2), (3), (4)",
       kTwo, in, dead,
       [](bool bad, std::int64_t number) { return ValueRef(bad ? -1 : 2 + number % 3); }},
      {"clause_rollback",
       "CREATE TABLE %t(v, k UNIQUE ON CONFLICT ROLLBACK); INSERT INTO %t VALUES('first', 1)", kTwo,
       in, dead},
      {"clause_fail",
       "CREATE TABLE %t(v, k UNIQUE ON CONFLICT FAIL); INSERT INTO %t VALUES('first', 1)", kTwo, in,
       dead},
      {"clause_ignore",
       "CREATE TABLE %t(v, k UNIQUE ON CONFLICT IGNORE); INSERT INTO %t VALUES('first', 1)", kTwo,
       in, once},
      {"clause_replace",
       "CREATE TABLE %t(v, k UNIQUE ON CONFLICT REPLACE); INSERT INTO %t VALUES('first', 1)", kTwo,
       in, once},
      {"clauses_mixed",
       "CREATE TABLE %t(v UNIQUE ON CONFLICT IGNORE, k UNIQUE ON CONFLICT ROLLBACK); "
       "INSERT INTO %t VALUES('first', 1)",
       kTwo, in, dead},
      {"raise_abort",
       "CREATE TABLE %t(v, k); CREATE TRIGGER g_%t BEFORE INSERT ON %t WHEN new.k = 1 "
       "BEGIN SELECT RAISE(ABORT, 'no'); END",
       kTwo, in, dead},
      {"raise_fail",
       "CREATE TABLE %t(v, k); CREATE TRIGGER g_%t AFTER INSERT ON %t WHEN new.k = 1 "
       "BEGIN SELECT RAISE(FAIL, 'no'); END",
       kTwo, in, dead},
      {"raise_rollback",
       "CREATE TABLE %t(v, k); CREATE TRIGGER g_%t AFTER INSERT ON %t WHEN new.k = 1 "
       "BEGIN SELECT RAISE(ROLLBACK, 'no'); END",
       kTwo, in, dead},
      {"raise_ignore",
       "CREATE TABLE %t(v, k); CREATE TRIGGER g_%t BEFORE INSERT ON %t WHEN new.k = 1 "
       "BEGIN SELECT RAISE(IGNORE); END",
       kTwo, in, once},
      {"raise_sometimes",
       "CREATE TABLE %t(v); CREATE TRIGGER g_%t AFTER INSERT ON %t WHEN random() > 0 "
       "BEGIN SELECT RAISE(ROLLBACK, 'tails'); END",
       kOne, both, both},
      {"slow",
       "CREATE TABLE %t(v, k); CREATE TRIGGER g_%t AFTER INSERT ON %t WHEN new.k = 1 BEGIN "
       "SELECT count(*) FROM (WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c "
       "LIMIT 1000000000) SELECT i FROM c); END",
       kTwo, both, dead},
      {"view", "CREATE VIEW %t AS SELECT 1 AS v", kOne, dead, dead},
      {"view_with_trigger",
       "CREATE TABLE b_%t(v); CREATE VIEW %t AS SELECT v FROM b_%t; CREATE TRIGGER g_%t INSTEAD OF "
       "INSERT ON %t BEGIN INSERT INTO b_%t VALUES(new.v); END",
       kOne, in, in},
      {"missing", "SELECT 1", kOne, dead, dead},
  };
}

// These names hide what a query of the schema might read.
const char* const kNames[] = {
    "pragma_table_list", "pragma_table_xinfo", "pragma_index_list", "json_each", "temp", "main"};

struct Table {
  TableKind kind;
  std::string name;
};

struct Sent {
  Fate fate;
  std::string table;
  std::string text;
};

struct Producer {
  std::string id;
  std::vector<Sent> rows;  // row i has sequence i + 1
};

std::string replaced(std::string sql, const std::string& name) {
  for (std::size_t at = 0; (at = sql.find("%t", at)) != std::string::npos; at += name.size()) {
    sql.replace(at, 2, name);
  }
  return sql;
}

// As a program does that has what this one lacks.
void make(const std::filesystem::path& path, const std::string& sql) {
  sqlite3* db = nullptr;
  ASSERT_EQ(sqlite3_open(path.c_str(), &db), SQLITE_OK);
  sqlite3_create_collation(db, "LOCALIZED", SQLITE_UTF8, nullptr,
                           [](void*, int, const void*, int, const void*) { return 0; });
  sqlite3_create_function(
      db, "foreign_function", 1, SQLITE_UTF8 | SQLITE_DETERMINISTIC, nullptr,
      [](sqlite3_context* context, int, sqlite3_value**) { sqlite3_result_int(context, 1); },
      nullptr, nullptr);
  EXPECT_EQ(sqlite3_exec(db, sql.c_str(), nullptr, nullptr, nullptr), SQLITE_OK)
      << sqlite3_errmsg(db) << " in " << sql;
  sqlite3_close(db);
}

class AnyTable : public StoreTest {
 protected:
  void play(std::uint64_t seed) {
    dice_.seed(seed);
    tables_.clear();
    producers_.clear();
    for (const char* suffix : {"", "-wal", "-shm"}) {
      std::filesystem::remove(db().string() + suffix);
    }
    std::filesystem::remove(text());
    make(db(), "PRAGMA journal_mode=WAL");
    make_tables();
    auto with = options();
    with.row_time_limit = std::chrono::milliseconds{20};
    with.foreign_keys = store::ForeignKeys::on;
    if (chance(2)) {
      with.text_path = text();
      with.text_table = tables_.front().name;
    }
    target_ = open(with);
    ASSERT_NE(target_, nullptr);
    for (int i = 0; i < 3; ++i) {
      producers_.push_back({"p" + std::to_string(i), {}});
    }
    for (int i = 0; i < 12 && !HasFailure(); ++i) {
      if (chance(6)) {
        add_table();  // mid-stream
      }
      group();
    }
    const bool has_text = !with.text_path.empty() && !HasFailure();
    target_.reset();
    judge();
    if (has_text) {
      EXPECT_EQ(read_text(text()), lines_of(tables_.front().name));
    }
  }

 private:
  bool chance(unsigned one_in) { return dice_() % one_in == 0; }
  std::size_t below(std::size_t end) { return static_cast<std::size_t>(dice_() % end); }

  void make_tables() {
    const auto all = kinds();
    tables_.push_back({all[0], "plain_first"});
    make(db(), replaced(all[0].sql, "plain_first"));
    const std::size_t count = 3 + below(8);
    while (tables_.size() < count) {
      add_table();
    }
    if (chance(3)) {
      const std::string name = kNames[below(std::size(kNames))];
      tables_.push_back({all[0], name});
      make(db(), replaced(all[0].sql, name));
    }
  }
  void add_table() {
    const auto all = kinds();
    const TableKind& kind = all[below(all.size())];
    const std::string name = std::string(kind.name) + "_" + std::to_string(tables_.size());
    tables_.push_back({kind, name});
    make(db(), replaced(kind.sql, name));
  }

  struct Batch {
    BatchHeader header;
    Bytes frame;
    std::uint32_t dead = 0;
  };
  Batch batch(Producer& producer) {
    const Table& table = tables_[below(tables_.size())];
    const bool is_slow = std::string_view(table.kind.name) == "slow";
    const std::size_t count = is_slow ? 1 + below(3) : chance(3) ? 1 : 1 + below(150);
    const unsigned bad_each = chance(4) ? 1 : 2 + static_cast<unsigned>(below(60));
    const std::uint64_t first = producer.rows.size() + 1;
    std::vector<std::string> texts(count);
    std::vector<Row> rows;
    for (std::size_t i = 0; i < count; ++i) {
      const bool bad = chance(bad_each);
      const std::uint64_t number = first + i;
      texts[i] = producer.id + "-" + std::to_string(number);
      const auto unique = static_cast<std::int64_t>(number * 10) + (producer.id.back() - '0');
      Row row{std::string_view(texts[i])};
      if (table.kind.columns.size() == 2) {
        row.push_back(table.kind.second(bad, unique));
      } else if (table.kind.columns.size() == 3) {
        row.push_back(std::int64_t{2});
        row.push_back(std::int64_t{bad ? 1 : 3});
      }
      rows.push_back(std::move(row));
      producer.rows.push_back({bad ? table.kind.bad : table.kind.good, table.name, texts[i]});
    }
    return {header_of(producer.id, first, count, table.name, table.kind.columns), frame_of(rows)};
  }

  void group() {
    std::vector<Batch> batches;
    const std::size_t count = 1 + below(5);
    for (std::size_t i = 0; i < count; ++i) {
      batches.push_back(batch(producers_[below(producers_.size())]));
    }
    auto begun = target_->begin();
    ASSERT_TRUE(begun) << begun.error().what;
    ASSERT_TRUE(apply(batches));
    if (chance(4)) {
      // The same once more, as after a lost answer.
      ASSERT_TRUE(target_->begin());
      const auto before = batches;
      ASSERT_TRUE(apply(batches));
      for (std::size_t i = 0; i < batches.size(); ++i) {
        EXPECT_EQ(batches[i].dead, before[i].dead);
      }
    }
  }

  bool apply(std::vector<Batch>& batches) {
    std::vector<store::BatchOutcome> outcomes;
    for (const Batch& each : batches) {
      auto applied = target_->apply(each.header, each.frame);
      if (!applied) {
        ADD_FAILURE() << applied.error().what;
        return false;
      }
      outcomes.push_back(std::move(*applied));
    }
    if (auto committed = target_->commit(); !committed) {
      ADD_FAILURE() << committed.error().what;
      return false;
    }
    if (auto changed = target_->take_outcomes(); !changed.empty()) {
      EXPECT_EQ(changed.size(), outcomes.size());
      outcomes = std::move(changed);
    }
    for (std::size_t i = 0; i < batches.size(); ++i) {
      const BatchHeader& header = batches[i].header;
      EXPECT_EQ(outcomes[i].outcome, Outcome::applied);
      EXPECT_GE(outcomes[i].through, header.last());
      batches[i].dead = outcomes[i].dead_count;
      EXPECT_EQ(number("SELECT count(*) FROM turnstile_dead_letters WHERE producer = '" +
                       header.producer.text + "' AND sequence BETWEEN " +
                       std::to_string(header.first.value) + " AND " +
                       std::to_string(header.last().value)),
                outcomes[i].dead_count)
          << header.table;
    }
    return true;
  }

  void judge() const {
    std::map<std::string, int> there;
    for (const Table& table : tables_) {
      if (table.kind.good == Fate::dead) {
        continue;
      }
      auto connection = sqlite::Connection::open(db(), sqlite::Access::read_write);
      ASSERT_TRUE(connection);
      auto rows = connection->prepare("SELECT v FROM main." + sqlite::quoted(table.name));
      ASSERT_TRUE(rows) << rows.error().what;
      while (rows->step() == SQLITE_ROW) {
        ++there[std::string(rows->text(0))];
      }
    }
    auto connection = sqlite::Connection::open(db(), sqlite::Access::read_write);
    auto letters = connection->prepare("SELECT producer || '-' || sequence FROM turnstile_letters");
    ASSERT_TRUE(letters);
    std::map<std::string, int> dead;
    while (letters->step() == SQLITE_ROW) {
      ++dead[std::string(letters->text(0))];
    }
    for (const Producer& producer : producers_) {
      for (const Sent& row : producer.rows) {
        const int in_table = there.contains(row.text) ? there.at(row.text) : 0;
        const int letter = dead.contains(row.text) ? dead.at(row.text) : 0;
        const std::string what = row.table + ": " + row.text;
        switch (row.fate) {
          case Fate::in_table:
            EXPECT_EQ(in_table, 1) << what;
            EXPECT_EQ(letter, 0) << what;
            break;
          case Fate::dead:
            EXPECT_EQ(in_table, 0) << what;
            EXPECT_EQ(letter, 1) << what;
            break;
          case Fate::one_of_both:
            EXPECT_EQ(in_table + letter, 1) << what;
            break;
          case Fate::at_most_once:
            EXPECT_LE(in_table + letter, 1) << what;
            break;
        }
      }
    }
    EXPECT_EQ(number("SELECT count(*) FROM turnstile_producers AS p WHERE "
                     "through <> rows_applied + rows_dead + changes OR rows_dead <> "
                     "(SELECT coalesce(sum(rows), 0) FROM turnstile_letters AS l "
                     " WHERE l.producer = p.producer) OR letter_bytes <> "
                     "(SELECT coalesce(sum(bytes), 0) FROM turnstile_letters AS l "
                     " WHERE l.producer = p.producer)"),
              0);
  }

  std::mt19937_64 dice_;
  std::vector<Table> tables_;
  std::vector<Producer> producers_;
  std::unique_ptr<store::Target> target_;
};

TEST_F(AnyTable, EveryRowIsInItsTableOrADeadLetterAndHealthyTablesHaveAll) {
  const auto number_in = [](const char* name) -> std::uint64_t {
    const char* text = std::getenv(name);
    return text == nullptr ? 0 : std::strtoull(text, nullptr, 10);
  };
  const std::uint64_t one = number_in("TURNSTILE_SEED");
  const std::uint64_t first = one != 0 ? one : std::random_device{}();
  const std::uint64_t many = number_in("TURNSTILE_SEEDS");
  const std::uint64_t count = one != 0 ? 1 : many != 0 ? many : kSeeds;
  std::cout << count << " seeds from " << first << " (TURNSTILE_SEED=N plays seed N alone)\n";
  for (std::uint64_t seed = first; seed < first + count && !HasFailure(); ++seed) {
    SCOPED_TRACE("TURNSTILE_SEED=" + std::to_string(seed));
    play(seed);
  }
}

}  // namespace
}  // namespace turnstile::test
