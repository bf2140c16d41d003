// Rows in memory as a table that one connection reads, so that one INSERT ... SELECT takes many of
// them: no bind for each value, and a program of a few steps where VALUES has some for each row.
// An eponymous virtual table (https://sqlite.org/vtab.html). It is read as one of schema temp,
// where nobody else can have put a table of its name, and triggers and views cannot read it.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>

#include "base/result.h"
#include "proto/rows.h"
#include "store/affinity.h"
#include "store/sqlite.h"

namespace turnstile::store {

class RowsTable {
 public:
  // One for each number of columns; it outlives the connection's statements that read it.
  static Result<std::unique_ptr<RowsTable>> make(sqlite::Connection& connection,
                                                 std::size_t columns);
  RowsTable(const RowsTable&) = delete;
  RowsTable& operator=(const RowsTable&) = delete;
  ~RowsTable() = default;

  // Its columns, in their order.
  [[nodiscard]] const std::string& select_sql() const { return select_sql_; }
  // Its content from now on: whole rows, one after another, each value as bound_for() has it
  // for its column's affinity. Both must live until the statement is reset.
  void show(std::span<const ValueRef> values, std::span<const Affinity> affinities);
  // How many the last statement is done with: the next is the one it stopped at, if it did.
  [[nodiscard]] std::size_t rows_passed() const;

 private:
  struct Module;

  explicit RowsTable(std::size_t columns);

  std::size_t columns_;
  std::string name_;
  std::string create_sql_;
  std::string select_sql_;
  std::span<const ValueRef> values_;
  std::span<const Affinity> affinities_;
  std::size_t at_ = 0;  // of values_: where the row at hand begins
};

}  // namespace turnstile::store
