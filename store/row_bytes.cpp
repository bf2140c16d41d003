#include "store/row_bytes.h"

#include <cassert>
#include <cstdint>

#include <msgpack.hpp>

namespace turnstile::store {
namespace {

// MessagePack has three headers for arrays.
std::size_t array_header_bytes(char first) {
  constexpr unsigned char kArray16 = 0xDC;
  constexpr unsigned char kArray32 = 0xDD;
  const auto type = static_cast<unsigned char>(first);
  if (type == kArray32) {
    return 1 + sizeof(std::uint32_t);
  }
  return type == kArray16 ? 1 + sizeof(std::uint16_t) : 1;
}

}  // namespace

std::string_view RowBytes::row(std::size_t index) {
  assert(index >= next_);
  if (at_ == 0 && !frame_.empty()) {
    at_ = array_header_bytes(frame_.front());
  }
  std::size_t begin = at_;
  for (; next_ <= index; ++next_) {
    begin = at_;
    msgpack::null_visitor skip;
    msgpack::parse(frame_.data(), frame_.size(), at_, skip);
  }
  return frame_.substr(begin, at_ - begin);
}

std::string without_first(std::string_view row) {
  constexpr std::size_t kShortArray = 15;
  constexpr unsigned char kShort = 0x90;
  constexpr unsigned char kArray16 = 0xDC;
  constexpr unsigned char kArray32 = 0xDD;
  constexpr unsigned kByte = 8;
  std::size_t values = static_cast<unsigned char>(row.front()) & kShortArray;
  if (const std::size_t width = array_header_bytes(row.front()) - 1; width > 0) {
    values = 0;
    for (std::size_t i = 1; i <= width; ++i) {
      values = values << kByte | static_cast<unsigned char>(row[i]);
    }
  }
  // An array's elements follow its header as rows follow a frame's.
  const std::string_view first = RowBytes(row).row(0);
  --values;
  std::string out;
  const auto add = [&out](std::size_t byte) { out += static_cast<char>(byte); };
  if (values <= kShortArray) {
    add(kShort | values);
  } else if (values <= UINT16_MAX) {
    add(kArray16);
    add(values >> kByte);
    add(values);
  } else {
    add(kArray32);
    for (unsigned shift = 4 * kByte; shift > 0;) {
      shift -= kByte;
      add(values >> shift);
    }
  }
  return out.append(first.data() + first.size(), row.data() + row.size());
}

}  // namespace turnstile::store
