// What a row's values become, and which damage is one row's and which the whole frame's.
#include "proto/rows.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "proto/limits.h"
#include "tests/proto/wire_testing.h"

namespace turnstile {
namespace {

namespace pack = testing::pack;
using testing::from_hex;

std::string shown(const ValueRef& value) {
  if (const auto* integer = std::get_if<std::int64_t>(&value)) {
    return "i" + std::to_string(*integer);
  }
  if (const auto* real = std::get_if<double>(&value)) {
    return "r" + std::to_string(*real);
  }
  if (const auto* text = std::get_if<std::string_view>(&value)) {
    return "t" + std::string(*text);
  }
  if (const auto* blob = std::get_if<Blob>(&value)) {
    return "b" + std::string(blob->bytes);
  }
  return "null";
}

std::vector<std::string> shown(std::span<const ValueRef> row) {
  std::vector<std::string> out(row.size());
  std::transform(row.begin(), row.end(), out.begin(), [](const ValueRef& v) { return shown(v); });
  return out;
}

using Texts = std::vector<std::string>;

// The one row of a frame whose values are given in hexadecimal.
struct One {
  Texts values;
  std::string defect;
  std::string error;
};

One one_row(std::uint64_t values, const std::string& bytes) {
  const std::string frame = pack::array(1) + pack::array(values) + bytes;
  DecodedRows rows;
  const auto decoded = decode_rows(frame, 1, rows);
  if (!decoded) {
    return {{}, "", decoded.error().what};
  }
  return {shown(rows.row(0)), std::string(rows.defect(0)), ""};
}

One one_value(const std::string& hex) {
  return one_row(1, from_hex(hex));
}

std::string error_of(const std::string& frame, std::uint32_t rows) {
  DecodedRows into;
  const auto decoded = decode_rows(frame, rows, into);
  return decoded ? "" : decoded.error().what;
}

TEST(Rows, EveryStorageClassComesBackAsItWas) {
  RowsEncoder encoder;
  const std::array<ValueRef, 7> row = {Null{},
                                       std::numeric_limits<std::int64_t>::min(),
                                       std::numeric_limits<std::int64_t>::max(),
                                       -0.5,
                                       std::string_view(""),
                                       std::string_view("caf\xC3\xA9"),
                                       Blob{std::string_view("\0\xFF", 2)}};
  encoder.add(std::span<const ValueRef>(row));
  const std::array<std::string_view, 2> texts = {"Ace", "Dog"};
  encoder.add(std::span<const std::string_view>(texts));
  EXPECT_EQ(encoder.rows(), 2U);
  const Bytes frame = encoder.take();
  EXPECT_EQ(encoder.rows(), 0U);

  DecodedRows rows;
  const auto decoded = decode_rows(frame.view(), 2, rows);
  ASSERT_TRUE(decoded) << decoded.error().what;
  ASSERT_EQ(rows.rows(), 2U);
  EXPECT_EQ(shown(rows.row(0)),
            (Texts{"null", "i-9223372036854775808", "i9223372036854775807", "r-0.500000", "t",
                   "tcaf\xC3\xA9", std::string("b\0\xFF", 3)}));
  EXPECT_EQ(shown(rows.row(1)), (Texts{"tAce", "tDog"}));
  EXPECT_EQ(rows.defect(0), "");
}

TEST(Rows, ViewsOfNothingAreEmptyValues) {
  RowsEncoder encoder;
  encoder.add(std::array<ValueRef, 2>{std::string_view(), Blob{}});
  const Bytes frame = encoder.take();
  DecodedRows rows;
  ASSERT_TRUE(decode_rows(frame.view(), 1, rows));
  EXPECT_EQ(std::get<std::string_view>(rows.row(0)[0]), "");
  EXPECT_EQ(std::get<Blob>(rows.row(0)[1]).bytes, "");
}

TEST(Rows, TextsOfEveryLengthComeBackAndNothingOfTheirNeighbours) {
  constexpr std::size_t kLengths = 70;
  std::string bytes;
  for (std::size_t i = 0; i < kLengths; ++i) {
    bytes += static_cast<char>('!' + i);
  }
  for (std::size_t length = 0; length <= kLengths; ++length) {
    // With nothing behind it, which would hide that more is read.
    const std::vector<char> exact(bytes.end() - static_cast<std::ptrdiff_t>(length), bytes.end());
    const std::string_view text(exact.data(), exact.size());
    RowsEncoder encoder;
    encoder.add(std::array<std::string_view, 3>{"before", text, "after"});
    const Bytes frame = encoder.take();
    DecodedRows rows;
    ASSERT_TRUE(decode_rows(frame.view(), 1, rows));
    EXPECT_EQ(shown(rows.row(0)), (Texts{"tbefore", "t" + std::string(text), "tafter"}));
  }
}

TEST(Rows, ASmallFrameBehindALargeOneHoldsItsOwnRowsOnly) {
  RowsEncoder encoder;
  const std::string large(300'000, 'x');
  for (int round = 0; round < 3; ++round) {
    encoder.add(std::array<std::string_view, 1>{large});
    EXPECT_EQ(encoder.rows(), 1U);
    const Bytes large_frame = encoder.take();
    encoder.add(std::array<std::string_view, 1>{"small"});
    const Bytes small_frame = encoder.take();
    EXPECT_EQ(small_frame.size(), 5U + 1U + 6U);
    DecodedRows rows;
    ASSERT_TRUE(decode_rows(large_frame.view(), 1, rows));
    EXPECT_EQ(std::get<std::string_view>(rows.row(0)[0]), large);
    ASSERT_TRUE(decode_rows(small_frame.view(), 1, rows));
    EXPECT_EQ(std::get<std::string_view>(rows.row(0)[0]), "small");
  }
}

TEST(Rows, RandomRowsComeBackAsTheyWere) {
  testing::Random random(testing::chosen_seed());
  RowsEncoder encoder;
  DecodedRows decoded;
  for (int round = 0; round < 200; ++round) {
    std::vector<std::string> texts;
    texts.reserve(10'000);  // views into it stay valid
    std::vector<std::vector<ValueRef>> rows(1 + random.below(40));
    for (auto& row : rows) {
      row.resize(random.below(20));
      for (ValueRef& value : row) {
        const std::uint64_t kind = random.below(5);
        if (kind == 0) {
          value =
              static_cast<std::int64_t>(random.number(std::numeric_limits<std::uint64_t>::max()));
        } else if (kind == 1) {
          value = std::ldexp(static_cast<double>(random.number(1'000'000)), -10);
        } else if (kind == 2) {
          value = std::string_view(
              texts.emplace_back(random.text(random.below(100) == 0 ? 70'000 : 300)));
        } else if (kind == 3) {
          value = Blob{texts.emplace_back(random.text(300))};
        }
      }
      encoder.add(row);
    }
    const Bytes frame = encoder.take();
    const auto result = decode_rows(frame.view(), static_cast<std::uint32_t>(rows.size()), decoded);
    ASSERT_TRUE(result) << result.error().what;
    for (std::size_t i = 0; i < rows.size(); ++i) {
      const Texts got = shown(decoded.row(i));
      const Texts want = shown(rows[i]);
      ASSERT_EQ(got.size(), want.size());
      for (std::size_t value = 0; value < want.size(); ++value) {
        ASSERT_TRUE(got[value] == want[value])
            << "value " << value << " of row " << i << ": " << got[value].substr(0, 50)
            << " instead of " << want[value].substr(0, 50);
      }
      ASSERT_EQ(decoded.defect(i), "");
    }
  }
}

TEST(Rows, EveryIntegerEncodingGivesTheSameNumber) {
  for (const char* five :
       {"05", "CC 05", "CD 00 05", "CE 00 00 00 05", "CF 00 00 00 00 00 00 00 05", "D0 05",
        "D1 00 05", "D2 00 00 00 05", "D3 00 00 00 00 00 00 00 05"}) {
    EXPECT_EQ(one_value(five).values, Texts{"i5"}) << five;
  }
  for (const char* minus_two :
       {"FE", "D0 FE", "D1 FF FE", "D2 FF FF FF FE", "D3 FF FF FF FF FF FF FF FE"}) {
    EXPECT_EQ(one_value(minus_two).values, Texts{"i-2"}) << minus_two;
  }
  EXPECT_EQ(one_value("7F").values, Texts{"i127"});
  EXPECT_EQ(one_value("E0").values, Texts{"i-32"});
  EXPECT_EQ(one_value("CC FF").values, Texts{"i255"});
  EXPECT_EQ(one_value("D0 80").values, Texts{"i-128"});
}

TEST(Rows, EveryTextAndBlobEncodingGivesTheSameBytes) {
  for (const char* ace :
       {"A3 41 63 65", "D9 03 41 63 65", "DA 00 03 41 63 65", "DB 00 00 00 03 41 63 65"}) {
    EXPECT_EQ(one_value(ace).values, Texts{"tAce"}) << ace;
  }
  for (const char* ace : {"C4 03 41 63 65", "C5 00 03 41 63 65", "C6 00 00 00 03 41 63 65"}) {
    EXPECT_EQ(one_value(ace).values, Texts{"bAce"}) << ace;
  }
  EXPECT_EQ(one_value("C4 00").values, Texts{"b"});
  EXPECT_EQ(one_value("A0").values, Texts{"t"});
  EXPECT_EQ(one_value("D9 00").values, Texts{"t"});
}

TEST(Rows, ArraysOfEveryEncodingAreRows) {
  DecodedRows rows;
  for (const char* frame :
       {"91 91 C0", "DC 00 01 DC 00 01 C0", "DD 00 00 00 01 DD 00 00 00 01 C0"}) {
    EXPECT_TRUE(decode_rows(from_hex(frame), 1, rows)) << frame;
    EXPECT_EQ(rows.row(0).size(), 1U);
  }
}

TEST(Rows, BooleansAreZeroAndOne) {
  EXPECT_EQ(one_value("C2").values, Texts{"i0"});
  EXPECT_EQ(one_value("C3").values, Texts{"i1"});
}

TEST(Rows, ShortFloatsAreReals) {
  EXPECT_EQ(one_value("CA BF 80 00 00").values, Texts{"r-1.000000"});
}

TEST(Rows, NaNIsADefectOfItsRowSinceSqliteWouldKeepNull) {
  for (const char* nan :
       {"CA 7F C0 00 00", "CB 7F F8 00 00 00 00 00 00", "CB FF F0 00 00 00 00 00 01"}) {
    DecodedRows rows;
    ASSERT_TRUE(decode_rows(from_hex(std::string("92 91 ") + nan + " 91 01"), 2, rows));
    EXPECT_NE(rows.defect(0).find("NaN"), std::string_view::npos) << nan;
    EXPECT_EQ(rows.defect(1), "");
  }
  DecodedRows rows;
  ASSERT_TRUE(decode_rows(from_hex("91 91 CB 7F F0 00 00 00 00 00 00"), 1, rows));
  EXPECT_EQ(rows.defect(0), "") << "infinity is a REAL";
}

TEST(Rows, AWholeRealStaysAReal) {
  RowsEncoder encoder;
  const std::array<ValueRef, 3> row = {5.0, -0.0, 1e18};
  encoder.add(std::span<const ValueRef>(row));
  const Bytes frame = encoder.take();
  DecodedRows rows;
  ASSERT_TRUE(decode_rows(frame.view(), 1, rows));
  EXPECT_EQ(shown(rows.row(0)), (Texts{"r5.000000", "r-0.000000", "r1000000000000000000.000000"}));
}

TEST(Rows, ARowMayHaveNoValues) {
  EXPECT_EQ(one_row(0, "").values, Texts{});
}

TEST(Rows, AnIntegerAboveSqlitesLargestIsADefectOfItsRowOnly) {
  const std::string frame = from_hex("93 91 01 92 C0 CF 80 00 00 00 00 00 00 00 91 03");
  DecodedRows rows;
  const auto decoded = decode_rows(frame, 3, rows);
  ASSERT_TRUE(decoded) << decoded.error().what;
  EXPECT_EQ(rows.defect(0), "");
  EXPECT_EQ(rows.defect(1), "an integer above 9223372036854775807");
  EXPECT_EQ(rows.defect(2), "");
  EXPECT_EQ(rows.row(1).size(), 2U);
  EXPECT_EQ(shown(rows.row(2)), Texts{"i3"});
  EXPECT_EQ(one_value("CF 7F FF FF FF FF FF FF FF").values, Texts{"i9223372036854775807"});
}

TEST(Rows, TextThatIsNotUtf8IsADefectOfItsRowOnly) {
  EXPECT_EQ(one_value("A2 C3 28").defect, "text that is not UTF-8");
  EXPECT_EQ(one_value("A1 FF").defect, "text that is not UTF-8");
  const std::string frame = from_hex("92 91 A1 80 91 A2 C3 A9");
  DecodedRows rows;
  ASSERT_TRUE(decode_rows(frame, 2, rows));
  EXPECT_EQ(rows.defect(0), "text that is not UTF-8");
  EXPECT_EQ(rows.defect(1), "");
}

TEST(Rows, TextWithNulIsADefectAndABlobWithNulIsNot) {
  EXPECT_EQ(one_value("A3 61 00 62").defect, "text with a NUL byte (send it as binary)");
  EXPECT_EQ(one_value("A9 61 62 63 64 65 66 67 68 00").defect,
            "text with a NUL byte (send it as binary)");
  EXPECT_EQ(one_value("A3 C3 A9 00").defect, "text with a NUL byte (send it as binary)");
  EXPECT_EQ(one_value("C4 03 61 00 62").defect, "");
}

TEST(Rows, DefectsOfAnEarlierFrameAreForgotten) {
  DecodedRows rows;
  ASSERT_TRUE(decode_rows(from_hex("91 91 A1 80"), 1, rows));
  ASSERT_NE(rows.defect(0), "");
  ASSERT_TRUE(decode_rows(from_hex("91 91 A1 61"), 1, rows));
  EXPECT_EQ(rows.defect(0), "");
}

TEST(Rows, AnotherNumberOfRowsThanTheHeadersIsRefused) {
  EXPECT_EQ(error_of(from_hex("92 91 01 91 02"), 3),
            "the rows frame holds 2 rows, the header says 3");
  EXPECT_EQ(error_of(from_hex("90"), 1), "the rows frame holds 0 rows, the header says 1");
}

TEST(Rows, WhatIsNoArrayOfArraysIsRefused) {
  EXPECT_EQ(error_of("", 1), "the rows frame holds a truncated frame");
  EXPECT_EQ(error_of(from_hex("01"), 1), "the rows frame holds a value outside a row");
  EXPECT_EQ(error_of(from_hex("C0"), 1), "the rows frame holds a value outside a row");
  EXPECT_EQ(error_of(from_hex("91 01"), 1), "the rows frame holds a value outside a row");
  EXPECT_EQ(error_of(from_hex("92 91 01 A1 61"), 2), "the rows frame holds a value outside a row");
  EXPECT_EQ(error_of(from_hex("81 01 02"), 1), "the rows frame holds a map");
  EXPECT_EQ(error_of(from_hex("91 81 01 02"), 1), "the rows frame holds a map");
  EXPECT_EQ(error_of(from_hex("91 91 81 01 02"), 1), "the rows frame holds a map");
  EXPECT_EQ(error_of(from_hex("91 91 90"), 1), "the rows frame holds an array inside a row");
  EXPECT_EQ(error_of(from_hex("91 91 91 01"), 1), "the rows frame holds an array inside a row");
  EXPECT_EQ(error_of(from_hex("91 91 C1"), 1),
            "the rows frame holds bytes that are not MessagePack");
  EXPECT_EQ(error_of(from_hex("91 91 01 C0"), 1), "the rows frame holds bytes after the last row");
}

TEST(Rows, ExtensionTypesAreRefused) {
  for (const char* extension :
       {"D4 01 00", "D5 01 00 00", "D6 FF 00 00 00 00", "D7 FF 00 00 00 00 00 00 00 00",
        "D8 01 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00", "C7 00 01", "C7 01 01 00",
        "C8 00 01 01 00", "C9 00 00 00 01 01 00"}) {
    EXPECT_EQ(one_value(extension).error,
              "the rows frame holds an extension type, which no SQLite value can be")
        << extension;
  }
}

TEST(Rows, AsManyValuesAsTheLimitAreTakenAndOneMoreIsRefused) {
  constexpr std::uint32_t kWidth = 128;
  constexpr std::uint32_t kFull = limits::kBatchValues / kWidth;
  const std::string row = pack::array(kWidth) + std::string(kWidth, '\x01');
  std::string frame;
  for (std::uint32_t i = 0; i < kFull; ++i) {
    frame += row;
  }
  EXPECT_EQ(error_of(pack::array(kFull) + frame, kFull), "");
  EXPECT_EQ(error_of(pack::array(kFull + 1) + frame + pack::array(1) + pack::number(1), kFull + 1),
            "the rows frame holds more than 262144 values");
}

TEST(Rows, ARowOfMoreValuesThanSqliteHasColumnsIsRefused) {
  EXPECT_EQ(one_row(limits::kColumns, std::string(limits::kColumns, '\x01')).error, "");
  EXPECT_EQ(one_row(limits::kColumns + 1, std::string(limits::kColumns + 1, '\x01')).error,
            "the rows frame holds a row of 2001 values");
}

}  // namespace
}  // namespace turnstile
