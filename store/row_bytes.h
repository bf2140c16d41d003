// The bytes of single rows within a rows frame that was decoded without error, for dead letters:
// they keep a row exactly as it was sent.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace turnstile::store {

class RowBytes {
 public:
  RowBytes() = default;
  explicit RowBytes(std::string_view frame) : frame_(frame) {}

  // Rows must be asked for in ascending order.
  std::string_view row(std::size_t index);

 private:
  std::string_view frame_;
  std::size_t at_ = 0;  // where row next_ begins; 0: before the frame's own header
  std::size_t next_ = 0;
};

// The bytes of the row without its first value, of a row that has one.
std::string without_first(std::string_view row);

}  // namespace turnstile::store
