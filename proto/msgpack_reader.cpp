#include "proto/msgpack_reader.h"

namespace turnstile {

namespace {
using Kind = Element::Kind;
}  // namespace

// Big-endian, `width` bytes.
Element MsgpackReader::number(Kind kind, std::size_t width) {
  if (left_.size() < width) {
    return {Kind::truncated};
  }
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < width; ++i) {
    value = value << 8U | static_cast<unsigned char>(left_[i]);
  }
  left_.remove_prefix(width);
  return {kind, value};
}

Element MsgpackReader::sized_run(Kind kind, std::size_t width, std::uint64_t extra) {
  const Element size = number(kind, width);
  return size.kind == Kind::truncated ? size : run(kind, size.bits + extra);
}

Element MsgpackReader::next_other(unsigned char lead) {
  const auto signed_number = [this](std::size_t width) {
    Element element = number(Kind::positive, width);
    const std::size_t unused = 64 - 8 * width;
    const auto value = static_cast<std::int64_t>(element.bits << unused) >> unused;
    element.bits = static_cast<std::uint64_t>(value);
    if (element.kind == Kind::positive && value < 0) {
      element.kind = Kind::negative;
    }
    return element;
  };
  if (lead >= 0xE0) {
    return {Kind::negative, static_cast<std::uint64_t>(std::int64_t{lead} - 256)};
  }
  if (lead <= 0x8F) {
    return {Kind::map, lead & 0x0FU};
  }
  constexpr std::uint64_t kExtensionType = 1;  // the byte between an extension's size and its bytes
  switch (lead) {
    case 0xC0:
      return {Kind::nil};
    case 0xC2:
    case 0xC3:
      return {Kind::boolean, lead & 1U};
    case 0xC4:
    case 0xC5:
    case 0xC6:
      return sized_run(Kind::blob, std::size_t{1} << (lead - 0xC4U), 0);
    case 0xC7:
    case 0xC8:
    case 0xC9:
      return sized_run(Kind::extension, std::size_t{1} << (lead - 0xC7U), kExtensionType);
    case 0xCA: {
      Element element = number(Kind::real, 4);
      const auto value = std::bit_cast<float>(static_cast<std::uint32_t>(element.bits));
      element.bits = std::bit_cast<std::uint64_t>(static_cast<double>(value));
      return element;
    }
    case 0xCB:
      return number(Kind::real, 8);
    case 0xCC:
    case 0xCD:
    case 0xCE:
    case 0xCF:
      return number(Kind::positive, std::size_t{1} << (lead - 0xCCU));
    case 0xD0:
    case 0xD1:
    case 0xD2:
    case 0xD3:
      return signed_number(std::size_t{1} << (lead - 0xD0U));
    case 0xD4:
    case 0xD5:
    case 0xD6:
    case 0xD7:
    case 0xD8:
      return run(Kind::extension, (std::uint64_t{1} << (lead - 0xD4U)) + kExtensionType);
    case 0xD9:
    case 0xDA:
    case 0xDB:
      return sized_run(Kind::text, std::size_t{1} << (lead - 0xD9U), 0);
    case 0xDC:
    case 0xDD:
      return number(Kind::array, std::size_t{2} << (lead - 0xDCU));
    case 0xDE:
    case 0xDF:
      return number(Kind::map, std::size_t{2} << (lead - 0xDEU));
    default:
      return {Kind::invalid};
  }
}

bool MsgpackReader::skip(int depth) {
  const Element element = next();
  switch (element.kind) {
    case Kind::truncated:
    case Kind::invalid:
      return false;
    case Kind::array:
    case Kind::map: {
      const std::uint64_t inner = element.kind == Kind::map ? 2 * element.bits : element.bits;
      for (std::uint64_t i = 0; i < inner; ++i) {
        if (depth == 0 || !skip(depth - 1)) {
          return false;
        }
      }
      return true;
    }
    default:
      return true;
  }
}

}  // namespace turnstile
