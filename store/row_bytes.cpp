#include "store/row_bytes.h"

#include <cassert>

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

}  // namespace turnstile::store
