#include "producers/csv/row_values.h"

#include <utility>

#include "store/affinity.h"

namespace turnstile {
namespace {

constexpr std::string_view kRowidType = "INTEGER PRIMARY KEY";

csv::ColumnType column_type(std::string_view name) {
  if (name == "INTEGER" || name == kRowidType || name == "NUMERIC") {
    return csv::ColumnType::integer;
  }
  return name == "REAL" ? csv::ColumnType::real : csv::ColumnType::text;
}

}  // namespace

RowValues::RowValues(std::size_t columns, std::vector<csv::ColumnType> types, EmptyField empty)
    : columns_(columns), empty_(empty), types_(std::move(types)) {
  set_columns();
}

void RowValues::learn_types(const std::vector<std::string>& names) {
  if (names.size() != columns_) {
    return;
  }
  types_.clear();
  keeps_kind_.clear();
  has_kind_columns_ = false;
  for (const auto& name : names) {
    types_.push_back(column_type(name));
    keeps_kind_.push_back(name == "BLOB");
    has_kind_columns_ = has_kind_columns_ || keeps_kind_.back();
  }
  set_columns();
  for (std::size_t i = 0; i < columns_ && empty_ == EmptyField::by_column; ++i) {
    // The column refuses empty text, and NULL would get an id that the input does not have.
    is_null_if_empty_[i] = is_null_if_empty_[i] && names[i] != kRowidType;
  }
}

void RowValues::set_columns() {
  is_null_if_empty_.assign(columns_, false);
  has_null_columns_ = has_numbers_ = false;
  for (std::size_t i = 0; i < columns_; ++i) {
    const bool is_number = i < types_.size() && types_[i] != csv::ColumnType::text;
    is_null_if_empty_[i] =
        empty_ == EmptyField::null || (empty_ == EmptyField::by_column && is_number);
    has_null_columns_ = has_null_columns_ || is_null_if_empty_[i];
    has_numbers_ = has_numbers_ || is_number;
  }
}

bool RowValues::is_all_text(std::span<const std::string_view> fields) const {
  bool is_all_text = !has_kind_columns_;
  for (std::size_t i = 0; has_null_columns_ && i < fields.size() && is_all_text; ++i) {
    is_all_text = !fields[i].empty() || !is_null_if_empty_[i];
  }
  return is_all_text;
}

ValueRef RowValues::value_of(std::size_t column, std::string_view field) const {
  if (field.empty() && is_null_if_empty_[column]) {
    return Null{};
  }
  if (column < keeps_kind_.size() && keeps_kind_[column]) {
    if (const auto integer = store::canonical_integer(field)) {
      return *integer;
    }
  }
  return field;
}

std::span<const ValueRef> RowValues::values(std::span<const std::string_view> fields) {
  values_.clear();
  for (std::size_t i = 0; i < fields.size(); ++i) {
    values_.push_back(value_of(i, fields[i]));
  }
  return values_;
}

}  // namespace turnstile
