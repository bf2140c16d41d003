#include "tests/campaigns/power_check.h"

#include <algorithm>
#include <set>
#include <stdexcept>

#include "broker/journal_schema.h"
#include "store/sqlite.h"
#include "tests/campaigns/power_rows.h"
#include "tests/support/power_vfs.h"

namespace turnstile::test::power {
namespace {

struct StoredRow {
  std::uint64_t offset;
  std::uint64_t first;
  std::uint64_t last;
};

class Checker {
 public:
  Checker(PowerDisk& disk, const Paths& paths, Account& account)
      : disk_(disk), vfs_(disk), paths_(paths), account_(account) {}

  std::vector<std::string> run() {
    try {
      read_target();
      read_journal();
    } catch (const std::runtime_error& error) {
      problem(error.what());
      return problems_;
    }
    for (const auto& [producer, told] : account_.told) {
      check_told(producer, told);
    }
    if (account_.is_drained) {
      check_drained();
    }
    return problems_;
  }

 private:
  void problem(std::string text) { problems_.push_back(std::move(text)); }

  template <typename T>
  static T must(Result<T> result) {
    if (!result) {
      throw std::runtime_error(result.error().what);
    }
    return std::move(*result);
  }
  template <typename Row>
  static void each(sqlite::Connection& db, const std::string& sql, Row&& row) {
    auto statement = must(db.prepare(sql));
    int code = SQLITE_ROW;
    while ((code = statement.step()) == SQLITE_ROW) {
      row(statement);
    }
    if (code != SQLITE_DONE) {
      throw std::runtime_error(db.error(code, sql).what);
    }
  }

  // Without a value: the file, or its tables, were never made.
  std::optional<sqlite::Connection> open(const std::string& path, const char* table) {
    if (disk_.content(path).empty() && !disk_.exists(path + "-wal")) {
      return std::nullopt;
    }
    auto db = must(sqlite::Connection::open(path, sqlite::Access::read_write, vfs_.name()));
    const auto found = must(db.query_integer("SELECT count(*) FROM sqlite_schema WHERE name='" +
                                             std::string(table) + "'"));
    if (const auto sound = must(db.query_text("PRAGMA integrity_check")); sound != "ok") {
      problem(path + " is damaged: " + sound.substr(0, sound.find('\n', sound.find('\n') + 1)));
    }
    if (found == 0) {
      return std::nullopt;
    }
    return db;
  }

  void read_target() {
    auto db = open(paths_.target, "turnstile_producers");
    if (!db) {
      return;
    }
    each(*db, "SELECT producer, through, rows_applied, rows_dead, changes FROM turnstile_producers",
         [&](const sqlite::Statement& row) {
           const std::string producer(row.text(0));
           through_[producer] = static_cast<std::uint64_t>(row.integer(1));
           if (row.integer(1) != row.integer(2) + row.integer(3) + row.integer(4)) {
             problem(producer + ": its counts do not add up to " + std::to_string(row.integer(1)));
           }
         });
    read_table(*db, kLogged);
    read_table(*db, kOther);
    read_dead_letters(*db);
    for (const auto& [producer, through] : through_) {
      check_sequences(producer, through);
    }
    check_text(*db);
  }

  bool has_table(sqlite::Connection& db, std::string_view table) {
    return must(db.query_integer("SELECT count(*) FROM sqlite_schema WHERE name='" +
                                 std::string(table) + "'")) > 0;
  }

  void read_table(sqlite::Connection& db, std::string_view table) {
    if (!has_table(db, table)) {
      return;
    }
    std::map<std::string, std::uint64_t, std::less<>> last;
    each(db, "SELECT rowid, producer, seq, filler FROM " + std::string(table) + " ORDER BY rowid",
         [&](const sqlite::Statement& row) {
           const std::string_view producer = row.text(1);
           const auto sequence = static_cast<std::uint64_t>(row.integer(2));
           if (table == kLogged) {
             add_line(row);
           }
           const auto known = account_.told.find(std::string(producer));
           if (known == account_.told.end()) {
             return;  // another program's
           }
           auto& before = last[known->first];
           if (sequence <= before) {
             problem(known->first + ": row " + std::to_string(sequence) + " behind row " +
                     std::to_string(before));
           }
           before = sequence;
           if (is_bad(producer, sequence) || row.text(3) != filler_of(producer, sequence) ||
               table_of(sequence) != table) {
             problem(known->first + ": row " + std::to_string(sequence) + " is not what was sent");
           }
           note(known->first, sequence);
         });
  }

  void add_line(const sqlite::Statement& row) {
    text_ += "[" + std::string(row.text(1)) + ", " + std::to_string(row.integer(2)) + ", ";
    for (const char c : row.text(3)) {
      text_ += c == '\n' ? std::string("\\n") : std::string(1, c);
    }
    text_ += "]\n";
    last_rowid_ = row.integer(0);
  }

  void read_dead_letters(sqlite::Connection& db) {
    each(db, "SELECT producer, sequence, rows FROM turnstile_dead_letters",
         [&](const sqlite::Statement& row) {
           const std::string producer(row.text(0));
           const auto sequence = static_cast<std::uint64_t>(row.integer(1));
           if (row.integer(2) != 1 || !is_bad(producer, sequence)) {
             problem(producer + ": row " + std::to_string(sequence) +
                     " is a dead letter without a reason");
           }
           note(producer, sequence);
         });
  }

  void note(const std::string& producer, std::uint64_t sequence) {
    if (!seen_[producer].insert(sequence).second) {
      problem(producer + ": row " + std::to_string(sequence) + " is there twice");
    }
  }

