// What a connection knows of the tables of its database, and the prepared inserts for them. Both
// are kept until the schema changes, by any program. Belongs to the connection's thread.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "proto/messages.h"
#include "proto/rows.h"
#include "store/affinity.h"
#include "store/rows_table.h"
#include "store/sqlite.h"

namespace turnstile::store {

struct Column {
  std::string name;
  Affinity affinity = Affinity::blob;
  bool has_default = false;
  bool generated = false;
  bool is_rowid = false;  // the table's INTEGER PRIMARY KEY: another name of its rowid
};

struct TableInfo {
  std::string name;             // as the database spells it
  std::vector<Column> columns;  // as SELECT * gives them
  // The word that reads the rowid; empty when there is none to read (a view, WITHOUT ROWID, ...).
  std::string rowid;
  std::string problem;  // why SQLite cannot read its columns; empty when it can
  bool is_view = false;
  // An insert may leave something behind when it fails, or end the transaction: the table is not an
  // ordinary one, has triggers, or has a conflict clause that does so.
  bool careful = false;
  // An insert may find that no id is left, here or in a table that a trigger writes.
  bool may_run_out_of_ids = false;
  // Its conflict clauses only say how far a refused row is undone. INSERT OR ABORT overrules them:
  // a refused row never costs more than itself.
  bool overrule = false;
  // A row once inserted reads back as affinity alone says: no trigger, conflict clause or generated
  // column.
  bool plain = false;
  // INSERT OR FAIL does what INSERT does, except that it keeps the rows before the one it refuses.
  // Not so with a conflict clause, which it overrules, and with AUTOINCREMENT, whose counter is
  // written last.
  bool may_fail = false;

  // The position in `columns`, or columns.size(). SQLite's names do not mind ASCII case.
  [[nodiscard]] std::size_t find(std::string_view column) const;
  // Whether `column` names the rowid, by one of SQLite's words for it or by its own.
  [[nodiscard]] bool names_rowid(std::string_view column) const;
};

// One row or a group of rows into certain columns of one table.
class Inserter {
 public:
  // Of one group at most: what is needed to take its statement back is in memory until it ends.
  static constexpr std::size_t kGroupRows = 100;
  enum class Groups {
    none,           // insert rows one by one
    up_to_refused,  // of a refused group the rows before the one to blame stay if changes() counts
                    // them; else nobody knows what does
    all_or_none,    // the caller takes back what stays: within a savepoint
  };

  using Clock = std::chrono::steady_clock;

  // Not empty: the database takes no row of this form, and why.
  [[nodiscard]] const std::string& refusal() const { return refusal_; }

  // Rows that failed for a reason in the table: the second one in a row begins a time of trouble,
  // in which rows are refused without a try. It lasts ten times as long as the row took, and at
  // least 5 s.
  // `row` names it: one that is tried again counts once.
  void failed(const std::string& row, const std::string& reason, Clock::duration took);
  void succeeded() { failures_ = 0; }
  // Why; nullptr: the table is to be tried.
  [[nodiscard]] const std::string* trouble() const;
  [[nodiscard]] const TableInfo* table() const { return table_.get(); }  // null when there is none
  [[nodiscard]] std::size_t columns() const { return affinities_.size(); }
  [[nodiscard]] const std::vector<Affinity>& affinities() const { return affinities_; }
  [[nodiscard]] Groups groups() const { return groups_; }
  // From up_to_refused to all_or_none: a group was refused and SQLite did not say what it left.
  void take_groups_back() { groups_ = Groups::all_or_none; }

  // SQLITE_DONE or an (extended) error code. The rows have columns() values each.
  int insert(std::span<const ValueRef> row);
  struct GroupResult {
    int code;
    std::size_t passed;  // rows before the one to blame, or all: it is not known
  };
  GroupResult insert_group(const DecodedRows& rows, std::size_t first, std::size_t count);

 private:
  friend class Tables;

  void refuse_for_now(std::string reason);
  [[nodiscard]] std::size_t memory() const;  // bytes, about

  std::string refusal_;
  int failures_ = 0;  // one after the other
  std::string last_failed_;
  std::string trouble_;
  std::optional<Clock::time_point> trouble_until_;  // with a refusal: look again then
  std::shared_ptr<const TableInfo> table_;
  std::vector<Affinity> affinities_;
  Groups groups_ = Groups::none;
  RowsTable* rows_table_ = nullptr;  // when there are groups
  sqlite::Statement one_;
  sqlite::Statement group_;
};

class Tables {
 public:
  explicit Tables(sqlite::Connection& connection) : connection_(connection) {}

  // Looks whether the schema changed, and forgets everything if so. At the start of a transaction,
  // and after a change of one's own.
  Result<void> refresh();

  // A transaction was rolled back in which the schema may have changed: what was seen of it may
  // never have been, and its version is given again.
  void forget_all();

  // What is wrong with tables that this connection was asked for, at most `most` of them.
  [[nodiscard]] std::vector<TableTrouble> troubles(std::size_t most) const;

  // Nullptr: there is no such table or view. Valid until the next refresh(), find() or inserter().
  Result<const TableInfo*> find(const std::string& table);

  // Valid until the next refresh(), find() or inserter().
  Result<Inserter*> inserter(const std::string& table, const std::vector<std::string>& columns);

  // One that inserter() has given; nullptr when it has not.
  [[nodiscard]] Inserter* find_inserter(const std::string& table,
                                        const std::vector<std::string>& columns);

  // The same; the table is made if it is one of the lab's and missing.
  Result<Inserter*> inserter_or_lab(const std::string& table,
                                    const std::vector<std::string>& columns);

  // Counts the times that everything was forgotten.
  [[nodiscard]] std::uint64_t version() const { return version_; }

 private:
  Result<std::shared_ptr<const TableInfo>> look_up(const std::string& table);
  Result<std::shared_ptr<const TableInfo>> read(const std::string& table);
  Result<int> count_key_indexes(const std::string& quoted);
  Result<int> read_columns(const std::string& quoted, bool strict, TableInfo& into);
  Result<Inserter> make_inserter(const std::string& table, const std::vector<std::string>& columns);
  Result<RowsTable*> rows_table(std::size_t columns);
  void forget();

  sqlite::Connection& connection_;
  sqlite::Statement schema_version_;
  static constexpr std::int64_t kNoVersion = -1;
  std::int64_t seen_schema_version_ = kNoVersion;
  std::uint64_t version_ = 0;
  std::unordered_map<std::size_t, std::unique_ptr<RowsTable>> rows_tables_;  // by their columns
  std::unordered_map<std::string, std::shared_ptr<const TableInfo>> tables_;
  std::unordered_map<std::string, Inserter> inserters_;
  std::size_t tables_memory_ = 0;
  std::size_t inserters_memory_ = 0;
};

// ASCII case apart.
bool same_name(std::string_view a, std::string_view b);

// Why rows are never inserted in this table, turnstile's own or SQLite's; empty for any other.
std::string reserved_table_problem(std::string_view table);

// Why no table of this name is made: as above, or it would hide one of SQLite's functions that give
// rows from programs that use it.
std::string definition_problem(std::string_view table);

// The answer to a producer that asks about these columns of a table before it sends rows.
TableAnswer answer_about(const Inserter& inserter, const std::string& table,
                         const std::vector<std::string>& columns);

}  // namespace turnstile::store
