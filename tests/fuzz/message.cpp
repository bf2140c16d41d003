// Messages from their frames (proto/messages.h), and the header of a batch alone.
#include "proto/limits.h"
#include "proto/messages.h"
#include "tests/fuzz/fuzz.h"
#include "tests/proto/wire_testing.h"

namespace turnstile::fuzz {
namespace {

// The first two frames come with their length, the third is the rest, if there is one.
std::string joined(const Frames& frames) {
  std::string out;
  for (std::size_t i = 0; i < frames.size(); ++i) {
    out += i < 2 ? sized(frames[i].view()) : std::string(frames[i].view());
  }
  return out;
}

void expect_limits(const BatchHeader& header) {
  expect(is_valid_producer_id(header.producer.text), "a decoded producer id is valid");
  expect(header.rows >= 1 && header.rows <= limits::kBatchRows, "a batch has 1 to 10,000 rows");
  expect(header.first.value >= 1 && header.last().value >= header.first.value &&
             header.last().value <= limits::kSequence,
         "sequences are from 1 on and do not overflow");
  expect(header.columns.size() <= limits::kColumns, "columns are bounded");
}

}  // namespace

void run_one(std::string_view input) {
  Input in(input);
  Frames frames;
  frames.emplace_back(std::string(in.take_sized()));
  for (auto frame = in.take_sized(); !frame.empty() && frames.size() < 2;) {
    frames.emplace_back(std::string(frame));
  }
  if (const auto rest = in.rest(); !rest.empty()) {
    frames.emplace_back(std::string(rest));
  }

  if (const auto header = decode_batch_header(frames[0].view())) {
    expect_limits(*header);
    const Bytes again = encode_batch_header(*header);
    const auto twice = decode_batch_header(again.view());
    expect(twice && encode_batch_header(*twice).view() == again.view(),
           "a decoded header, encoded, is decoded again");
  }

  const auto message = decode(frames);
  if (!message) {
    expect(message.error().code == Errc::corrupt && !message.error().what.empty(),
           "a refused message is corrupt, and the error says why");
    return;
  }
  if (const auto* batch = std::get_if<Batch>(&*message)) {
    expect_limits(batch->header);
    expect(batch->header_frame.view() == frames[0].view(), "a batch is passed on as it came");
  }
  const Frames encoded = encode(*message);
  const auto again = decode(encoded);
  expect(again.has_value(), "what was decoded can be encoded and decoded");
  expect(testing::describe(*again) == testing::describe(*message), "and says the same");
  const Frames twice = encode(*again);
  expect(twice.size() == encoded.size(), "and has as many frames");
  for (std::size_t i = 0; i < twice.size(); ++i) {
    expect(twice[i].view() == encoded[i].view(), "and the same bytes");
  }
}

std::vector<std::string> seeds() {
  std::vector<std::string> out;
  constexpr std::uint64_t kSeed = 1;
  testing::Random random(kSeed);
  for (std::size_t type = 0; type < testing::kMessageTypes; ++type) {
    for (int i = 0; i < 3; ++i) {
      out.push_back(joined(encode(testing::random_message(type, random))));
    }
  }
  out.push_back(joined({Bytes(testing::header_of(testing::small_header_fields()))}));
  out.push_back(joined({encode_batch_header(testing::small_header()), Bytes("rows")}));
  return out;
}

}  // namespace turnstile::fuzz
