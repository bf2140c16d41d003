#include "producers/csv/reverse.h"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/producers/csv/testing.h"

namespace turnstile::csv {
namespace {

using testing::drain;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::must_open;

class CsvReverse : public ::testing::Test {
 protected:
  // Rows of `text`, last first; the same for all sizes of blocks and buffer.
  std::vector<std::string> reversed(std::string_view text) {
    const std::string path = folder_.file("r.csv", text);
    auto expected = drain(*must_open({.path = path, .order = Order::reverse}));
    for (std::size_t block = 1; block <= text.size() + 1; ++block) {
      for (const std::size_t buffer : {1U, 2U, 3U, 5U, 8U, 13U, 64U}) {
        const auto source = must_open({.path = path,
                                       .order = Order::reverse,
                                       .limits = {.buffer_bytes = buffer, .block_bytes = block}});
        EXPECT_EQ(drain(*source), expected) << "blocks of " << block << ", buffer " << buffer;
      }
    }
    return expected;
  }

  testing::ScratchFolder folder_;
};

TEST_F(CsvReverse, LastRowComesFirst) {
  EXPECT_THAT(reversed("a,b\n1,2\n3,4\n5,6\n"),
              ElementsAre("4@12#4 5|6", "3@8#3 3|4", "2@4#2 1|2"));
}

TEST_F(CsvReverse, FinalLineEndMayBeMissing) {
  EXPECT_THAT(reversed("a,b\r\n1,2\r\n3,4"), ElementsAre("3@10#3 3|4", "2@5#2 1|2"));
}

TEST_F(CsvReverse, QuotedLineBreaksDoNotSplitARow) {
  EXPECT_THAT(reversed("a,b\n1,\"x\ny\"\n\"\n,\"\"\",4\n5,6\n"),
              ElementsAre("6@21#4 5|6", "4@12#3 \n,\"|4", "2@4#2 1|x\ny"));
}

TEST_F(CsvReverse, BadRowsKeepTheirPlaceAndLine) {
  EXPECT_THAT(reversed("a,b\n1,2\n3\n4,5\n6,7,8\n"),
              ElementsAre("5! 3 fields, the header has 2", "4@10#4 4|5",
                          "3! 1 field, the header has 2", "2@4#2 1|2"));
}

TEST_F(CsvReverse, UnclosedQuoteCostsOnlyItsLine) {
  EXPECT_THAT(reversed("a,b\n1,2\n3,\"4\n5,6\n7,8\n"),
              ElementsAre("5@17#5 7|8", "4@13#4 5|6", "3! a quote opened here is never closed",
                          "2@4#2 1|2"));
}

TEST_F(CsvReverse, BlankLineIsABadRowUnlessItEndsTheFile) {
  EXPECT_THAT(reversed("a,b\n1,2\n\n3,4\n\n"),
              ElementsAre("4@9#4 3|4", "3! a blank line, the header has 2 fields", "2@4#2 1|2"));
  EXPECT_THAT(reversed("a,b\n1,2\n\n\n"),
              ElementsAre("3! a blank line, the header has 2 fields", "2@4#2 1|2"));
  EXPECT_THAT(reversed("a\n\n1\n\n"), ElementsAre("4@5#4 ", "3@3#3 1", "2@2#2 "));
}

TEST_F(CsvReverse, BomIsNotPartOfTheFirstColumn) {
  EXPECT_THAT(reversed("\xEF\xBB\xBF"
                       "a,b\n1,2\n3,4\n"),
              ElementsAre("3@11#3 3|4", "2@7#2 1|2"));
}

TEST_F(CsvReverse, RowOverTheLimitIsOneBadRow) {
  const std::string path = folder_.file("l.csv", "a,b\n1,2\n3,xxxxxxxxxxxxxxxx\n4,5\n");
  for (std::size_t block = 1; block < 40; ++block) {
    const auto source =
        must_open({.path = path,
                   .order = Order::reverse,
                   .limits = {.buffer_bytes = 4, .max_record_bytes = 6, .block_bytes = block}});
    EXPECT_THAT(drain(*source), ElementsAre("4@27#4 4|5", "3! longer than 6 bytes", "2@4#2 1|2"));
  }
}

TEST_F(CsvReverse, AllRowsOfManyBlocksCome) {
  std::string text = "id,name\n";
  std::vector<std::string> expected;
  constexpr int kRows = 100'000;
  for (int id = 1; id <= kRows; ++id) {
    // Each row takes two lines: it holds a quoted line break.
    expected.push_back(fmt::format("{}@{}#{} {}|a,\nb", 2 * id, text.size(), id + 1, id));
    text += fmt::format("{},\"a,\nb\"\n", id);
  }
  std::reverse(expected.begin(), expected.end());
  const auto source = must_open({.path = folder_.file("m.csv", text), .order = Order::reverse});
  EXPECT_EQ(source->progress().rows_total, kRows);
  EXPECT_EQ(drain(*source), expected);
}

TEST_F(CsvReverse, PipeLargerThanItsBufferIsReversedAndLeavesNoFile) {
  const std::filesystem::path spool_folder = folder_.path() / "spool";
  std::filesystem::create_directory(spool_folder);
  ASSERT_EQ(::setenv("TMPDIR", spool_folder.c_str(), 1), 0);
  std::string text = "id\n";
  constexpr int kRows = 100'000;
  for (int id = 1; id <= kRows; ++id) {
    text += fmt::format("{}\n", id);
  }
  const testing::StandardInput input(text);
  const auto source = must_open({.path = "-", .order = Order::reverse});
  EXPECT_TRUE(std::filesystem::is_empty(spool_folder));
  ASSERT_EQ(::unsetenv("TMPDIR"), 0);
  ASSERT_NE(source, nullptr);
  const auto rows = drain(*source);
  ASSERT_EQ(rows.size(), kRows);
  EXPECT_THAT(rows.front(), HasSubstr(" 100000"));
  EXPECT_THAT(rows.back(), HasSubstr("2@3#2 1"));
}

TEST_F(CsvReverse, DirectoryWithoutRoomForAPipeIsNamed) {
  ASSERT_EQ(::setenv("TMPDIR", "/nonexistent", 1), 0);
  const testing::StandardInput input("a\n1\n");
  const auto source = open_csv({.path = "-", .order = Order::reverse});
  ASSERT_EQ(::unsetenv("TMPDIR"), 0);
  ASSERT_FALSE(source);
  EXPECT_EQ(source.error().code, Errc::unreachable);
  EXPECT_THAT(source.error().what, HasSubstr("/nonexistent"));
  EXPECT_THAT(source.error().hint, HasSubstr("TMPDIR"));
}

TEST_F(CsvReverse, FileThatGrewBetweenThePassesIsAnError) {
  const std::string path = folder_.file("c.csv", "a,b\n1,2\n3,4\n");
  const auto source = must_open({.path = path, .order = Order::reverse});
  std::ofstream(path, std::ios::app) << "5,6\n";
  EXPECT_THAT(drain(*source), ElementsAre("error: " + path + " was changed while it was read"));
  EXPECT_THAT(drain(*source), IsEmpty());
}

TEST_F(CsvReverse, FileThatShrankBetweenTwoBlocksIsAnError) {
  const std::string path = folder_.file("c.csv", "a,b\n1,2\n3,4\n");
  const auto source =
      must_open({.path = path, .order = Order::reverse, .limits = {.block_bytes = 1}});
  const auto first = source->next();
  ASSERT_TRUE(first && *first);
  std::filesystem::resize_file(path, 6);
  const auto second = source->next();
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, Errc::bad_input);
  EXPECT_FALSE(second.error().hint.empty());
}

TEST_F(CsvReverse, FileRewrittenWithTheSameSizeIsAnError) {
  const std::string path = folder_.file("c.csv", "a,b\n1,2\n3,4\n");
  const auto source = must_open({.path = path, .order = Order::reverse});
  folder_.file("c.csv", "a,b\n9,9\n9,9\n");
  // The file system's clock may be too coarse to tell two writes apart.
  const std::filesystem::file_time_type other(std::chrono::seconds(1));
  std::filesystem::last_write_time(path, other);
  EXPECT_THAT(drain(*source), ElementsAre("error: " + path + " was changed while it was read"));
}

TEST_F(CsvReverse, OtherRowsAreAnErrorEvenIfTheClockHidTheChange) {
  const std::string path = folder_.file("c.csv", "a,b\n1,2\n3,4\n");
  const auto before = std::filesystem::last_write_time(path);
  // Fewer good rows; or as many, plus a bad one.
  for (const std::string_view changed : {"a,b\n1,23456\n", "a,b\n1,2\n\n3,4"}) {
    folder_.file("c.csv", "a,b\n1,2\n3,4\n");
    std::filesystem::last_write_time(path, before);
    const auto source = must_open({.path = path, .order = Order::reverse});
    folder_.file("c.csv", changed);
    std::filesystem::last_write_time(path, before);
    EXPECT_THAT(drain(*source), ElementsAre("error: " + path + " was changed while it was read"))
        << changed;
  }
}

}  // namespace
}  // namespace turnstile::csv
