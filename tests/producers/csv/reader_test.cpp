#include "producers/csv/reader.h"

#include <sys/stat.h>
#include <unistd.h>

#include <string>
#include <string_view>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/descriptor.h"
#include "tests/producers/csv/testing.h"

namespace turnstile::csv {
namespace {

using testing::drain;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::must_open;

// What both orders have in common.
class CsvReader : public ::testing::TestWithParam<Order> {
 protected:
  Error error_of(const std::string& path) {
    const auto source = open_csv({.path = path, .order = GetParam()});
    EXPECT_FALSE(source);
    return source ? Error{} : source.error();
  }
  Error error_of_text(std::string_view text) { return error_of(folder_.file("bad.csv", text)); }

  testing::ScratchFolder folder_;
};

INSTANTIATE_TEST_SUITE_P(BothOrders, CsvReader, ::testing::Values(Order::file, Order::reverse),
                         [](const auto& order) {
                           return order.param == Order::file ? "File" : "Reverse";
                         });

TEST_P(CsvReader, MissingFileIsNamed) {
  const std::string path = (folder_.path() / "none.csv").string();
  const Error error = error_of(path);
  EXPECT_EQ(error.code, Errc::unreachable);
  EXPECT_EQ(error.what, "no such file: " + path);
  EXPECT_FALSE(error.hint.empty());
}

TEST_P(CsvReader, DirectoryIsRefused) {
  const Error error = error_of(folder_.path().string());
  EXPECT_EQ(error.code, Errc::unreachable);
  EXPECT_EQ(error.what, folder_.path().string() + " is a directory");
  EXPECT_FALSE(error.hint.empty());
}

TEST_P(CsvReader, FileWithoutPermissionIsRefused) {
  constexpr uid_t kNobody = 65534;
  const std::string path = folder_.file("secret.csv", "a\n1\n");
  ASSERT_EQ(::chmod(path.c_str(), 0), 0);
  const uid_t user = ::geteuid();  // root may read every file
  ASSERT_TRUE(user != 0 || ::seteuid(kNobody) == 0);
  const Error error = error_of(path);
  ASSERT_EQ(::seteuid(user), 0);
  EXPECT_EQ(error.code, Errc::unreachable);
  EXPECT_EQ(error.what, "no permission to read " + path);
  EXPECT_FALSE(error.hint.empty());
}

TEST_P(CsvReader, EmptyFileIsRefused) {
  for (const std::string_view text : {"", "\xEF\xBB\xBF"}) {
    const Error error = error_of_text(text);
    EXPECT_EQ(error.code, Errc::unreachable);
    EXPECT_THAT(error.what, HasSubstr("bad.csv is empty"));
    EXPECT_FALSE(error.hint.empty());
  }
}

TEST_P(CsvReader, EmptyPipeIsRefused) {
  const testing::StandardInput input("");
  EXPECT_EQ(error_of("-").what, "standard input is empty");
}

TEST_P(CsvReader, FailingDiskIsAnIoError) {
  // The first page of a process is never mapped: reading it is EIO.
  const Error error = error_of("/proc/self/mem");
  EXPECT_EQ(error.code, Errc::io);
  EXPECT_THAT(error.what, HasSubstr("/proc/self/mem"));
}

TEST_P(CsvReader, BadHeaderIsNamedWithItsReason) {
  const auto reason = [this](std::string_view text) {
    const Error error = error_of_text(text);
    EXPECT_EQ(error.code, Errc::bad_input);
    return error.what.substr(error.what.find("line "));
  };
  EXPECT_EQ(reason("a,,c\n1,2,3\n"), "line 1: bad header: column 2 has no name");
  EXPECT_EQ(reason("\n1\n"), "line 1: bad header: column 1 has no name");
  EXPECT_EQ(reason("a,b,a\n"), "line 1: bad header: two columns are named a");
  EXPECT_EQ(reason("Name,name\n"), "line 1: bad header: two columns are named name");
  EXPECT_EQ(reason("a,\xFF\n"), "line 1: bad header: field 2 is not valid UTF-8");
  EXPECT_EQ(reason("a,\"b\n1,2\n"), "line 1: bad header: a quote opened here is never closed");
  EXPECT_EQ(reason("a,b\"c\n"),
            "line 1: bad header: a quote inside field 2, which does not begin with one");
  EXPECT_EQ(reason(std::string(kMaxColumns, ',')), "line 1: bad header: more than 32767 columns");
}

TEST_P(CsvReader, AnotherDelimiterThanTheCommaIsAnErrorThatNamesIt) {
  for (const std::string_view text : {"a;b\n1;2\n", "a\tb\n1\t2\n", "a|b\n"}) {
    const auto source = open_csv({.path = folder_.file("d.csv", text), .order = GetParam()});
    ASSERT_FALSE(source) << text;
    EXPECT_EQ(source.error().code, Errc::bad_input);
    EXPECT_THAT(source.error().hint, ::testing::HasSubstr("separated by commas")) << text;
  }
  EXPECT_TRUE(open_csv({.path = folder_.file("d.csv", "a;b,c\n1,2\n"), .order = GetParam()}));
}

TEST_P(CsvReader, HeaderWithoutALineFeedIsUnfinishedIfALineFeedIsNeeded) {
  Limits limits;
  limits.line_feed_needed = true;
  for (const std::string_view text : {"", "a,b", "a,b\r", "a,\"b"}) {
    const auto source =
        open_csv({.path = folder_.file("w.csv", text), .order = GetParam(), .limits = limits});
    ASSERT_TRUE(source) << text << source.error().what;
    EXPECT_EQ(*source, nullptr) << text;
  }
}

TEST_P(CsvReader, LastLineWithoutALineFeedIsLeftIfOneIsNeededAndIsNamed) {
  Limits limits;
  limits.line_feed_needed = true;
  const auto source = must_open(
      {.path = folder_.file("w.csv", "a,b\n1,2\n3,"), .order = GetParam(), .limits = limits});
  ASSERT_NE(source, nullptr);
  EXPECT_THAT(drain(*source), ::testing::ElementsAre("2@4#2 1|2"));
  EXPECT_EQ(source->unfinished_line(), 3U);
}

TEST_P(CsvReader, BlankLineBeforeAnUnfinishedLineIsABadRow) {
  Limits limits;
  limits.line_feed_needed = true;
  const auto source = must_open(
      {.path = folder_.file("w.csv", "a,b\n1,2\n\n3,"), .order = GetParam(), .limits = limits});
  ASSERT_NE(source, nullptr);
  EXPECT_THAT(drain(*source), ::testing::UnorderedElementsAre(
                                  "2@4#2 1|2", "3! a blank line, the header has 2 fields"));
}

TEST_P(CsvReader, HeaderAloneHasNoRows) {
  for (const std::string_view text : {"a,b", "a,b\n", "a,b\r\n\r\n"}) {
    const auto source = must_open({.path = folder_.file("h.csv", text), .order = GetParam()});
    ASSERT_NE(source, nullptr);
    EXPECT_THAT(source->columns(), ElementsAre("a", "b"));
    EXPECT_THAT(drain(*source), IsEmpty());
  }
}

TEST_P(CsvReader, HeaderNamesMayBeQuoted) {
  const auto source =
      must_open({.path = folder_.file("q.csv", "\xEF\xBB\xBF\"a,1\",\"b \"\"x\"\"\"\r\n"),
                 .order = GetParam()});
  ASSERT_NE(source, nullptr);
  EXPECT_THAT(source->columns(), ElementsAre("a,1", "b \"x\""));
}

TEST_P(CsvReader, APipeIsNamedStandardInput) {
  const testing::StandardInput input("a\n1\n");
  const auto source = must_open({.path = "-", .order = GetParam()});
  ASSERT_NE(source, nullptr);
  EXPECT_EQ(source->name(), "standard input");
}

TEST_P(CsvReader, NamedPipeIsRead) {
  const std::string path = (folder_.path() / "pipe").string();
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  std::thread writer([&path] { std::ofstream(path) << "a\n1\n"; });
  const auto source = must_open({.path = path, .order = GetParam()});
  writer.join();
  ASSERT_NE(source, nullptr);
  EXPECT_THAT(drain(*source), ElementsAre("2@2#2 1"));
}

TEST_P(CsvReader, EndStaysTheEnd) {
  const auto source = must_open({.path = folder_.file("e.csv", "a\n1\n"), .order = GetParam()});
  ASSERT_NE(source, nullptr);
  EXPECT_EQ(drain(*source).size(), 1U);
  EXPECT_THAT(drain(*source), IsEmpty());
}

TEST_P(CsvReader, SkipStopsDirectlyAfterTheLastSkippedRow) {
  const std::string path =
      folder_.file("s.csv", "a,b\n1,1\nbad\n2,2\nbad\n3,3\nbad\n4,4\n5,5\nbad\n6,6\n");
  // Blocks of any size: whole blocks are skipped without reading them.
  for (std::size_t block_bytes = 1; block_bytes < 60; ++block_bytes) {
    for (std::uint64_t rows = 0; rows <= 8; ++rows) {
      const CsvOptions options{
          .path = path, .order = GetParam(), .limits = {.block_bytes = block_bytes}};
      const auto all = drain(*must_open(options));
      const auto source = must_open(options);
      const auto skipped = source->skip(rows);
      ASSERT_TRUE(skipped);
      EXPECT_EQ(skipped->rows, std::min<std::uint64_t>(rows, 6));
      std::size_t passed = 0;
      std::uint64_t good = 0;
      while (good < rows && passed < all.size()) {
        good += all[passed].find('!') == std::string::npos ? 1 : 0;
        ++passed;
      }
      EXPECT_EQ(skipped->rows + skipped->bad_rows, passed);
      EXPECT_EQ(drain(*source), std::vector<std::string>(
                                    all.begin() + static_cast<std::ptrdiff_t>(passed), all.end()))
          << "after " << rows << " rows, blocks of " << block_bytes;
    }
  }
}

TEST_P(CsvReader, ProgressEndsAtTheWholeFile) {
  const std::string_view text = "a,b\n1,2\n3,4\n5,6\n";
  const auto source = must_open({.path = folder_.file("p.csv", text), .order = GetParam()});
  ASSERT_NE(source, nullptr);
  EXPECT_EQ(source->progress().bytes_total, text.size());
  std::uint64_t before = source->progress().bytes_read;
  for (int row = 0; row < 3; ++row) {
    ASSERT_TRUE(source->next());
    EXPECT_EQ(source->progress().bytes_read, before + 4);
    before += 4;
  }
}

TEST_P(CsvReader, FingerprintIsSixteenHexDigitsOfHeaderAndFirstRow) {
  const auto fingerprint = [this](std::string_view text) {
    const auto source = must_open({.path = folder_.file("f.csv", text), .order = GetParam()});
    return source == nullptr ? std::string() : source->fingerprint();
  };
  const std::string one = fingerprint("a,b\n1,2\n3,4\n");
  EXPECT_EQ(one.size(), 16U);
  EXPECT_EQ(one.find_first_not_of("0123456789abcdef"), std::string::npos);
  EXPECT_EQ(fingerprint("a,b\n1,2\n3,4\n"), one);
  EXPECT_NE(fingerprint("a,c\n1,2\n3,4\n"), one);
  EXPECT_NE(fingerprint("a,b\n1,3\n3,4\n"), one);
  EXPECT_NE(fingerprint("a,b\n"), one);
}

TEST_P(CsvReader, FingerprintOfAGrownFileChangesOnlyInReverse) {
  const std::string path = folder_.file("g.csv", "a,b\n1,2\n3,4\n");
  const CsvOptions options{.path = path, .order = GetParam()};
  const std::string before = must_open(options)->fingerprint();
  folder_.file("g.csv", "a,b\n1,2\n3,4\n5,6\n");
  EXPECT_EQ(must_open(options)->fingerprint() == before, GetParam() == Order::file);
}

TEST_P(CsvReader, FingerprintOfAPipeIsThatOfTheFile) {
  const std::string text = "a,b\n1,2\n3,4\n";
  const std::string of_file =
      must_open({.path = folder_.file("f.csv", text), .order = GetParam()})->fingerprint();
  const testing::StandardInput input(text);
  EXPECT_EQ(must_open({.path = "-", .order = GetParam()})->fingerprint(), of_file);
}

TEST(CsvFileOrder, RowsAndBadRowsComeInFileOrder) {
  const testing::ScratchFolder folder;
  const auto source = must_open({.path = folder.file("t.csv", "a,b\n1,2\n3\n\"x\ny\",\"4\"\n")});
  ASSERT_NE(source, nullptr);
  EXPECT_THAT(drain(*source),
              ElementsAre("2@4#2 1|2", "3! 1 field, the header has 2", "4@10#4 x\ny|4"));
}

TEST(CsvFileOrder, PipeGivesARowBeforeItEnds) {
  const testing::ScratchFolder folder;
  const std::string path = (folder.path() / "pipe").string();
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  const Descriptor writer(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  const std::string_view begin = "a,b\n1,2\n";
  ASSERT_EQ(::write(writer.get(), begin.data(), begin.size()), begin.size());
  const auto source = must_open({.path = path});
  ASSERT_NE(source, nullptr);
  const auto row = source->next();
  ASSERT_TRUE(row && *row);
  EXPECT_EQ(testing::show(**row), "2@4#2 1|2");
  EXPECT_EQ(source->progress().bytes_total, std::nullopt);
}

TEST(CsvFileOrder, RowsAppendedAfterInferenceAreRead) {
  const testing::ScratchFolder folder;
  const std::string path = folder.file("g.csv", "a,b\n1,2\n");
  const auto source = must_open({.path = path, .infer_types = true});
  ASSERT_NE(source, nullptr);
  std::ofstream(path, std::ios::app) << "3,4\n";
  EXPECT_THAT(drain(*source), ElementsAre("2@4#2 1|2", "3@8#3 3|4"));
}

}  // namespace
}  // namespace turnstile::csv
