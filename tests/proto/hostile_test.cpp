// Bytes that no encoder wrote: each gives an error or a message within the limits, and none makes
// the decoder read past the end, throw, or ask for much memory.
#include <string>
#include <string_view>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "proto/limits.h"
#include "proto/messages.h"
#include "proto/rows.h"
#include "tests/proto/allocation_counter.h"
#include "tests/proto/wire_testing.h"

namespace turnstile {
namespace {

namespace pack = testing::pack;

constexpr std::uint64_t kMuch = std::uint64_t{64} * 1024 * 1024;

std::string repeated(std::string_view piece, std::size_t bytes) {
  std::string out;
  out.reserve(bytes + piece.size());
  while (out.size() + piece.size() <= bytes) {
    out += piece;
  }
  return out;
}

// Of its own allocation, so that a sanitizer sees a read past the end.
Bytes tight(std::string_view bytes) {
  return Bytes(std::string(bytes.begin(), bytes.end()));
}

// What was decoded is within the limits exactly if its encoding is taken again.
void expect_valid(const Message& message) {
  if (const auto* hello = std::get_if<Hello>(&message)) {
    if (hello->version != limits::kProtocolVersion) {
      return;  // read no further than its version
    }
  }
  const auto again = decode(encode(message));
  ASSERT_TRUE(again) << again.error().what << " in " << testing::describe(message);
  EXPECT_EQ(testing::describe(*again), testing::describe(message));
}

class EveryMessage : public ::testing::TestWithParam<std::size_t> {
 protected:
  // Each of its bytes costs 256 tries.
  Frames short_message() {
    while (true) {
      Frames frames = encode(testing::random_message(GetParam(), random_));
      if (frames[0].size() <= 160) {
        return frames;
      }
    }
  }

