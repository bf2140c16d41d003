// What the store does with values before SQLite has seen them must be what SQLite itself does.
#include <array>
#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "store/affinity.h"
#include "store/tables.h"
#include "store/target.h"
#include "store/text_lines.h"
#include "tests/store/fixture.h"

namespace turnstile::test {
namespace {

using store::Affinity;

constexpr std::array kDeclared{
    "INTEGER",  "INT",     "BIGINT", "tinyint",   "UNSIGNED BIG INT", "CHARINT", "POINT",
    "TEXT",     "VARCHAR", "CLOB",   "NCHAR(55)", "TEXTBLOB",         "BLOB",    "",
    "BLOBREAL", "REAL",    "DOUBLE", "FLOAT",     "REALBLOB",         "NUMERIC", "DECIMAL(10,5)",
    "BOOLEAN",  "DATE",    "STRING", "ANY"};

class Values {
 public:
  explicit Values(std::uint32_t seed) : random_(seed) {}

  ValueRef value() {
    switch (below(8)) {
      case 0:
        return Null{};
      case 1:
        return static_cast<std::int64_t>(random_()) >> below(60);
      case 2:
        return std::int64_t{-1} * static_cast<std::int64_t>(below(100));
      case 3:
        return static_cast<double>(below(1000)) / static_cast<double>(1 + below(8));
      case 4:
        return Blob{text()};
      default:
        return text();
    }
  }

 private:
  std::uint64_t below(std::uint64_t bound) { return random_() % bound; }

  // Nearly a number, mostly.
  std::string_view text() {
    constexpr std::array<std::string_view, 24> kWhole{"",
                                                      "0",
                                                      "-0",
                                                      "00",
                                                      "007",
                                                      "+5",
                                                      " 5",
                                                      "5 ",
                                                      "1e3",
                                                      "1E400",
                                                      "5.0",
                                                      ".5",
                                                      "-.5e1",
                                                      "0x1",
                                                      "inf",
                                                      "NaN",
                                                      "Protein",
                                                      "10:45",
                                                      "line\nend",
                                                      "a\r\nb",
                                                      "\xC3\xA9",
                                                      "-",
                                                      "999999999999999999",
                                                      "9223372036854775808"};
    constexpr std::string_view kCharacters = "0123456789012345678901234567890123456789-+.e \tx";
    if (below(3) == 0) {
      return kWhole.at(below(kWhole.size()));
    }
    std::string made;
    for (std::uint64_t left = below(22); left > 0; --left) {
      made += kCharacters[below(below(4) == 0 ? kCharacters.size() : 10)];
    }
    return kept_.emplace_back(std::make_unique<std::string>(std::move(made)))->c_str();
  }

