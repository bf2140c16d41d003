// Reads MessagePack element by element from bytes that nobody vouches for. It allocates nothing,
// throws nothing, never recurses without a bound and never reads past the end.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace turnstile {

struct Element {
  enum class Kind : std::uint8_t {
    nil,
    boolean,
    positive,  // an integer from 0 on, whatever its encoding
    negative,
    real,
    text,
    blob,
    array,
    map,
    extension,
    truncated,  // the bytes end inside this element, or before it
    invalid,    // the one byte that MessagePack never uses
  };

  Kind kind = Kind::truncated;
  // The integer, the boolean, a real's bits, a count of elements, pairs or bytes.
  std::uint64_t bits = 0;
  const char* data = nullptr;  // of text and blob: `bits` bytes

  [[nodiscard]] std::string_view bytes() const { return {data, bits}; }
  [[nodiscard]] std::int64_t integer() const { return static_cast<std::int64_t>(bits); }
  [[nodiscard]] double real() const { return std::bit_cast<double>(bits); }
};

class MsgpackReader {
 public:
  explicit MsgpackReader(std::string_view bytes) : left_(bytes) {}

  // The next element; of an array or a map its head: what it holds follows.
  Element next() {
    if (left_.empty()) {
      return {Element::Kind::truncated};
    }
    const auto lead = static_cast<unsigned char>(left_.front());
    left_.remove_prefix(1);
    if (lead <= 0x7F) {
      return {Element::Kind::positive, lead};
    }
    if (lead >= 0xA0 && lead <= 0xBF) {
      return run(Element::Kind::text, lead & 0x1FU);
    }
    if (lead >= 0x90 && lead <= 0x9F) {
      return {Element::Kind::array, lead & 0x0FU};
    }
    return next_other(lead);
  }

  // Passes over one element and all that it holds. False: truncated, invalid or nested deeper.
  bool skip(int depth);

  [[nodiscard]] bool at_end() const { return left_.empty(); }

 private:
  Element run(Element::Kind kind, std::uint64_t size) {
    if (size > left_.size()) {
      return {Element::Kind::truncated};
    }
    const char* const data = left_.data();
    left_.remove_prefix(size);
    return {kind, size, data};
  }
  Element next_other(unsigned char lead);
  Element number(Element::Kind kind, std::size_t width);
  Element sized_run(Element::Kind kind, std::size_t width, std::uint64_t extra);

  std::string_view left_;
};

}  // namespace turnstile
