#include "producers/csv/scanner.h"

#include <string>
#include <string_view>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/producers/csv/testing.h"

namespace turnstile::csv {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using testing::MemorySource;
using testing::show;
using namespace std::string_literals;

using Lines = std::vector<std::string>;

Lines scan_with(std::string_view text, std::size_t columns, const Limits& limits,
                std::size_t piece_bytes) {
  MemorySource source(text, piece_bytes);
  Scanner scanner(source, limits);
  if (columns != 0) {
    scanner.expect_columns(columns);
  }
  Lines lines;
  for (;;) {
    const auto item = scanner.next();
    if (!item) {
      ADD_FAILURE() << item.error().what;
      return lines;
    }
    if (!*item) {
      EXPECT_EQ(scanner.place().offset, text.size());
      return lines;
    }
    lines.push_back(show(**item));
  }
}

// Checks that the rows do not depend on the sizes of the buffer and of the pieces.
Lines scan(std::string_view text, std::size_t columns = 0,
           std::size_t max_record_bytes = kMaxRecordBytes) {
  Limits limits;
  limits.max_record_bytes = max_record_bytes;
  Lines expected = scan_with(text, columns, limits, text.size() + 1);
  for (std::size_t buffer = 1; buffer <= text.size() + 2; ++buffer) {
    for (const std::size_t piece : {std::size_t{1}, std::size_t{2}, std::size_t{5}, buffer}) {
      limits.buffer_bytes = buffer;
      EXPECT_EQ(scan_with(text, columns, limits, piece), expected)
          << "buffer " << buffer << ", pieces of " << piece;
    }
  }
  return expected;
}

TEST(CsvScanner, NoBytesHoldNoRecords) {
  EXPECT_THAT(scan(""), IsEmpty());
}

TEST(CsvScanner, BomAloneHoldsNoRecord) {
  EXPECT_THAT(scan("\xEF\xBB\xBF"), IsEmpty());
}

TEST(CsvScanner, BomIsNotPartOfTheFirstField) {
  EXPECT_THAT(scan("\xEF\xBB\xBFid,name\n1,b\n"), ElementsAre("1@3#1 id|name", "2@11#2 1|b"));
}

TEST(CsvScanner, BomBeforeAQuoteLeavesTheFieldQuoted) {
  EXPECT_THAT(scan("\xEF\xBB\xBF\"i,d\",b\n"), ElementsAre("1@3#1 i,d|b"));
}

TEST(CsvScanner, HalfABomIsText) {
  EXPECT_THAT(scan("\xEF\xBB\n"), ElementsAre("1! field 1 is not valid UTF-8"));
}

TEST(CsvScanner, EachRecordHasItsLineOffsetAndNumber) {
  EXPECT_THAT(scan("a,b\n1,2\n3,4\n"), ElementsAre("1@0#1 a|b", "2@4#2 1|2", "3@8#3 3|4"));
}

TEST(CsvScanner, FinalLineEndMayBeMissing) {
  EXPECT_THAT(scan("a,b\n1,2"), ElementsAre("1@0#1 a|b", "2@4#2 1|2"));
  EXPECT_THAT(scan("a,b\n1,"), ElementsAre("1@0#1 a|b", "2@4#2 1|"));
  EXPECT_THAT(scan("a,b\n1,\"2\""), ElementsAre("1@0#1 a|b", "2@4#2 1|2"));
}

TEST(CsvScanner, CrLfEndsARecordAndIsNotPartOfIt) {
  EXPECT_THAT(scan("a,b\r\n\"1\",2\r\n3,\"4\"\r\n"),
              ElementsAre("1@0#1 a|b", "2@5#2 1|2", "3@12#3 3|4"));
}

TEST(CsvScanner, LineEndsMayBeMixed) {
  EXPECT_THAT(scan("a\r\nb\nc"), ElementsAre("1@0#1 a", "2@3#2 b", "3@5#3 c"));
}

TEST(CsvScanner, EmptyFieldsAreKept) {
  EXPECT_THAT(scan(",,\n\"\",,x\n"), ElementsAre("1@0#1 ||", "2@3#2 ||x"));
}

TEST(CsvScanner, SpacesAreKept) {
  EXPECT_THAT(scan(" a , b\t\n"), ElementsAre("1@0#1  a | b\t"));
}

TEST(CsvScanner, QuotedCommaIsText) {
  EXPECT_THAT(scan("\"a,b\",c\n"), ElementsAre("1@0#1 a,b|c"));
}

TEST(CsvScanner, DoubledQuoteIsOneQuote) {
  EXPECT_THAT(scan("\"a \"\"b\"\" c\",d,\"\"\"\"\n\"\"\"\"\"\",\"x\"\"\",y"),
              ElementsAre("1@0#1 a \"b\" c|d|\"", "2@19#2 \"\"|x\"|y"));
}

TEST(CsvScanner, QuotedLineBreaksAreTextAndCountedAsLines) {
  EXPECT_THAT(scan("a,\"1\n2\r\n3\"\nb,c\n"), ElementsAre("1@0#1 a|1\n2\r\n3", "4@11#2 b|c"));
}

TEST(CsvScanner, CarriageReturnInQuotesIsText) {
  EXPECT_THAT(scan("\"a\rb\"\n"), ElementsAre("1@0#1 a\rb"));
}

TEST(CsvScanner, LoneCarriageReturnOutsideQuotesIsABadRow) {
  EXPECT_THAT(scan("a\rb\nc\n"), ElementsAre("1! a carriage return without a line feed outside "
                                             "quotes",
                                             "2@4#2 c"));
  EXPECT_THAT(scan("\"a\"\rb\n"),
              ElementsAre("1! a carriage return without a line feed outside quotes"));
  EXPECT_THAT(scan("a\r"), ElementsAre("1! a carriage return without a line feed outside quotes"));
}

TEST(CsvScanner, TooFewAndTooManyFieldsAreNamedWithBothCounts) {
  EXPECT_THAT(scan("1,2\n3\n4,5,6\n7,8\n", 2),
              ElementsAre("1@0#1 1|2", "2! 1 field, the header has 2",
                          "3! 3 fields, the header has 2", "4@12#4 7|8"));
}

TEST(CsvScanner, QuoteInsideAnUnquotedFieldIsABadRow) {
  EXPECT_THAT(scan("1,5\"x\n2,3\n", 2),
              ElementsAre("1! a quote inside field 2, which does not begin with one", "2@6#2 2|3"));
}

TEST(CsvScanner, BadRowWithAStrayQuoteStillEndsAfterItsQuotedLineBreak) {
  EXPECT_THAT(scan("5\",\"x\ny\"\n2,3\n", 2),
              ElementsAre("1! a quote inside field 1, which does not begin with one", "3@9#2 2|3"));
}

TEST(CsvScanner, TextAfterAClosingQuoteIsABadRow) {
  EXPECT_THAT(scan("\"1\"x,2\n2,3\n", 2),
              ElementsAre("1! text after the closing quote of field 1", "2@7#2 2|3"));
  EXPECT_THAT(scan("1,\"2\" \n2,3\n", 2),
              ElementsAre("1! text after the closing quote of field 2", "2@7#2 2|3"));
}

TEST(CsvScanner, UnbalancedQuoteIsNamedWithItsLineAndCostsOnlyThat) {
  EXPECT_THAT(scan("1,2\n3,\"4\n5,6\n7,8\n", 2),
              ElementsAre("1@0#1 1|2", "2! a quote opened here is never closed", "3@9#3 5|6",
                          "4@13#4 7|8"));
  EXPECT_THAT(scan("\"1\n\",\"2\n3", 2), ElementsAre("2! a quote opened here is never closed",
                                                     "3! 1 field, the header has 2"));
  EXPECT_THAT(scan("\""), ElementsAre("1! a quote opened here is never closed"));
}

TEST(CsvScanner, UnbalancedQuoteOverTheLimitIsStillNamedWithItsLine) {
  EXPECT_THAT(scan("1,2\n3,\"4\n5,6\n7,8\n9,10\n", 2, 8),
              ElementsAre("1@0#1 1|2", "2! a quote opened here is never closed", "3@9#3 5|6",
                          "4@13#4 7|8", "5@17#5 9|10"));
}

TEST(CsvScanner, QuoteThatALaterLinesQuoteClosesCostsOnlyItsLine) {
  EXPECT_THAT(scan("1,\"2\n3,4\n5,\"6\"\n7,8\n", 2),
              ElementsAre("1! a quote opened here is never closed", "2@5#2 3|4", "3@9#3 5|6",
                          "4@15#4 7|8"));
}

TEST(CsvScanner, FieldWithLineBreaksIsNotAnUnclosedQuote) {
  EXPECT_THAT(scan("1,\"2\n3,4\n\"\"5\"\"\"\n7,8\n", 2),
              ElementsAre("1@0#1 1|2\n3,4\n\"5\"", "4@16#2 7|8"));
}

// Reads to the end of the last finished record, and names the line where the unfinished one begins.
std::string rest_of(std::string_view text, std::size_t columns) {
  std::string expected;
  for (std::size_t buffer = 1; buffer <= text.size() + 1; ++buffer) {
    MemorySource source(text, buffer);
    Limits limits;
    limits.buffer_bytes = buffer;
    limits.line_feed_needed = true;
    Scanner scanner(source, limits);
    scanner.expect_columns(columns);
    Lines lines;
    for (auto item = scanner.next(); item && *item; item = scanner.next()) {
      lines.push_back(show(**item));
    }
    const std::string got =
        fmt::format("{}; {} at {}", fmt::join(lines, ", "), scanner.unfinished_line().value_or(0),
                    scanner.place().offset);
    EXPECT_TRUE(expected.empty() || got == expected) << got << " instead of " << expected;
    expected = got;
  }
  return expected;
}

TEST(CsvScanner, LastLineWithoutALineFeedIsLeftIfOneIsNeeded) {
  EXPECT_EQ(rest_of("1,2\n3,4\n", 2), "1@0#1 1|2, 2@4#2 3|4; 0 at 8");
  EXPECT_EQ(rest_of("1,2\n3,4", 2), "1@0#1 1|2; 2 at 4");
  EXPECT_EQ(rest_of("1,2\n3,", 2), "1@0#1 1|2; 2 at 4");
  EXPECT_EQ(rest_of("1,2\n3,4\r", 2), "1@0#1 1|2; 2 at 4");
  EXPECT_EQ(rest_of("1,2\n3,\"4\"", 2), "1@0#1 1|2; 2 at 4");
  EXPECT_EQ(rest_of("1,2\n3,\"4\nx", 2), "1@0#1 1|2; 2 at 4");
}

TEST(CsvScanner, OverlongOpenQuoteCountsAsNeverClosed) {
  std::string text = "1,\"2\n";
  for (int i = 0; i < 20; ++i) {
    text += "3,4\n";
  }
  EXPECT_TRUE(rest_of(text + "5,", 2).starts_with("1! a quote opened here is never closed, 2@5#2"));
  EXPECT_TRUE(rest_of(text + "5,", 2).ends_with("; 22 at 85")) << rest_of(text + "5,", 2);
}

TEST(CsvScanner, NulByteIsABadRow) {
  EXPECT_THAT(scan("1,a\0b\n2,3\n"s, 2), ElementsAre("1! a NUL byte in field 2", "2@6#2 2|3"));
  EXPECT_THAT(scan("12345678,\"12345678\0\"\n"s, 2), ElementsAre("1! a NUL byte in field 2"));
  EXPECT_THAT(scan("12\0"
                   "45678,long enough\n"s,
                   2),
              ElementsAre("1! a NUL byte in field 1"));
}

TEST(CsvScanner, Utf8IsAccepted) {
  EXPECT_THAT(scan("\xC2\xB5g,\"\xE2\x82\xAC\"\"\xF0\x9F\x90\x95\"\n", 2),
              ElementsAre("1@0#1 \xC2\xB5g|\xE2\x82\xAC\"\xF0\x9F\x90\x95"));
}

TEST(CsvScanner, InvalidUtf8IsABadRow) {
  const std::vector<std::string> wrong = {
      "\x80",              // a continuation alone
      "\xC0\xAF",          // overlong
      "\xC1\xBF",          // overlong
      "\xC3",              // cut short
      "\xC3(",             // no continuation
      "\xE0\x9F\xBF",      // overlong
      "\xED\xA0\x80",      // a surrogate
      "\xE2\x82",          // cut short
      "\xF0\x8F\xBF\xBF",  // overlong
      "\xF4\x90\x80\x80",  // above U+10FFFF
      "\xF5\x80\x80\x80",
      "\xFF",
  };
  for (const std::string& bytes : wrong) {
    EXPECT_THAT(
        scan("1," + bytes + "\n2,3\n", 2),
        ElementsAre("1! field 2 is not valid UTF-8", fmt::format("2@{}#2 2|3", 3 + bytes.size())))
        << ::testing::PrintToString(bytes);
  }
}

TEST(CsvScanner, CharacterSplitOverTwoFieldsIsInvalid) {
  EXPECT_THAT(scan("\xC3,\xA9\n", 2), ElementsAre("1! field 1 is not valid UTF-8"));
}

TEST(CsvScanner, BlankLineIsARowOfAOneColumnFile) {
  EXPECT_THAT(scan("a\n\n\r\nb\n\n", 1),
              ElementsAre("1@0#1 a", "2@2#2 ", "3@3#3 ", "4@5#4 b", "5@7#5 "));
}

TEST(CsvScanner, BlankLineIsABadRowOfAnyOtherFile) {
  EXPECT_THAT(scan("1,2\n\n3,4\n\r\n5,6", 2),
              ElementsAre("1@0#1 1|2", "2! a blank line, the header has 2 fields", "3@5#3 3|4",
                          "4! a blank line, the header has 2 fields", "5@11#5 5|6"));
}

TEST(CsvScanner, BlankLineAtTheVeryEndIsNothing) {
  EXPECT_THAT(scan("1,2\n\n", 2), ElementsAre("1@0#1 1|2"));
  EXPECT_THAT(scan("1,2\r\n\r\n", 2), ElementsAre("1@0#1 1|2"));
  EXPECT_THAT(scan("1,2\n\n\n", 2),
              ElementsAre("1@0#1 1|2", "2! a blank line, the header has 2 fields"));
}

TEST(CsvScanner, RecordLongerThanTheLimitIsABadRowAndTheNextIsRead) {
  EXPECT_THAT(scan("1234,567\n1234,5678\n3,4\n", 2, 8),
              ElementsAre("1@0#1 1234|567", "2! longer than 8 bytes", "3@19#3 3|4"));
  EXPECT_THAT(scan("1234,567\r\n1234,5678\r\n3,4", 2, 8),
              ElementsAre("1@0#1 1234|567", "2! longer than 8 bytes", "3@21#3 3|4"));
  EXPECT_THAT(scan("1,\"aaaaaaaaaaaa\r\naaaa\"\"\n\"\r\n3,4\n", 2, 8),
              ElementsAre("1! longer than 8 bytes", "4@27#2 3|4"));
}

TEST(CsvScanner, FieldLongerThanTheBufferIsRead) {
  const std::string field(1'000'000, 'x');
  const std::string text = "1," + field + "\n2,\"" + field + "\"\"\"\n3,y\n";
  Limits limits;
  limits.buffer_bytes = 4096;
  EXPECT_EQ(scan_with(text, 2, limits, 65536),
            (Lines{"1@0#1 1|" + field, "2@1000003#2 2|" + field + "\"", "3@2000010#3 3|y"}));
}

TEST(CsvScanner, RecordOfTheFullLimitIsReadAndOneByteMoreIsNot) {
  const std::string most(kMaxRecordBytes, 'x');
  EXPECT_EQ(scan_with(most + "\r\n" + most + "y\r\nz", 1, Limits{}, SIZE_MAX),
            (Lines{"1@0#1 " + most, "2! longer than 4194304 bytes", "3@8388613#3 z"}));
}

TEST(CsvScanner, SourceErrorIsReturned) {
  class Broken final : public ByteSource {
   public:
    Result<std::size_t> read(std::span<char> into) override {
      if (std::exchange(given_, true)) {
        return fail(Errc::io, "the disk is gone");
      }
      into[0] = 'a';
      return 1;
    }

   private:
    bool given_ = false;
  };
  Broken source;
  Scanner scanner(source, Limits{});
  const auto item = scanner.next();
  ASSERT_FALSE(item);
  EXPECT_EQ(item.error().code, Errc::io);
  EXPECT_EQ(item.error().what, "the disk is gone");
}

TEST(CsvScanner, RawIsTheRecordWithoutItsLineEnd) {
  MemorySource source("\"a\"\"\",b\r\n1,2", 3);
  Scanner scanner(source, Limits{});
  ASSERT_TRUE(scanner.next());
  EXPECT_EQ(scanner.raw(), "\"a\"\"\",b");
  ASSERT_TRUE(scanner.next());
  EXPECT_EQ(scanner.raw(), "1,2");
}

}  // namespace
}  // namespace turnstile::csv