  std::mt19937_64 random_;
  std::vector<std::unique_ptr<std::string>> kept_;
};

class ConversionPropertyTest : public StoreTest,
                               public ::testing::WithParamInterface<std::uint32_t> {};

TEST_P(ConversionPropertyTest, BoundValuesAreStoredAndPrintedAsSqliteDoes) {
  auto connection = sqlite::Connection::open(":memory:", sqlite::Access::create);
  ASSERT_TRUE(connection);
  std::string columns;
  std::vector<std::string> names;
  for (const auto* type : kDeclared) {
    names.push_back("c" + std::to_string(names.size()));
    columns += (names.size() == 1 ? "" : ", ") + names.back() + " " + type;
  }
  ASSERT_TRUE(connection->execute("CREATE TABLE ours(" + columns + "); CREATE TABLE plain(" +
                                  columns + ")"));
  store::Tables tables(*connection);
  ASSERT_TRUE(tables.refresh());
  auto inserter = tables.inserter("ours", names);
  ASSERT_TRUE(inserter);
  ASSERT_EQ((*inserter)->refusal(), "");
  std::string marks = "?";
  for (std::size_t i = 1; i < names.size(); ++i) {
    marks += ",?";
  }
  auto plain = connection->prepare("INSERT INTO plain VALUES(" + marks + ")");
  auto stored = connection->prepare("SELECT * FROM plain ORDER BY rowid");
  ASSERT_TRUE(plain && stored);
  const auto lines = store::BatchLines::make(*(*inserter)->table(), names);
  ASSERT_TRUE(lines);

  Values values(GetParam());
  std::vector<std::string> straight;  // empty: not certain
  std::size_t certain = 0;
  for (int i = 0; i < 2000; ++i) {
    // Few values a row, so that many rows are certain.
    Row row(names.size());
    for (int j = 0; j < 3; ++j) {
      row[static_cast<std::size_t>(i * 7 + j * 5) % row.size()] = values.value();
    }
    ASSERT_EQ((*inserter)->insert(row), SQLITE_DONE);
    for (std::size_t j = 0; j < row.size(); ++j) {
      plain->bind(static_cast<int>(j) + 1, row[j]);
    }
    ASSERT_EQ(plain->step(), SQLITE_DONE);
    plain->reset();
    std::string line;
    if (lines->append(row, 0, line)) {
      ++certain;
    }
    straight.push_back(line);
  }
  EXPECT_GT(certain, 500U);
  std::string compare =
      "SELECT count(*) FROM ours AS o JOIN plain AS p ON o.rowid = p.rowid WHERE 0";
  for (const auto& name : names) {
    std::string ours = "o.";
    std::string theirs = "p.";
    ours += name;
    theirs += name;
    for (const auto& part :
         {std::string(" OR "), ours, std::string(" IS NOT "), theirs, std::string(" OR typeof("),
          ours, std::string(") <> typeof("), theirs, std::string(")")}) {
      compare += part;
    }
  }
  EXPECT_EQ(*connection->query_integer(compare), 0);
  for (const auto& line : straight) {
    ASSERT_EQ(stored->step(), SQLITE_ROW);
    std::string from_table;
    store::append_line(*stored, 0, from_table);
    if (!line.empty()) {
      ASSERT_EQ(line, from_table);
    }
  }
}

// The whole way: whatever the rows, the file is what a reading of the table gives.
TEST_P(ConversionPropertyTest, TextLogEqualsTheTable) {
  run("CREATE TABLE t(a INTEGER, b TEXT, c REAL, d, id INTEGER PRIMARY KEY, e NUMERIC)");
  auto with = options();
  with.text_path = text();
  with.text_table = "t";
  auto target = open(with);
  Values values(GetParam());
  std::mt19937 random(GetParam());
  std::uint64_t first = 1;
  const std::vector<std::vector<std::string>> forms{{"a", "b"}, {"b", "c", "d"}, {"e", "d", "a"}};
  for (int transaction = 0; transaction < 30; ++transaction) {
    ASSERT_TRUE(target->begin());
    for (std::uint32_t batches = 1 + random() % 4; batches > 0; --batches) {
      const auto& columns = forms[random() % forms.size()];
      // Most rows plain, so that whole batches are certain.
      const bool wild = random() % 3 == 0;
      std::vector<Row> rows(1 + random() % 130);
      for (auto& row : rows) {
        row.assign(columns.size(), std::string_view("plain"));
        if (wild) {
          row[random() % row.size()] = values.value();
        }
        if (random() % 50 == 0) {
          row.emplace_back(Null{});  // too many values: refused
        }
      }
      const auto header = header_of("p", first, rows.size(), "t", columns);
      ASSERT_TRUE(target->apply(header, frame_of(rows)));
      first += rows.size();
    }
    if (random() % 5 == 0) {
      target->rollback();
      first = target->progress({"p"}, {0})->through.value + 1;
    } else {
      ASSERT_TRUE(target->commit());
    }
  }
  const std::string expected = lines_of("t");
  EXPECT_EQ(read_text(text()), expected);
  EXPECT_GT(expected.size(), 1000U);
}

INSTANTIATE_TEST_SUITE_P(Seeds, ConversionPropertyTest, ::testing::Range(1U, 9U));

TEST(BatchLinesTest, AByteThatATerminalCouldObeyIsEscapedAnywhereInATextOfAnyLength) {
  store::TableInfo table;
  table.plain = true;
  table.columns.push_back({.name = "s",
                           .affinity = Affinity::text,
                           .has_default = false,
                           .generated = false,
                           .is_rowid = false});
  const auto lines = store::BatchLines::make(table, {"s"});
  ASSERT_TRUE(lines);
  for (std::size_t length = 1; length <= 20; ++length) {
    for (std::size_t at = 0; at < length; ++at) {
      for (int byte = 1; byte < 256; ++byte) {
        std::string text(length, 'a');
        text[at] = static_cast<char>(byte);
        std::string shown = text;
        if (byte == '\n' || byte == '\r' || byte == '\t') {
          shown.replace(at, 1, byte == '\n' ? "\\n" : byte == '\r' ? "\\r" : "\\t");
        } else if (byte < 0x20 || byte >= 0x7F) {  // alone, no byte above is UTF-8
          constexpr std::string_view kDigits = "0123456789abcdef";
          const auto digit = [&](int value) { return kDigits[static_cast<std::size_t>(value)]; };
          shown.replace(at, 1, {'\\', 'x', digit(byte / 16), digit(byte % 16)});
        }
        const ValueRef value = std::string_view(text);
        std::string line = "before\n";
        ASSERT_TRUE(lines->append(std::span(&value, 1), 1, line));
        ASSERT_EQ(line, "before\n[" + shown + "]\n") << "byte " << byte << " at " << at;
      }
    }
  }
}

TEST(CanonicalIntegerTest, OnlyTheOneSpellingOfEachIntegerIsTaken) {
  EXPECT_EQ(store::canonical_integer("0"), 0);
  EXPECT_EQ(store::canonical_integer("-12"), -12);
  EXPECT_EQ(store::canonical_integer("999999999999999999"), 999'999'999'999'999'999);
  for (const char* text :
       {"", "-", "-0", "00", "01", "+1", " 1", "1 ", "1.0", "1e2", "0x1", "1234567890123456789"}) {
    EXPECT_FALSE(store::canonical_integer(text)) << text;
  }
}

TEST(CanonicalIntegerTest, EachLengthOfDigitsIsReadAndNoByteThatIsNoDigitIsTakenForOne) {
  for (std::size_t length = 1; length <= 18; ++length) {
    const std::string digits = std::string("987654321098765432").substr(0, length);
    EXPECT_EQ(store::canonical_integer(digits), std::stoll(digits));
    EXPECT_EQ(store::canonical_integer("-" + digits), -std::stoll(digits));
    const std::string smallest = "1" + std::string(length - 1, '0');
    EXPECT_EQ(store::canonical_integer(smallest), std::stoll(smallest));
    for (std::size_t at = 0; at < length; ++at) {
      for (int byte = 0; byte < 256; ++byte) {
        std::string text = digits;
        text[at] = static_cast<char>(byte);
        const bool is_digit = byte >= (at == 0 && length > 1 ? '1' : '0') && byte <= '9';
        const bool is_sign = at == 0 && length > 1 && byte == '-';
        ASSERT_EQ(store::canonical_integer(text).has_value(), is_digit || is_sign)
            << length << " bytes, byte " << byte << " at " << at;
      }
    }
  }
}

TEST(AffinityTest, AnyConvertsNothingInAStrictTableOnly) {
  EXPECT_EQ(store::affinity_of("ANY", true), Affinity::blob);
  EXPECT_EQ(store::affinity_of("ANY", false), Affinity::numeric);
}

}  // namespace
}  // namespace turnstile::test
