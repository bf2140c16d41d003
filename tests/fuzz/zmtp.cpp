// A stream of ZMTP taken apart into frames, in whatever pieces it comes (link/zmtp.h).
#include "link/zmtp.h"

#include <algorithm>
#include <cstdint>
#include <vector>

#include "link/frames.h"
#include "tests/fuzz/fuzz.h"

namespace turnstile::fuzz {
namespace {

struct Taken {
  std::vector<ZmtpReader::Frame> frames;
  bool is_too_large = false;
};

// `pieces` says how long each piece is, over and over; empty: all at once.
Taken take_apart(std::string_view stream, std::string_view pieces) {
  Taken out;
  ZmtpReader reader;
  std::size_t turn = 0;
  while (!stream.empty()) {
    const auto room = reader.room();
    const std::size_t most = room.is_all ? stream.size() : room.bytes.size();
    std::size_t bytes = most;
    if (!pieces.empty()) {
      bytes = std::min(most,
                       std::size_t{1} + static_cast<unsigned char>(pieces[turn++ % pieces.size()]));
    }
    bytes = std::min(bytes, stream.size());
    const std::size_t into_room = std::min(bytes, room.bytes.size());
    std::copy_n(stream.begin(), into_room, room.bytes.begin());
    reader.take_in(into_room, stream.substr(into_room, bytes - into_room));
    stream.remove_prefix(bytes);
    while (auto frame = reader.next()) {
      out.frames.push_back(std::move(*frame));
    }
  }
  out.is_too_large = reader.is_too_large();
  return out;
}

std::string frame(unsigned char flags, std::string_view body) {
  constexpr unsigned char kLong = 2;
  std::string out(1, static_cast<char>(flags));
  if ((flags & kLong) != 0) {
    for (int shift = 56; shift >= 0; shift -= 8) {
      out += static_cast<char>(std::uint64_t{body.size()} >> shift);
    }
  } else {
    out += static_cast<char>(body.size());
  }
  return out.append(body);
}

}  // namespace

void run_one(std::string_view input) {
  if (input.size() < 2) {
    return;
  }
  const auto pieces = input.substr(0, std::min<std::size_t>(input.size() / 2, 4));
  const auto stream = input.substr(pieces.size());
  const Taken whole = take_apart(stream, {});
  const Taken split = take_apart(stream, pieces);
  expect(whole.is_too_large == split.is_too_large && whole.frames.size() == split.frames.size(),
         "the frames do not depend on the pieces that they came in");
  std::size_t bytes = 0;
  for (std::size_t i = 0; i < whole.frames.size(); ++i) {
    const auto& a = whole.frames[i];
    const auto& b = split.frames[i];
    expect(a.is_command == b.is_command && a.has_more == b.has_more && a.body == b.body,
           "a frame does not depend on the pieces that it came in");
    expect(stream.substr(bytes).find(a.body) != std::string_view::npos,
           "a frame's bytes are the stream's");
    bytes += a.body.size() + 2;
  }
  expect(bytes <= stream.size(), "no more bytes than came");
}

std::vector<std::string> seeds() {
  std::vector<std::string> out;
  const std::string pieces("\x03\xFF\x00\x20", 4);
  out.push_back(pieces + frame(0, "") + frame(4, "\5READY") + frame(0, "message"));
  out.push_back(pieces + frame(1, "part") + frame(0, "last"));
  out.push_back(pieces + frame(2, std::string(300, 'l')) + frame(6, "a long command"));
  out.push_back(pieces + frame(2, std::string(20'000, 'L')) + frame(0, "behind it"));
  out.push_back(pieces + std::string("\x02\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFFtoo large", 18));
  return out;
}

}  // namespace turnstile::fuzz
