// One row as one line of the text log: `[1003, Protein, G, 203, 600, 10:45]`.
// NULL prints empty, a blob as x'hex', a number as SQLite casts it to text, a text as printable()
// gives it: a row stays one line, and the terminal that shows it finds no command in it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "proto/rows.h"
#include "store/sqlite.h"
#include "store/tables.h"

namespace turnstile::store {

// How a text stands in a line: what a terminal would obey is escaped.
enum class Texts : std::uint8_t { as_they_are, escaped };

// The columns of a query, from the `first` on.
void append_line(const sqlite::Statement& row, int first, std::string& out);

// Lines straight from the rows of a batch, without asking the database: where it is certain that
// the stored row prints the same.
class BatchLines {
 public:
  // Nothing when the table, or what it fills in for columns that are not named, decides what a row
  // looks like.
  static std::optional<BatchLines> make(const TableInfo& table,
                                        const std::vector<std::string>& columns);

  // False, and nothing appended, when SQLite may convert one of the values.
  bool append(std::span<const ValueRef> row, std::int64_t rowid, std::string& out) const;

 private:
  static constexpr std::size_t kRowid = static_cast<std::size_t>(-1);
  static constexpr std::size_t kNull = static_cast<std::size_t>(-2);
  struct Field {
    std::size_t source = kNull;  // the position in the batch's row, kRowid or kNull
    Affinity affinity = Affinity::blob;
  };
  [[nodiscard]] static bool is_sent(const Field& field) {
    return field.source != kRowid && field.source != kNull;
  }
  // The line without its line feed.
  void append_fields(std::span<const ValueRef> row, std::int64_t rowid, Texts texts,
                     std::string& out) const;

  std::vector<Field> fields_;  // in the table's order
};

}  // namespace turnstile::store
