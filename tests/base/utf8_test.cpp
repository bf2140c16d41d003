// Unicode 15, table 3-7, and what people get to see of bytes that are not for them.
#include "base/utf8.h"

#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

namespace turnstile {
namespace {

struct Piece {
  const char* what;
  std::string bytes;
};

const std::vector<Piece>& well_formed() {
  static const std::vector<Piece> table = {
      {"the first of one byte but NUL", "\x01"},
      {"the last of one byte", "\x7F"},
      {"the first of two, U+0080", "\xC2\x80"},
      {"the last of two, U+07FF", "\xDF\xBF"},
      {"the first of three, U+0800", "\xE0\xA0\x80"},
      {"U+0FFF", "\xE0\xBF\xBF"},
      {"U+CFFF", "\xEC\xBF\xBF"},
      {"the last before the surrogates, U+D7FF", "\xED\x9F\xBF"},
      {"the first behind the surrogates, U+E000", "\xEE\x80\x80"},
      {"the last of three, U+FFFF", "\xEF\xBF\xBF"},
      {"the first of four, U+10000", "\xF0\x90\x80\x80"},
      {"U+3FFFF", "\xF0\xBF\xBF\xBF"},
      {"U+FFFFF", "\xF3\xBF\xBF\xBF"},
      {"the last of all, U+10FFFF", "\xF4\x8F\xBF\xBF"},
  };
  return table;
}

const std::vector<Piece>& ill_formed() {
  static const std::vector<Piece> table = {
      {"a continuation alone", "\x80"},
      {"the last continuation alone", "\xBF"},
      {"overlong '/' of two", "\xC0\xAF"},
      {"overlong U+007F of two", "\xC1\xBF"},
      {"overlong U+07FF of three", "\xE0\x9F\xBF"},
      {"overlong U+FFFF of four", "\xF0\x8F\xBF\xBF"},
      {"the first surrogate", "\xED\xA0\x80"},
      {"the last surrogate", "\xED\xBF\xBF"},
      {"a pair of surrogates", "\xED\xA0\xBD\xED\xB0\x95"},
      {"above U+10FFFF", "\xF4\x90\x80\x80"},
      {"a lead that is never used, F5", "\xF5\x80\x80\x80"},
      {"five bytes", "\xF8\x88\x80\x80\x80"},
      {"FE", "\xFE"},
      {"FF", "\xFF"},
      {"two bytes cut", "\xC3"},
      {"three bytes cut behind one", "\xE2"},
      {"three bytes cut behind two", "\xE2\x82"},
      {"four bytes cut behind one", "\xF0"},
      {"four bytes cut behind three", "\xF0\x9F\x90"},
      {"a lead and a letter", "\xC3("},
      {"three bytes with a letter second", "\xE2(\xAC"},
      {"three bytes with a letter third", "\xE2\x82("},
      {"four bytes with a letter third", "\xF0\x9F(\x95"},
      {"four bytes with a letter fourth", "\xF0\x9F\x90("},
  };
  return table;
}

TEST(Utf8, EmptyTextIsText) {
  EXPECT_TRUE(is_utf8(""));
  EXPECT_TRUE(is_text(""));
}

// Eight bytes are looked at together, so each sequence is tried at every place around that.
TEST(Utf8, WellFormedSequencesAreTakenAtEveryPosition) {
  for (const auto& [what, bytes] : well_formed()) {
    for (std::size_t before = 0; before < 20; ++before) {
      for (std::size_t after = 0; after < 20; ++after) {
        const std::string text = std::string(before, 'a') + bytes + std::string(after, 'z');
        ASSERT_TRUE(is_utf8(text)) << what << " behind " << before << ", before " << after;
        ASSERT_TRUE(is_text(text)) << what << " behind " << before << ", before " << after;
      }
    }
  }
}

TEST(Utf8, IllFormedSequencesAreRefusedAtEveryPosition) {
  for (const auto& [what, bytes] : ill_formed()) {
    for (std::size_t before = 0; before < 20; ++before) {
      for (std::size_t after = 0; after < 20; ++after) {
        const std::string text = std::string(before, 'a') + bytes + std::string(after, 'z');
        ASSERT_FALSE(is_utf8(text)) << what << " behind " << before << ", before " << after;
        ASSERT_FALSE(is_text(text)) << what << " behind " << before << ", before " << after;
      }
    }
  }
}

TEST(Utf8, ASequenceCutAtTheEndIsRefusedEvenIfItsRestLiesBehindTheView) {
  const std::string whole = "1234567\xE2\x82\xAC";
  EXPECT_TRUE(is_utf8(whole));
  EXPECT_FALSE(is_utf8(std::string_view(whole).substr(0, 8)));
  EXPECT_FALSE(is_utf8(std::string_view(whole).substr(0, 9)));
}

TEST(Utf8, NulIsUtf8ButNoTextAtEveryPosition) {
  for (std::size_t size = 1; size < 30; ++size) {
    for (std::size_t at = 0; at < size; ++at) {
      std::string text(size, 'a');
      text[at] = '\0';
      ASSERT_TRUE(is_utf8(text));
      ASSERT_FALSE(is_text(text)) << at << " of " << size;
      ASSERT_FALSE(is_text(text + "\xC3\xA9")) << at << " of " << size;
      // The byte behind a NUL is the one that borrowing could hide.
      if (at + 1 < size) {
        text[at + 1] = '\x01';
        ASSERT_FALSE(is_text(text)) << at << " of " << size;
      }
    }
  }
}

TEST(Utf8, EveryPairOfBytesIsJudgedAsTheTableSays) {
  for (int first = 0; first < 256; ++first) {
    for (int second = 0; second < 256; ++second) {
      const std::string pair = {static_cast<char>(first), static_cast<char>(second)};
      const bool ascii = first < 0x80 && second < 0x80;
      const bool two = first >= 0xC2 && first <= 0xDF && second >= 0x80 && second <= 0xBF;
      ASSERT_EQ(is_utf8(pair), ascii || two) << first << ' ' << second;
      ASSERT_EQ(is_text(pair), (ascii && first != 0 && second != 0) || two)
          << first << ' ' << second;
    }
  }
}

TEST(Printable, OrdinaryTextStaysAsItIs) {
  EXPECT_EQ(printable("Energy, caf\xC3\xA9 \xF0\x9F\x90\x95", 100),
            "Energy, caf\xC3\xA9 \xF0\x9F\x90\x95");
  EXPECT_EQ(printable("", 10), "");
}

TEST(Printable, ControlCharactersAreWrittenAsTheirBytes) {
  EXPECT_EQ(printable({"a\0b\tc\nd\x1B[31me\x7F\r", 15}, 100), "a\\x00b\\tc\\nd\\x1b[31me\\x7f\\r");
  EXPECT_EQ(printable("a\xC2\x80"
                      "b\xC2\x9B"
                      "c\xC2\xA0"
                      "d",
                      100),
            "a\\xc2\\x80b\\xc2\\x9bc\xC2\xA0"
            "d");
}

std::string utf8_of(unsigned number) {
  const auto byte = [](unsigned value) { return static_cast<char>(value); };
  if (number < 0x80) {
    return {byte(number)};
  }
  if (number < 0x800) {
    return {byte(0xC0 | number >> 6), byte(0x80 | (number & 0x3F))};
  }
  return {byte(0xE0 | number >> 12), byte(0x80 | (number >> 6 & 0x3F)),
          byte(0x80 | (number & 0x3F))};
}

TEST(Printable, ExactlyControlsBidiControlsAndSeparatorsAreEscaped) {
  for (unsigned number = 0; number < 0x10000; ++number) {
    if (number >= 0xD800 && number <= 0xDFFF) {
      continue;
    }
    const bool is_escaped = number < 0x20 || (number >= 0x7F && number <= 0x9F) ||
                            number == 0x061C || number == 0x200E || number == 0x200F ||
                            (number >= 0x2028 && number <= 0x202E) ||
                            (number >= 0x2066 && number <= 0x2069);
    const std::string text = utf8_of(number);
    const std::string out = printable(text);
    ASSERT_EQ(out != text, is_escaped) << number;
    ASSERT_EQ(printable(out), out) << number;
    std::string put(text.size() * kPrintableBytes, '\0');
    put.resize(static_cast<std::size_t>(put_printable(text, put.data()) - put.data()));
    ASSERT_EQ(put, out) << number;
  }
}

TEST(Printable, BytesThatAreNotUtf8AreWrittenOneByOne) {
  EXPECT_EQ(printable("a\xFF\xC3.\xED\xA0\x80z", 100), "a\\xff\\xc3.\\xed\\xa0\\x80z");
  EXPECT_EQ(printable("\xE2\x80"), "\\xe2\\x80");
}

TEST(Printable, OfSeveralLinesOnlyTheLineFeedsStay) {
  EXPECT_EQ(printable_lines("one\n\x1B[2Jtwo\r\n\nthree"), "one\n\\x1b[2Jtwo\\r\n\nthree");
  EXPECT_EQ(printable_lines("end\n"), "end\n");
  EXPECT_EQ(printable_lines(""), "");
}

TEST(Printable, LongTextIsCutBetweenCharactersAndEndsInDots) {
  EXPECT_EQ(printable("abcdef", 6), "abcdef");
  EXPECT_EQ(printable("abcdefg", 6), "abcdef...");
  EXPECT_EQ(printable("ab\xC3\xA9", 3), "ab...");
  EXPECT_EQ(printable("abc", 0), "...");
  EXPECT_EQ(printable("ab\x1B", 5), "ab...");
  EXPECT_EQ(printable("ab\x1B", 6), "ab\\x1b");
}

}  // namespace
}  // namespace turnstile
