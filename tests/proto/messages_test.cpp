// What an encoder writes comes back as it was; what a decoder may take is what PROTOCOL.md says.
#include "proto/messages.h"

#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "proto/limits.h"
#include "tests/proto/wire_testing.h"

namespace turnstile {
namespace {

using ::testing::HasSubstr;
namespace pack = testing::pack;

// The error of a message, "" when there is none.
std::string error_of(const Frames& frames) {
  const auto message = decode(frames);
  return message ? "" : message.error().what;
}

std::string error_of_header(const std::vector<std::string>& fields) {
  return error_of(testing::frames({testing::header_of(fields), "rows"}));
}

// small_header_fields() with one field replaced. Positions are those of PROTOCOL.md: 0 is the type.
std::string error_with(std::size_t position, std::string field) {
  auto fields = testing::small_header_fields();
  fields.at(position) = std::move(field);
  return error_of_header(fields);
}

constexpr std::size_t kProducer = 1;
constexpr std::size_t kEpochField = 2;
constexpr std::size_t kFirst = 3;
constexpr std::size_t kRows = 4;
constexpr std::size_t kKind = 5;
constexpr std::size_t kTable = 6;
constexpr std::size_t kColumnsField = 7;
constexpr std::size_t kTask = 8;
constexpr std::size_t kSource = 9;

TEST(Messages, EveryMessageComesBackAsItWasSent) {
  testing::Random random(testing::chosen_seed());
  for (int round = 0; round < 200; ++round) {
    for (std::size_t type = 0; type < testing::kMessageTypes; ++type) {
      const Message sent = testing::random_message(type, random);
      const auto received = decode(encode(sent));
      ASSERT_TRUE(received) << received.error().what << " in " << testing::describe(sent);
      ASSERT_EQ(received->index(), type);
      ASSERT_EQ(testing::describe(*received), testing::describe(sent));
    }
  }
}

TEST(Messages, AHeaderThatWasStoredComesBackAsItWas) {
  const BatchHeader sent = testing::small_header();
  const Bytes frame = encode_batch_header(sent);
  const auto read = decode_batch_header(frame.view());
  ASSERT_TRUE(read) << read.error().what;
  EXPECT_EQ(testing::describe(Batch{*read, frame, {}}), testing::describe(Batch{sent, frame, {}}));
}

TEST(Messages, TheLongestFormOfEveryFieldIsReadAsWell) {
  const auto read = decode_batch_header(testing::header_of(testing::small_header_fields()));
  ASSERT_TRUE(read) << read.error().what;
  EXPECT_EQ(testing::describe(Batch{*read, {}, {}}),
            testing::describe(Batch{testing::small_header(), {}, {}}));
}

TEST(Messages, AHeaderAtEveryLimitIsTaken) {
  BatchHeader h;
  h.producer = {std::string(limits::kProducerBytes, 'p')};
  h.epoch = {limits::kEpoch};
  h.rows = limits::kBatchRows;
  h.first = {limits::kSequence - h.rows};
  h.table = std::string(limits::kNameBytes, 't');
  h.columns.assign(limits::kColumns, std::string(limits::kNameBytes, 'c'));
  h.task_duration = limits::kTaskDuration;
  h.source = std::string(limits::kSourceBytes, 's');
  const Bytes frame = encode_batch_header(h);
  const auto read = decode_batch_header(frame.view());
  ASSERT_TRUE(read) << read.error().what;
  EXPECT_EQ(testing::describe(Batch{*read, {}, {}}), testing::describe(Batch{h, {}, {}}));
  EXPECT_EQ(read->last().value, limits::kSequence - 1);
}

TEST(Messages, ADeliveryOfAnOlderBrokerWithASecondFieldIsTheSame) {
  const auto received = decode({Bytes(testing::from_hex("93 45 07 c3")), Bytes("header"), {}});
  ASSERT_TRUE(received) << received.error().what;
  EXPECT_EQ(testing::describe(*received), testing::describe(Delivery{{7}, Bytes("header"), {}}));
}

TEST(Messages, SurplusFieldsOfALaterVersionAreIgnored) {
  testing::Random random(testing::chosen_seed());
  for (std::size_t type = 0; type < testing::kMessageTypes; ++type) {
    const Message sent = testing::random_message(type, random);
    Frames frames = encode(sent);
    std::string header(frames[0].view());
    // Every header has fewer than 15 fields, so its length is in the low half of its first byte.
    ASSERT_EQ(static_cast<unsigned char>(header[0]) & 0xF0U, 0x90U);
    header[0] = static_cast<char>(static_cast<unsigned char>(header[0]) + 2);
    header += pack::text("more") + testing::from_hex("92 81 01 C0 C4 01 00");  // [{1: nil}, blob]
    frames[0] = Bytes(header);
    const auto received = decode(frames);
    ASSERT_TRUE(received) << received.error().what << " in " << testing::describe(sent);
    if (type != 3) {  // a batch keeps its header's bytes, surplus and all
      EXPECT_EQ(testing::describe(*received), testing::describe(sent));
    }
  }
}

TEST(Messages, SurplusFieldsOfAListedRowAreIgnored) {
  const std::string row = pack::array(3) + pack::number(9) + pack::text("why") + pack::nil();
  const std::string header = testing::header_of(
      {pack::number(66), pack::number(9), pack::number(1), pack::array(2) + row + row});
  const auto read = decode(testing::frames({header}));
  ASSERT_TRUE(read) << read.error().what;
  EXPECT_EQ(testing::describe(*read), "APPLIED through=9 dead=1[9:why|9:why|] ");
}

TEST(Messages, AHelloMayLeaveOutWhatWasStoredOrSent) {
  Hello sent;
  sent.producer = {"a tool"};
  const auto without = decode(encode(sent));
  ASSERT_TRUE(without) << without.error().what;
  EXPECT_FALSE(std::get<Hello>(*without).stored);
  sent.stored = Sequence{0};
  const auto with = decode(encode(sent));
  ASSERT_TRUE(with) << with.error().what;
  EXPECT_EQ(std::get<Hello>(*with).stored, Sequence{0});
  EXPECT_FALSE(std::get<Hello>(*with).sent);
  sent.sent = Sequence{7};
  EXPECT_EQ(std::get<Hello>(*decode(encode(sent))).sent, Sequence{7});
}

TEST(Messages, AHelloThatClaimsWhatNobodyCanHaveGivenIsMalformed) {
  Hello good;
  good.role = Role::producer;
  good.producer = {"00112233445566778899aabbccddeeff"};
  EXPECT_EQ(error_of(encode(good)), "");
  const auto with = [&](const auto& change) {
    Hello hello = good;
    change(hello);
    return error_of(encode(hello));
  };
  EXPECT_THAT(with([](Hello& m) { m.producer = {"myapp"}; }), HasSubstr("32 hexadecimal digits"));
  EXPECT_THAT(with([](Hello& m) { m.producer.text[5] = 'g'; }), HasSubstr("32 hexadecimal digits"));
  EXPECT_EQ(with([](Hello& m) {
              m.named = true;
              m.producer = {"myapp"};
            }),
            "");
  EXPECT_THAT(with([](Hello& m) { m.epoch = {2}; }), HasSubstr("epoch 2"));
  EXPECT_THAT(with([](Hello& m) { m.known = {1}; }), HasSubstr("knows of rows"));
  EXPECT_THAT(with([](Hello& m) { m.stored = Sequence{1}; }), HasSubstr("knows of rows"));
  const auto back = [](std::uint64_t known, std::uint64_t stored, std::uint64_t sent) {
    return [=](Hello& m) {
      m.epoch = {1};
      m.known = {known};
      m.stored = Sequence{stored};
      m.sent = Sequence{sent};
    };
  };
  EXPECT_EQ(with(back(3, 3, 3)), "");
  EXPECT_THAT(with(back(3, 0, 2)), HasSubstr("beyond the last that was sent"));
  EXPECT_THAT(with(back(0, 3, 2)), HasSubstr("beyond the last that was sent"));
}

TEST(Messages, AHelloOfAnotherVersionIsReadUpToItsVersion) {
  const auto read = decode(
      testing::frames({testing::header_of({pack::number(1), pack::number(2), pack::nil()})}));
  ASSERT_TRUE(read) << read.error().what;
  EXPECT_EQ(std::get<Hello>(*read).version, 2U);
}

TEST(Messages, AProducersIdIsCheckedAndTheNameOfAToolIsNot) {
  Hello hello;
  hello.role = Role::producer;
  hello.producer = {"a b"};
  EXPECT_THAT(error_of(encode(hello)), HasSubstr("characters outside"));
  hello.producer = {""};
  EXPECT_THAT(error_of(encode(hello)), HasSubstr("is empty"));
  hello.role = Role::tool;
  EXPECT_EQ(error_of(encode(hello)), "");
  hello.producer = {"/srv/my shared.db"};
  EXPECT_EQ(error_of(encode(hello)), "");
}

TEST(Messages, RoleZeroAndUnknownRolesAreRefused) {
  Hello hello;
  hello.producer = {"P1"};
  hello.role = static_cast<Role>(0);
  EXPECT_EQ(error_of(encode(hello)), "role is 0");
  hello.role = static_cast<Role>(4);
  EXPECT_EQ(error_of(encode(hello)), "role is 4, above the limit of 3");
}

// What was added behind `results` is there only when there is something to say.
TEST(Messages, ResultsOfAConsumerThatWorksHaveTheirOldForm) {
  Results results;
  const auto read = decode(encode(results));
  ASSERT_TRUE(read) << read.error().what;
  EXPECT_EQ(testing::describe(*read), testing::describe(results));
  EXPECT_EQ(encode(results)[0].view().front(), static_cast<char>(0x96));
  results.stats.problem = "disk full";
  EXPECT_EQ(encode(results)[0].view().front(), static_cast<char>(0x97));
  results.stats.tables = {{"pets", "no such module: m"}};
  EXPECT_EQ(encode(results)[0].view().front(), static_cast<char>(0x98));
}

TEST(Messages, MoreTablesInTroubleThanMayBeListedAreRefused) {
  Results results;
  results.stats.tables.assign(limits::kTablesListed + 1, {"pets", "x"});
  EXPECT_THAT(error_of(encode(results)), HasSubstr("tables"));
}

TEST(Messages, UnknownChoicesAreRefused) {
  EXPECT_EQ(error_of(encode(Refusal{static_cast<RefusalCode>(0), {}, ""})), "code is 0");
  EXPECT_THAT(error_of(encode(Refusal{static_cast<RefusalCode>(10), {}, ""})),
              HasSubstr("code is 10"));
  EXPECT_THAT(error_of(encode(TableAnswer{1, static_cast<TableState>(5), ""})),
              HasSubstr("state is 5"));
  Results results;
  results.results = {{{1}, static_cast<Outcome>(5), {}, 0, {}}};
  EXPECT_THAT(error_of(encode(results)), HasSubstr("outcome is 5"));
  EXPECT_EQ(error_with(kKind, pack::number(0)), "kind is 0");
  EXPECT_EQ(error_with(kKind, pack::number(5)), "kind is 5, above the limit of 4");
}

TEST(Messages, UnknownTypesAreRefused) {
  for (const std::uint64_t type : {0U, 11U, 63U, 73U, 255U}) {
    EXPECT_EQ(error_of(testing::frames({testing::header_of({pack::number(type)})})),
              "unknown message type " + std::to_string(type));
  }
  EXPECT_EQ(error_of(testing::frames({testing::header_of({pack::number(256)})})),
            "message type is 256, above the limit of 255");
}

TEST(Messages, EveryMissingFieldIsNamed) {
  const std::vector<const char*> names = {"message type",  "producer", "epoch", "first sequence",
                                          "rows",          "kind",     "table", "columns",
                                          "task duration", "source"};
  const auto fields = testing::small_header_fields();
  ASSERT_EQ(fields.size(), names.size());
  for (std::size_t kept = 0; kept < fields.size(); ++kept) {
    EXPECT_EQ(error_of_header({fields.begin(), fields.begin() + static_cast<std::ptrdiff_t>(kept)}),
              std::string(names[kept]) + " is missing");
  }
}

TEST(Messages, AFieldOfTheWrongTypeIsNamed) {
  EXPECT_EQ(error_with(kProducer, pack::number(1)), "producer is not a string");
  EXPECT_EQ(error_with(kEpochField, pack::text("7")), "epoch is not an unsigned integer");
  EXPECT_EQ(error_with(kFirst, testing::from_hex("FF")),
            "first sequence is not an unsigned integer");
  EXPECT_EQ(error_with(kFirst, testing::from_hex("D3 FF FF FF FF FF FF FF FF")),
            "first sequence is not an unsigned integer");
  EXPECT_EQ(error_with(kRows, pack::nil()), "rows is not an unsigned integer");
  EXPECT_EQ(error_with(kTable, testing::from_hex("C4 01 61")), "table is not a string");
  EXPECT_EQ(error_with(kColumnsField, testing::from_hex("81 01 02")), "columns is not an array");
  EXPECT_EQ(error_with(kColumnsField, pack::array(1) + pack::number(1)), "columns is not a string");
  EXPECT_EQ(error_of(testing::frames({testing::from_hex("80")})), "header is not an array");
  EXPECT_EQ(error_of(testing::frames({testing::from_hex("C1")})), "header is not MessagePack");
  EXPECT_EQ(error_of(testing::frames({testing::header_of({pack::text("x")})})),
            "message type is not an unsigned integer");
  EXPECT_EQ(error_of(testing::frames({testing::header_of({pack::number(68), pack::number(1)})})),
            "granted is not true or false");
}

TEST(Messages, NumbersBeyondTheirLimitsAreRefused) {
  EXPECT_EQ(error_with(kFirst, pack::number(0)), "first sequence is 0; sequences count from 1");
  EXPECT_EQ(error_with(kFirst, pack::number(limits::kSequence)),
            "a batch ends beyond the last sequence");
  EXPECT_THAT(error_with(kFirst, pack::number(limits::kSequence + 1)),
              HasSubstr("first sequence is 9223372036854775808, above the limit"));
  EXPECT_THAT(error_with(kEpochField, pack::number(limits::kEpoch + 1)), HasSubstr("epoch is"));
  EXPECT_EQ(error_with(kRows, pack::number(0)), "a batch has no rows");
  EXPECT_EQ(error_with(kRows, pack::number(10'001)), "rows is 10001, above the limit of 10000");
  EXPECT_EQ(error_with(kTask, pack::number(60'001)),
            "task duration is 60001, above the limit of 60000");
  auto definition = testing::small_header_fields();
  definition.at(kKind) = pack::number(2);
  definition.at(kRows) = pack::number(2);
  EXPECT_EQ(error_of_header(definition), "a definition has exactly one row");
}

TEST(Messages, NamesThatAreEmptyTooLongOrNoTextAreRefused) {
  EXPECT_EQ(error_with(kTable, pack::text("")), "table is empty");
  EXPECT_EQ(error_with(kTable, pack::text(std::string(257, 't'))),
            "table has 257 bytes, above the limit of 256");
  EXPECT_EQ(error_with(kTable, pack::text("p\xC3")), "table is not UTF-8 text without NUL");
  EXPECT_EQ(error_with(kTable, pack::text({"a\0b", 3})), "table is not UTF-8 text without NUL");
  EXPECT_EQ(error_with(kProducer, pack::text(std::string(65, 'p'))),
            "producer has 65 bytes, above the limit of 64");
  EXPECT_THAT(error_with(kProducer, pack::text("P/1")), HasSubstr("characters outside"));
  EXPECT_EQ(error_with(kColumnsField, pack::array(0)), "columns is empty");
  EXPECT_EQ(error_with(kColumnsField, pack::array(1) + pack::text({"a\0", 2})),
            "columns is not UTF-8 text without NUL");
  EXPECT_EQ(error_with(kSource, pack::text(std::string(65, 's'))),
            "source has 65 bytes, above the limit of 64");
}

TEST(Messages, AMessageWithTooFewOrTooManyFramesIsRefused) {
  EXPECT_EQ(error_of({}), "message has no frames");
  testing::Random random(1);
  for (std::size_t type = 0; type < testing::kMessageTypes; ++type) {
    Frames frames = encode(testing::random_message(type, random));
    frames.emplace_back(std::string("x"));
    EXPECT_THAT(error_of(frames), HasSubstr(std::to_string(frames.size()) + " frames"));
    frames.pop_back();
    frames.pop_back();
    EXPECT_THAT(error_of(frames), HasSubstr(" frame")) << type;
  }
}

TEST(Messages, FramesAboveTheirLimitAreRefused) {
  const std::string header = testing::header_of(testing::small_header_fields());
  EXPECT_EQ(error_of(testing::frames({header, std::string(limits::kRowsBytes, 'x')})), "");
  EXPECT_EQ(error_of(testing::frames({header, std::string(limits::kRowsBytes + 1, 'x')})),
            "frame of 4194305 bytes is above the limit of 4194304");
  EXPECT_EQ(error_of(testing::frames({std::string(limits::kHeaderBytes + 1, '\x91'), "x"})),
            "header has 1048577 bytes, above the limit of 1048576");
}

TEST(Messages, BytesBehindTheHeaderAreRefused) {
  EXPECT_EQ(
      error_of(testing::frames({testing::header_of({pack::number(2)}) + testing::from_hex("C0")})),
      "header has bytes after its end");
}

TEST(Messages, AHeaderOfAnotherMessageIsNoBatchHeader) {
  const auto read = decode_batch_header(encode(Stored{{1}})[0].view());
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().what, "header is not that of a batch");
}

}  // namespace
}  // namespace turnstile
