// ZeroMQ messages taken apart into frames (link/frames.h).
#include "link/frames.h"

#include "proto/limits.h"
#include "tests/fuzz/fuzz.h"

namespace turnstile::fuzz {

void run_one(std::string_view input) {
  const auto frames = unpacked(zmq::message_t(input));
  if (!frames) {
    expect(frames.error().code == Errc::corrupt, "what cannot be taken apart is corrupt");
    return;
  }
  std::size_t bytes = 0;
  for (const Bytes& frame : *frames) {
    bytes += frame.size();
    expect(frame.view().empty() || input.find(frame.view()) != std::string_view::npos,
           "a frame's bytes are the message's");
  }
  expect(frames->size() <= 3 && bytes <= input.size(), "no more frames or bytes than came");
  expect(packed(*frames).to_string_view() == input, "packed again it is the same message");
}

std::vector<std::string> seeds() {
  std::vector<std::string> out;
  const auto add = [&](const Frames& frames) { out.push_back(packed(frames).to_string()); };
  add({});
  add(encode(Hello{}));
  add(encode(Stored{{7}}));
  add({Bytes("head"), Bytes(std::string())});
  add({Bytes("head"), Bytes(std::string(300, 'r')), Bytes("three")});
  add({Bytes(std::string(5000, 'h')), Bytes(std::string(70'000, 'r'))});
  add({Bytes("1"), Bytes("2"), Bytes("3"), Bytes("4")});
  return out;
}

}  // namespace turnstile::fuzz
