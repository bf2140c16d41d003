#include "proto/rows.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <utility>

#include <msgpack.hpp>

#include "base/counted.h"
#include "base/utf8.h"
#include "proto/limits.h"
#include "proto/msgpack_reader.h"

namespace turnstile {
namespace {

// The frame's outer array header is written last, in its longest form, over these bytes.
constexpr std::size_t kArray32 = 5;
// An encoder keeps no more for the next batch, unless this one was as large.
constexpr std::size_t kKeptMost = std::size_t{256} * 1024;

// `size` bytes, of one piece to two, as two pieces that may overlap.
template <std::size_t kPiece>
void copy_as_two(const char* from, std::size_t size, char* to) {
  std::memcpy(to, from, kPiece);
  std::memcpy(to + size - kPiece, from + size - kPiece, kPiece);
}

// What msgpack's packer writes to: a buffer that is large enough. Most texts are short, and calling
// memcpy for them would be a tenth of the encoding (bench/inner).
struct Room {
  char* at;
  void write(const char* data, std::size_t size) {
    if (size > 16) {
      std::memcpy(at, data, size);
    } else if (size >= 8) {
      copy_as_two<8>(data, size, at);
    } else if (size >= 4) {
      copy_as_two<4>(data, size, at);
    } else if (size >= 2) {
      copy_as_two<2>(data, size, at);
    } else if (size == 1) {
      *at = *data;
    }
    at += size;
  }
};

// Of an encoded value: up to nine bytes, and the bytes of a text or blob.
std::size_t most_bytes(std::string_view text) {
  return 9 + text.size();
}

std::size_t most_bytes(const ValueRef& value) {
  if (const auto* text = std::get_if<std::string_view>(&value)) {
    return most_bytes(*text);
  }
  const auto* blob = std::get_if<Blob>(&value);
  return most_bytes(blob == nullptr ? std::string_view() : blob->bytes);
}

void pack(std::string_view text, msgpack::packer<Room>& packer, Room& /*room*/) {
  packer.pack_str(static_cast<std::uint32_t>(text.size()));
  packer.pack_str_body(text.data(), static_cast<std::uint32_t>(text.size()));
}

void pack(double real, Room& room) {
  // pack_double() would turn 5.0 into the integer 5, which SQLite keeps as another storage class.
  *room.at++ = static_cast<char>(0xCB);
  const auto bits = std::bit_cast<std::uint64_t>(real);
  for (int shift = 56; shift >= 0; shift -= 8) {
    *room.at++ = static_cast<char>((bits >> static_cast<unsigned>(shift)) & 0xFFU);
  }
}

void pack(const ValueRef& value, msgpack::packer<Room>& packer, Room& room) {
  if (const auto* text = std::get_if<std::string_view>(&value)) {
    pack(*text, packer, room);
  } else if (const auto* integer = std::get_if<std::int64_t>(&value)) {
    packer.pack_int64(*integer);
  } else if (const auto* real = std::get_if<double>(&value)) {
    pack(*real, room);
  } else if (const auto* blob = std::get_if<Blob>(&value)) {
    packer.pack_bin(static_cast<std::uint32_t>(blob->bytes.size()));
    packer.pack_bin_body(blob->bytes.data(), static_cast<std::uint32_t>(blob->bytes.size()));
  } else {
    packer.pack_nil();
  }
}

using Kind = Element::Kind;

// Why a frame with this element in this place cannot be read.
std::string what_is_wrong(const Element& element) {
  switch (element.kind) {
    case Kind::truncated:
      return "a truncated frame";
    case Kind::invalid:
      return "bytes that are not MessagePack";
    case Kind::map:
      return "a map";
    case Kind::extension:
      return "an extension type, which no SQLite value can be";
    case Kind::array:
      return "an array inside a row";
    default:
      return "a value outside a row";
  }
}

// Adds what SQLite gets for `element`; false when it is no value. `defect` gets the reason when its
// row cannot be kept.
bool add_value(const Element& element, std::vector<ValueRef>& values, std::string_view& defect) {
  switch (element.kind) {
    case Kind::text:
      values.emplace_back(element.bytes());
      if (!is_text(element.bytes())) {
        defect = is_utf8(element.bytes()) ? "text with a NUL byte (send it as binary)"
                                          : "text that is not UTF-8";
      }
      return true;
    case Kind::positive:
      values.emplace_back(element.integer());
      if (element.integer() < 0) {
        defect = "an integer above 9223372036854775807";
      }
      return true;
    case Kind::negative:
    case Kind::boolean:
      values.emplace_back(element.integer());
      return true;
    case Kind::real:
      values.emplace_back(element.real());
      if (std::isnan(element.real())) {
        defect = "a REAL that is NaN, which SQLite keeps as NULL (send nil for NULL)";
      }
      return true;
    case Kind::blob:
      values.emplace_back(Blob{element.bytes()});
      return true;
    case Kind::nil:
      values.emplace_back(Null{});
      return true;
    default:
      return false;
  }
}

}  // namespace

RowsEncoder::RowsEncoder() : size_(kArray32) {}

template <typename Value>
void RowsEncoder::add_row(std::span<const Value> row) {
  std::size_t most = kArray32;
  for (const auto& value : row) {
    most += most_bytes(value);
  }
  if (buffer_.size() < size_ + most) {
    buffer_.resize(std::max(2 * buffer_.size(), size_ + most));
  }
  Room room{buffer_.data() + size_};
  msgpack::packer<Room> packer(room);
  packer.pack_array(static_cast<std::uint32_t>(row.size()));
  for (const auto& value : row) {
    pack(value, packer, room);
  }
  size_ = static_cast<std::size_t>(room.at - buffer_.data());
  ++rows_;
}

void RowsEncoder::add(std::span<const ValueRef> row) {
  add_row(row);
}

void RowsEncoder::add(std::span<const std::string_view> row) {
  add_row(row);
}

Bytes RowsEncoder::take() {
  buffer_.resize(std::max(buffer_.size(), kArray32));
  buffer_[0] = static_cast<char>(0xDD);
  for (std::size_t i = 1; i < kArray32; ++i) {
    buffer_[i] = static_cast<char>((rows_ >> (8 * (kArray32 - 1 - i))) & 0xFFU);
  }
  std::string frame;
  if (size_ > buffer_.size() / 2) {
    buffer_.resize(size_);
    frame = std::exchange(buffer_, std::string(size_ + size_ / 8, '\0'));
  } else {
    frame.assign(buffer_, 0, size_);  // its holder must not keep the rest
    if (buffer_.size() > kKeptMost) {
      buffer_ = std::string();
    }
  }
  size_ = kArray32;
  rows_ = 0;
  return Bytes(std::move(frame));
}

std::string_view DecodedRows::defect(std::size_t index) const {
  if (defects_.empty()) {
    return {};
  }
  const auto at = std::lower_bound(defects_.begin(), defects_.end(), index,
                                   [](const Defect& d, std::size_t row) { return d.row < row; });
  return at != defects_.end() && at->row == index ? at->reason : std::string_view{};
}

Result<void> decode_rows(std::string_view frame, std::uint32_t rows, DecodedRows& into) {
  into.values_.clear();
  into.ends_.clear();
  into.defects_.clear();
  const auto broken = [](const std::string& problem) {
    return fail(Errc::corrupt, "the rows frame holds " + problem);
  };

  MsgpackReader in(frame);
  const Element outer = in.next();
  if (outer.kind != Kind::array) {
    return broken(what_is_wrong(outer));
  }
  if (outer.bits != rows) {
    return broken(counted(outer.bits, "row") + ", the header says " + std::to_string(rows));
  }
  for (std::uint32_t row = 0; row < rows; ++row) {
    const Element head = in.next();
    if (head.kind != Kind::array) {
      return broken(what_is_wrong(head));
    }
    if (head.bits > limits::kColumns) {
      return broken("a row of " + counted(head.bits, "value"));
    }
    if (into.values_.size() + head.bits > limits::kBatchValues) {
      return broken("more than " + std::to_string(limits::kBatchValues) + " values");
    }
    std::string_view defect;
    for (std::uint64_t i = 0; i < head.bits; ++i) {
      const Element element = in.next();
      if (!add_value(element, into.values_, defect)) {
        return broken(what_is_wrong(element));
      }
    }
    into.ends_.push_back(static_cast<std::uint32_t>(into.values_.size()));
    if (!defect.empty()) {
      into.defects_.push_back({row, defect});
    }
  }
  return in.at_end() ? Result<void>() : broken("bytes after the last row");
}

}  // namespace turnstile
