#include "link/frames.h"

#include <cstring>
#include <memory>
#include <string>
#include <utility>

#include "proto/limits.h"

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#include <sanitizer/tsan_interface.h>
#define TURNSTILE_TELL_TSAN(what, where) __tsan_##what(where)
#endif
#endif
#ifndef TURNSTILE_TELL_TSAN
#define TURNSTILE_TELL_TSAN(what, where) static_cast<void>(where)
#endif

namespace turnstile {
namespace {

// libzmq hands messages from thread to thread (inproc) where TSan does not see it: it is told.
char handed_over;

constexpr unsigned char kBin32 = 0xC6;
constexpr std::size_t kWrap = 5;  // the marker and four bytes of length, most significant first
constexpr std::size_t kMostFrames = 3;
// ZeroMQ hands a small message out as part of a buffer of several KiB, all of which would live as
// long as its frames.
constexpr std::size_t kCopiedBytes = 4096;

}  // namespace

std::int64_t largest_message_bytes() {
  return static_cast<std::int64_t>(2 * limits::kHeaderBytes + limits::kRowsBytes +
                                   kMostFrames * kWrap);
}

zmq::message_t packed(const Frames& frames) {
  std::size_t bytes = 0;
  for (const Bytes& frame : frames) {
    bytes += kWrap + frame.size();
  }
  zmq::message_t message(bytes);
  auto* out = message.data<unsigned char>();
  for (const Bytes& frame : frames) {
    *out++ = kBin32;
    for (int shift = 24; shift >= 0; shift -= 8) {
      *out++ = static_cast<unsigned char>(frame.size() >> shift);
    }
    if (!frame.empty()) {
      std::memcpy(out, frame.view().data(), frame.size());
      out += frame.size();
    }
  }
  TURNSTILE_TELL_TSAN(release, &handed_over);
  return message;
}

Result<Frames> unpacked(zmq::message_t&& message) {
  TURNSTILE_TELL_TSAN(acquire, &handed_over);
  std::shared_ptr<const void> owner;
  std::string_view rest;
  if (message.size() <= kCopiedBytes) {
    auto text = std::make_shared<const std::string>(message.to_string());
    rest = *text;
    owner = std::move(text);
  } else {
    auto kept = std::make_shared<const zmq::message_t>(std::move(message));
    rest = kept->to_string_view();
    owner = std::move(kept);
  }
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
    if (frames.size() == kMostFrames) {
      return fail(Errc::corrupt,
                  "message has more than " + std::to_string(kMostFrames) + " frames");
    }
    frames.emplace_back(owner, rest.substr(0, size));
    rest.remove_prefix(size);
  }
  return frames;
}

}  // namespace turnstile
