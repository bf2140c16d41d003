// The rows frame: a MessagePack array of rows, each an array of values. MessagePack's nil, integer,
// float, string and binary are SQLite's five storage classes.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"

namespace turnstile {

struct Blob {
  std::string_view bytes;
};
struct Null {};

// A value that refers to bytes owned by somebody else (the frame it was read from).
using ValueRef = std::variant<Null, std::int64_t, double, std::string_view, Blob>;

// Collects the rows of one batch. Reused: take() leaves it empty, with its memory kept.
class RowsEncoder {
 public:
  RowsEncoder();

  void add(std::span<const ValueRef> row);
  void add(std::span<const std::string_view> row);  // every value as text

  [[nodiscard]] std::uint32_t rows() const { return rows_; }
  [[nodiscard]] std::size_t bytes() const { return size_; }
  Bytes take();

 private:
  template <typename Value>
  void add_row(std::span<const Value> row);

  std::string buffer_;  // longer than what it holds: to fill what is written over takes time
  std::size_t size_;
  std::uint32_t rows_ = 0;
};

// The decoded rows of one batch: values refer into the frame.
class DecodedRows {
 public:
  [[nodiscard]] std::size_t rows() const { return ends_.size(); }
  [[nodiscard]] std::span<const ValueRef> row(std::size_t index) const {
    return std::span(values_).subspan(begin(index), ends_[index] - begin(index));
  }
  [[nodiscard]] std::span<ValueRef> row(std::size_t index) {
    return std::span(values_).subspan(begin(index), ends_[index] - begin(index));
  }
  // The values of consecutive rows, row after row.
  [[nodiscard]] std::span<const ValueRef> values(std::size_t first, std::size_t count) const {
    return std::span(values_).subspan(begin(first), begin(first + count) - begin(first));
  }
  // Not empty when this row holds something that no SQLite value can be (an integer above
  // 2^63 - 1, text that is not UTF-8): the reason.
  [[nodiscard]] std::string_view defect(std::size_t index) const;

 private:
  friend Result<void> decode_rows(std::string_view frame, std::uint32_t rows, DecodedRows& into);

  struct Defect {
    std::size_t row;
    std::string_view reason;
  };

  [[nodiscard]] std::size_t begin(std::size_t index) const {
    return index == 0 ? 0 : ends_[index - 1];
  }

  std::vector<ValueRef> values_;
  std::vector<std::uint32_t> ends_;
  std::vector<Defect> defects_;  // ascending by row; nearly always empty
};

// Decodes a frame that should hold `rows` rows, reusing the memory of `into`.
// Errors: Errc::corrupt when the frame as a whole cannot be read (truncated, not an array of
// arrays, another number of rows, beyond the limits). One bad value is a defect of its row only.
Result<void> decode_rows(std::string_view frame, std::uint32_t rows, DecodedRows& into);

}  // namespace turnstile