  // Promise 2: all rows up to `through`, each once, and none behind it.
  void check_sequences(const std::string& producer, std::uint64_t through) {
    const auto& seen = seen_[producer];
    const std::uint64_t definitions = std::min(through, kDefinitions);
    if (seen.size() != through - definitions) {
      problem(producer + ": " + std::to_string(seen.size() + definitions) + " rows of " +
              std::to_string(through) + " that the target says are applied");
    }
    if (!seen.empty() && *seen.rbegin() > through) {
      problem(producer + ": row " + std::to_string(*seen.rbegin()) + " is behind " +
              std::to_string(through));
    }
  }

  // Promise 5.
  void check_text(sqlite::Connection& db) {
    bool has_record = false;
    each(db, "SELECT length, last_rowid, synced_length FROM turnstile_text_log",
         [&](const sqlite::Statement& row) {
           has_record = true;
           check_text_record(static_cast<std::size_t>(row.integer(0)), row.integer(1),
                             static_cast<std::size_t>(row.integer(2)));
         });
    if (!has_record && !text_.empty() && !account_.text_is_disturbed) {
      problem("the target has no record of its text log");
    }
  }

  void check_text_record(std::size_t length, std::int64_t rowid, std::size_t synced) {
    if (account_.text_is_disturbed) {
      return;
    }
    const std::string_view file = disk_.content(paths_.text);
    if (length != text_.size() || (!text_.empty() && rowid != last_rowid_)) {
      problem("the text log is recorded with " + std::to_string(length) + " bytes up to row " +
              std::to_string(rowid) + ", the table gives " + std::to_string(text_.size()) +
              " up to row " + std::to_string(last_rowid_));
    } else if (file.size() < synced || file.substr(0, synced) != text_.substr(0, synced)) {
      const auto differs = std::mismatch(file.begin(), file.end(), text_.begin(), text_.end());
      problem("the text log has lost of the " + std::to_string(synced) +
              " bytes that are recorded as synced: it has " + std::to_string(file.size()) +
              " and is wrong from " + std::to_string(differs.first - file.begin()) + " on");
    } else if (account_.text_is_settled && file != text_) {
      problem("the text log (" + std::to_string(file.size()) +
              " bytes) is not what the table says (" + std::to_string(text_.size()) + ")");
    }
  }

  void read_journal() {
    auto db = open(paths_.journal, "turnstile_journal");
    if (!db) {
      return;
    }
    each(*db,
         "SELECT offset, producer, first, last, checksum, header, rows FROM batches "
         "ORDER BY offset",
         [&](const sqlite::Statement& row) {
           const StoredRow batch{static_cast<std::uint64_t>(row.integer(0)),
                                 static_cast<std::uint64_t>(row.integer(2)),
                                 static_cast<std::uint64_t>(row.integer(3))};
           const std::string producer(row.text(1));
           const std::string header(row.blob(5));
           if (broker::journal_checksum(batch.offset, {producer, batch.first, batch.last, header,
                                                       row.blob(6)}) != row.integer(4)) {
             problem("the journal's batch " + std::to_string(batch.offset) + " is damaged");
           }
           check_offset(producer, batch);
           stored_[producer].push_back(batch);
         });
    for (const auto& [producer, batches] : stored_) {
      // JOURNAL.md, what always holds: no hole before or between a producer's batches.
      std::uint64_t through = through_[producer];
      for (const StoredRow& batch : batches) {
        if (batch.first > through + 1) {
          problem(producer + ": the journal has a hole between " + std::to_string(through) +
                  " and " + std::to_string(batch.first));
        }
        through = std::max(through, batch.last);
      }
      safe_[producer] = through;
    }
  }

  // An offset is never given twice.
  void check_offset(const std::string& producer, const StoredRow& batch) {
    const auto told = account_.told.find(producer);
    const bool is_told = told != account_.told.end() && batch.last <= told->second.stored;
    const std::pair is{producer, batch.first};
    const auto known = account_.offsets.find(batch.offset);
    if (known != account_.offsets.end() && known->second != is) {
      problem("offset " + std::to_string(batch.offset) + " was given twice");
    } else if (is_told) {
      account_.offsets.emplace(batch.offset, is);
    }
  }

  // Promise 1.
  void check_told(const std::string& producer, const Told& told) {
    const std::uint64_t applied = through_[producer];
    const std::uint64_t safe = std::max(applied, safe_[producer]);
    if (told.applied > applied) {
      problem(producer + ": told applied up to " + std::to_string(told.applied) +
              ", the target has " + std::to_string(applied));
    }
    if (told.stored > safe) {
      problem(producer + ": told stored up to " + std::to_string(told.stored) +
              ", target and journal have " + std::to_string(safe));
    }
  }

  void check_drained() {
    for (const auto& [producer, sent] : account_.sent) {
      if (through_[producer] < sent) {
        problem(producer + ": " + std::to_string(through_[producer]) + " of " +
                std::to_string(sent) + " rows arrived");
      }
    }
    for (const auto& [producer, batches] : stored_) {
      problem(producer + ": " + std::to_string(batches.size()) + " batches stay in the journal");
    }
  }

  PowerDisk& disk_;
  PowerVfs vfs_;
  const Paths& paths_;
  Account& account_;
  std::vector<std::string> problems_;

  std::map<std::string, std::uint64_t> through_;
  std::map<std::string, std::set<std::uint64_t>> seen_;
  std::map<std::string, std::vector<StoredRow>> stored_;
  std::map<std::string, std::uint64_t> safe_;  // in target or journal
  std::string text_;
  std::int64_t last_rowid_ = 0;
};

}  // namespace

std::vector<std::string> check(PowerDisk& disk, const Paths& paths, Account& account) {
  return Checker(disk, paths, account).run();
}

}  // namespace turnstile::test::power
