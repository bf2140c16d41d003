#include "link/frames.h"

#include <algorithm>
#include <array>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "proto/limits.h"

namespace turnstile {
namespace {

constexpr unsigned char kBin32 = 0xC6;
constexpr std::size_t kWrap = 5;  // the marker and four bytes of length, most significant first
constexpr std::size_t kMaxFrames = 3;
// A small message of ZeroMQ is part of a buffer of several KiB, which its frames would keep alive:
// up to this size it is copied.
constexpr std::size_t kCopiedBytes = 4096;

std::array<char, kWrap> wrap_of(std::size_t frame_bytes) {
  std::array<char, kWrap> wrap{static_cast<char>(kBin32)};
  for (std::size_t i = 1; i < kWrap; ++i) {
    wrap[i] = static_cast<char>(frame_bytes >> (8 * (kWrap - 1 - i)));
  }
  return wrap;
}

template <typename Put>
void pack(const Frames& frames, const Put& put) {
  for (const Bytes& frame : frames) {
    const auto wrap = wrap_of(frame.size());
    put(std::string_view(wrap.data(), wrap.size()));
    put(frame.view());
  }
}

Result<Frames> split(const std::shared_ptr<const void>& owner, std::string_view rest) {
  Frames frames;
  while (!rest.empty()) {
    if (rest.size() < kWrap || static_cast<unsigned char>(rest[0]) != kBin32) {
      return fail(Errc::corrupt, "message is not a sequence of frames");
    }
    std::size_t size = 0;
    for (std::size_t i = 1; i < kWrap; ++i) {
      size = size << 8U | static_cast<unsigned char>(rest[i]);
    }
    rest.remove_prefix(kWrap);
    if (size > rest.size()) {
      return fail(Errc::corrupt, "message ends within a frame");
    }
    if (frames.size() == kMaxFrames) {
      return fail(Errc::corrupt, "message has more than " + std::to_string(kMaxFrames) + " frames");
    }
    frames.emplace_back(owner, rest.substr(0, size));
    rest.remove_prefix(size);
  }
  return frames;
}

}  // namespace

std::int64_t largest_message_bytes() {
  return static_cast<std::int64_t>(2 * limits::kHeaderBytes + limits::kRowsBytes +
                                   kMaxFrames * kWrap);
}

std::size_t packed_bytes(const Frames& frames) {
  std::size_t bytes = 0;
  for (const Bytes& frame : frames) {
    bytes += kWrap + frame.size();
  }
  return bytes;
}

void append_wrap(std::size_t frame_bytes, std::string& out) {
  const auto wrap = wrap_of(frame_bytes);
  out.append(wrap.data(), wrap.size());
}

zmq::message_t packed(const Frames& frames) {
  zmq::message_t message(packed_bytes(frames));
  auto* out = message.data<char>();
  pack(frames, [&](std::string_view piece) { out = std::copy(piece.begin(), piece.end(), out); });
  return message;
}

Result<Frames> unpacked(zmq::message_t&& message) {
  if (message.size() <= kCopiedBytes) {
    return unpacked(message.to_string());
  }
  auto kept = std::make_shared<const zmq::message_t>(std::move(message));
  const auto all = kept->to_string_view();
  return split(kept, all);
}

Result<Frames> unpacked(std::string message) {
  auto kept = std::make_shared<const std::string>(std::move(message));
  const std::string_view all = *kept;
  return split(kept, all);
}

}  // namespace turnstile
