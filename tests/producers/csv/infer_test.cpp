#include "producers/csv/infer.h"

#include <initializer_list>
#include <string_view>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/producers/csv/testing.h"

namespace turnstile::csv {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

ColumnType type_of(std::initializer_list<std::string_view> values) {
  TypeInference inference(1);
  for (const std::string_view& value : values) {
    inference.add({&value, 1});
  }
  return inference.types().at(0);
}

TEST(CsvInfer, IntegersAreInteger) {
  EXPECT_EQ(type_of({"0", "7", "-12", "9223372036854775807", "-9223372036854775808"}),
            ColumnType::integer);
}

TEST(CsvInfer, NumbersWithFractionOrExponentAreReal) {
  EXPECT_EQ(type_of({"1", "2.5", "-.5", "1e300", "0.10"}), ColumnType::real);
}

TEST(CsvInfer, AnyOtherValueMakesText) {
  for (const std::string_view value : {"x", "6:45", " 1", "1 ", "-", "0x10", "1.2.3", "1,5"}) {
    EXPECT_EQ(type_of({"1", value, "2"}), ColumnType::text) << value;
  }
}

TEST(CsvInfer, LeadingZerosMakeText) {
  for (const std::string_view value : {"007", "00", "-01", "00.5"}) {
    EXPECT_EQ(type_of({"1", value}), ColumnType::text) << value;
  }
  EXPECT_EQ(type_of({"0", "0.5"}), ColumnType::real);
}

TEST(CsvInfer, SignThatANumberWouldLoseMakesText) {
  EXPECT_EQ(type_of({"+1"}), ColumnType::text);
  EXPECT_EQ(type_of({"-0"}), ColumnType::text);
}

TEST(CsvInfer, IdsWithABareExponentAreText) {
  EXPECT_EQ(type_of({"12E4", "1234"}), ColumnType::text);
  EXPECT_EQ(type_of({"1e5"}), ColumnType::text);
  EXPECT_EQ(type_of({"-3e2", "7"}), ColumnType::text);
  EXPECT_EQ(type_of({"1e-05", "1e+16", "2"}), ColumnType::real);
  EXPECT_EQ(type_of({"12E4", "0.5"}), ColumnType::real);
}

TEST(CsvInfer, ValueThatANumberSpellsOtherwiseChangesItsForm) {
  for (const std::string_view value : {"0123", "-01", "00", "+1", "-0", " 1", "1 ", "12E4", "1e5",
                                       "9223372036854775808", "00.5"}) {
    EXPECT_TRUE(changes_form(ColumnType::integer, value)) << value;
    EXPECT_TRUE(changes_form(ColumnType::real, value)) << value;
    EXPECT_FALSE(changes_form(ColumnType::text, value)) << value;
  }
  EXPECT_TRUE(changes_form(ColumnType::integer, "1.0"));
  EXPECT_TRUE(changes_form(ColumnType::real, "9007199254740993"));
  EXPECT_TRUE(changes_form(ColumnType::real, "3.14159265358979323846"));
}

TEST(CsvInfer, ValueThatKeepsItsSpellingDoesNotChangeItsForm) {
  for (const std::string_view value :
       {"", "0", "7", "-12", "1234567890123456", "1.5", "-.5", "0.10", "x", "0x10", "1.2.3", "inf",
        "nan", "-", ".", "e5", "6:45", "2026-01-02", "1-2"}) {
    EXPECT_FALSE(changes_form(ColumnType::integer, value)) << value;
    EXPECT_FALSE(changes_form(ColumnType::real, value)) << value;
  }
  EXPECT_FALSE(changes_form(ColumnType::integer, "9007199254740993"));
  EXPECT_FALSE(changes_form(ColumnType::real, "1.0"));
}

TEST(CsvInfer, InfiniteAndNotANumberMakeText) {
  for (const std::string_view value : {"inf", "-inf", "nan", "infinity", "1e999"}) {
    EXPECT_EQ(type_of({"1.5", value}), ColumnType::text) << value;
  }
}

TEST(CsvInfer, IntegersThatARealWouldRoundMakeText) {
  EXPECT_EQ(type_of({"9223372036854775808"}), ColumnType::text);
  EXPECT_EQ(type_of({"9007199254740993", "1.5"}), ColumnType::text);
  EXPECT_EQ(type_of({"9007199254740992", "1.5"}), ColumnType::real);
}

TEST(CsvInfer, EmptyFieldsDoNotCount) {
  EXPECT_EQ(type_of({"", "1", ""}), ColumnType::integer);
  EXPECT_EQ(type_of({"", ""}), ColumnType::text);
  EXPECT_EQ(type_of({}), ColumnType::text);
}

TEST(CsvInfer, TypesHaveTheirSqlNames) {
  EXPECT_EQ(sql_name(ColumnType::integer), "INTEGER");
  EXPECT_EQ(sql_name(ColumnType::real), "REAL");
  EXPECT_EQ(sql_name(ColumnType::text), "TEXT");
}

class CsvInferFile : public ::testing::TestWithParam<Order> {
 protected:
  testing::ScratchFolder folder_;
};

INSTANTIATE_TEST_SUITE_P(BothOrders, CsvInferFile, ::testing::Values(Order::file, Order::reverse));

TEST_P(CsvInferFile, TheWholeFileCountsAndBadRowsDoNot) {
  const std::string path = folder_.file("t.csv", "i,r,t,e\n1,1,1,\nx\n2,2.5,2,\n3,3,x,\nx,x,x\n");
  const auto source = testing::must_open({.path = path, .order = GetParam(), .infer_types = true});
  ASSERT_NE(source, nullptr);
  EXPECT_THAT(source->column_types(), ElementsAre(ColumnType::integer, ColumnType::real,
                                                  ColumnType::text, ColumnType::text));
  EXPECT_EQ(source->progress().rows_total, 3U);
  EXPECT_EQ(testing::drain(*source).size(), 5U);
}

TEST_P(CsvInferFile, PipeIsInferredAndThenReadWhole) {
  const testing::StandardInput input("a,b\n1,2\n3,x\n");
  const auto source = testing::must_open({.path = "-", .order = GetParam(), .infer_types = true});
  ASSERT_NE(source, nullptr);
  EXPECT_THAT(source->column_types(), ElementsAre(ColumnType::integer, ColumnType::text));
  EXPECT_EQ(testing::drain(*source).size(), 2U);
}

TEST_P(CsvInferFile, TypesAreInferredOnlyOnRequest) {
  const std::string path = folder_.file("t.csv", "a\n1\n");
  const auto source = testing::must_open({.path = path, .order = GetParam()});
  ASSERT_NE(source, nullptr);
  EXPECT_THAT(source->column_types(), IsEmpty());
}

}  // namespace
}  // namespace turnstile::csv
