// Which value each field of a CSV row is sent as: text, NULL, or an integer.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "producers/csv/infer.h"
#include "proto/rows.h"

namespace turnstile {

enum class EmptyField {
  by_column,  // empty text, or NULL if the column is known to be INTEGER or REAL
  null,
  text,
};

class RowValues {
 public:
  // `types`: of the columns that --create makes; empty if unknown.
  RowValues(std::size_t columns, std::vector<csv::ColumnType> types, EmptyField empty);

  // The types of the table's columns, as the consumer named them. Older consumers name none.
  void learn_types(const std::vector<std::string>& names);

  // Some column is known to be a number, so that type() is valid for every column.
  [[nodiscard]] bool has_numbers() const { return has_numbers_; }
  [[nodiscard]] csv::ColumnType type(std::size_t column) const { return types_[column]; }

  // Every field is sent as it is; values() is not needed.
  [[nodiscard]] bool is_all_text(std::span<const std::string_view> fields) const;
  // Valid until the next call, and as long as `fields`.
  std::span<const ValueRef> values(std::span<const std::string_view> fields);

 private:
  void set_columns();
  [[nodiscard]] ValueRef value_of(std::size_t column, std::string_view field) const;

  std::size_t columns_;
  EmptyField empty_;
  std::vector<csv::ColumnType> types_;  // empty if unknown
  std::vector<bool> is_null_if_empty_;
  // Columns such as those without a type, which keep each value as it is sent. An integer is sent
  // as an integer, so that WHERE a = 2 finds it.
  std::vector<bool> keeps_kind_;
  bool has_kind_columns_ = false;
  bool has_null_columns_ = false;
  bool has_numbers_ = false;
  std::vector<ValueRef> values_;
};

}  // namespace turnstile