  testing::Random random_{testing::chosen_seed()};
};

TEST_P(EveryMessage, TruncatedAtAnyByteIsRefused) {
  Frames frames = short_message();
  const std::string whole(frames[0].view());
  for (std::size_t length = 0; length < whole.size(); ++length) {
    frames[0] = tight(std::string_view(whole).substr(0, length));
    EXPECT_FALSE(decode(frames)) << length << " of " << whole.size() << " bytes were enough";
  }
}

TEST_P(EveryMessage, WithAnyByteChangedIsRefusedOrStillValid) {
  Frames frames = short_message();
  const std::string whole(frames[0].view());
  for (std::size_t at = 0; at < whole.size(); ++at) {
    for (int value = 0; value < 256; ++value) {
      std::string changed = whole;
      changed[at] = static_cast<char>(value);
      frames[0] = tight(changed);
      if (const auto message = decode(frames)) {
        expect_valid(*message);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Wire, EveryMessage,
                         ::testing::Range<std::size_t>(0, testing::kMessageTypes));

TEST(Hostile, RandomBytesAreRefusedOrValid) {
  testing::Random random(testing::chosen_seed());
  for (int round = 0; round < 50'000; ++round) {
    std::string bytes(1 + random.below(60), '\0');
    for (char& c : bytes) {
      c = static_cast<char>(random.below(256));
    }
    // Half of them begin like a header, to get further.
    if (random.chance()) {
      bytes[0] = static_cast<char>(0x90 + random.below(16));
    }
    if (const auto message = decode({tight(bytes)})) {
      expect_valid(*message);
    }
  }
}

// Headers of up to 1 MiB that promise more than they hold, or hold as much as they can.
std::vector<std::string> costly_headers() {
  const std::string results = pack::array(6) + pack::number(7) + pack::number(1) + pack::number(1) +
                              pack::number(1) + pack::text("target");
  const std::string columns = pack::array(10) + pack::number(4) + pack::text("P1") +
                              pack::number(1) + pack::number(1) + pack::number(1) +
                              pack::number(1) + pack::text("pets");
  const std::string hello_with_more =
      pack::array(1'000'000) + pack::number(2);  // BYE, and what is to be ignored
  const std::size_t room = limits::kHeaderBytes - 200;
  const std::string most = pack::array(0xFFFFFFFF);
  return {
      most,
      most + repeated(testing::from_hex("90"), room),
      most + pack::number(3) + repeated(testing::from_hex("C0"), room),
      testing::from_hex("DF FF FF FF FF"),
      testing::from_hex("DB FF FF FF FF"),
      testing::from_hex("C6 FF FF FF FF"),
      testing::from_hex("C9 FF FF FF FF 01"),
      testing::from_hex("91 C9 FF FF FF FF 01"),
      results + most + repeated(testing::from_hex("95"), room),
      results + pack::array(limits::kResultsListed) +
          repeated(testing::from_hex("95 00 00 00 00 90"), room),
      results + pack::array(limits::kResultsListed) +
          repeated(testing::from_hex("95 00 00 00 00 DC 00 64") +
                       repeated(testing::from_hex("92 00 A0"), 300),
                   room),
      columns + most,
      columns + pack::array(limits::kColumns) + repeated(testing::from_hex("A0"), room),
      columns + pack::array(limits::kColumns) + repeated(pack::text(std::string(250, 'c')), room),
      hello_with_more + repeated(testing::from_hex("DC 10 00"), room),
      hello_with_more + repeated(testing::from_hex("91"), room),
      hello_with_more + repeated(testing::from_hex("81"), room),
      hello_with_more + repeated(testing::from_hex("DD FF FF FF FF"), room),
      repeated(testing::from_hex("91"), room),
      repeated(testing::from_hex("DD FF FF FF FF"), room),
  };
}

TEST(Hostile, HeadersThatPromiseMuchGetLittleMemoryAndAreRefused) {
  const auto headers = costly_headers();
  for (std::size_t i = 0; i < headers.size(); ++i) {
    const Frames one = {Bytes(headers[i])};
    const Frames two = {one[0], Bytes(std::string("x"))};
    const std::uint64_t before = testing::allocated_bytes();
    EXPECT_FALSE(decode(one)) << i;
    EXPECT_FALSE(decode(two)) << i;
    EXPECT_FALSE(decode_batch_header(headers[i])) << i;
    EXPECT_LT(testing::allocated_bytes() - before, kMuch) << i;
  }
}

TEST(Hostile, TheLargestValidResultsGetBoundedMemory) {
  Results results;
  results.results.assign(limits::kResultsListed, {{1}, Outcome::applied, {1}, 0, {}});
  for (std::size_t i = 0; i < 200; ++i) {
    results.results[i].dead.assign(limits::kDeadListed, {{1}, std::string(40, 'x')});
  }
  const Frames frames = encode(results);
  ASSERT_LE(frames[0].size(), limits::kHeaderBytes);
  const std::uint64_t before = testing::allocated_bytes();
  ASSERT_TRUE(decode(frames));
  EXPECT_LT(testing::allocated_bytes() - before, kMuch);
}

TEST(Hostile, ASurplusFieldNestedTooDeeplyIsRefused) {
  const auto bye_with = [](int depth) {
    std::string nested;
    for (int i = 0; i < depth; ++i) {
      nested += testing::from_hex("91");
    }
    return testing::frames(
        {testing::header_of({pack::number(3), nested + testing::from_hex("C0")})});
  };
  EXPECT_TRUE(decode(bye_with(4)));
  const auto deeper = decode(bye_with(5));
  ASSERT_FALSE(deeper);
  EXPECT_THAT(deeper.error().what, ::testing::HasSubstr("nested too deeply"));
  EXPECT_FALSE(decode(bye_with(1'000'000)));
}

TEST(Hostile, TheCounterOfMemoryCounts) {
  const std::uint64_t before = testing::allocated_bytes();
  const std::string large(1'000'000, 'x');
  EXPECT_GE(testing::allocated_bytes() - before, large.size());
}

// ---- rows frames

std::string some_rows() {
  RowsEncoder encoder;
  const std::vector<ValueRef> row = {Null{},
                                     std::int64_t{-5},
                                     std::int64_t{1'000'000'000'000},
                                     1.5,
                                     std::string_view("caf\xC3\xA9"),
                                     Blob{std::string_view("\0\xFF", 2)}};
  encoder.add(row);
  encoder.add(row);
  return std::string(encoder.take().view());
}

TEST(HostileRows, TruncatedAtAnyByteAreRefused) {
  const std::string whole = some_rows();
  DecodedRows rows;
  for (std::size_t length = 0; length < whole.size(); ++length) {
    const Bytes cut = tight(std::string_view(whole).substr(0, length));
    const auto decoded = decode_rows(cut.view(), 2, rows);
    ASSERT_FALSE(decoded) << length;
    EXPECT_EQ(decoded.error().what, "the rows frame holds a truncated frame");
  }
}

TEST(HostileRows, WithAnyByteChangedAreRefusedOrWithinTheFrame) {
  const std::string whole = some_rows();
  DecodedRows rows;
  for (std::size_t at = 0; at < whole.size(); ++at) {
    for (int value = 0; value < 256; ++value) {
      std::string changed = whole;
      changed[at] = static_cast<char>(value);
      const Bytes frame = tight(changed);
      if (!decode_rows(frame.view(), 2, rows)) {
        continue;
      }
      ASSERT_EQ(rows.rows(), 2U);
      for (std::size_t row = 0; row < rows.rows(); ++row) {
        for (const ValueRef& one : rows.row(row)) {
          const auto* text = std::get_if<std::string_view>(&one);
          if (text != nullptr && !text->empty()) {
            ASSERT_GE(text->data(), frame.view().data());
            ASSERT_LE(text->data() + text->size(), frame.view().data() + frame.size());
          }
        }
      }
    }
  }
}

TEST(HostileRows, FramesThatPromiseMuchGetLittleMemoryAndAreRefused) {
  const std::string most = pack::array(0xFFFFFFFF);
  const std::size_t mebibyte = std::size_t{1024} * 1024;
  const std::string ten_thousand = pack::array(limits::kBatchRows);
  const std::vector<std::string> frames = {
      most,
      most + repeated(testing::from_hex("90"), mebibyte),
      ten_thousand + most,
      ten_thousand + repeated(pack::array(limits::kColumns), mebibyte),
      ten_thousand + repeated(pack::array(limits::kColumns) +
                                  repeated(testing::from_hex("C0"), limits::kColumns),
                              mebibyte),
      ten_thousand + repeated(testing::from_hex("91 DB FF FF FF FF"), mebibyte),
      ten_thousand + repeated(testing::from_hex("91 C6 FF FF FF FF"), mebibyte),
      ten_thousand + testing::from_hex("91 C9 FF FF FF FF 01"),
      repeated(testing::from_hex("91"), mebibyte),
      repeated(testing::from_hex("81"), mebibyte),
  };
  for (std::size_t i = 0; i < frames.size(); ++i) {
    for (const std::uint32_t rows : {1U, limits::kBatchRows}) {
      DecodedRows into;
      const std::uint64_t before = testing::allocated_bytes();
      EXPECT_FALSE(decode_rows(frames[i], rows, into)) << i;
      EXPECT_LT(testing::allocated_bytes() - before, kMuch) << i;
    }
  }
}

TEST(HostileRows, RandomBytesNeverThrow) {
  testing::Random random(testing::chosen_seed());
  DecodedRows rows;
  for (int round = 0; round < 50'000; ++round) {
    std::string bytes = testing::from_hex("91") + std::string(1 + random.below(40), '\0');
    for (std::size_t i = 1; i < bytes.size(); ++i) {
      bytes[i] = static_cast<char>(random.below(256));
    }
    if (random.chance()) {
      bytes[1] = static_cast<char>(0x90 + random.below(8));
    }
    const Bytes frame = tight(bytes);
    ASSERT_NO_THROW((void)decode_rows(frame.view(), 1, rows));
  }
}

}  // namespace
}  // namespace turnstile
