// PROTOCOL.md against the code: its example, its type numbers, its fields and its limits.
#include <cstdint>
#include <fstream>
#include <iomanip>
#include <map>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "proto/limits.h"
#include "proto/messages.h"
#include "proto/rows.h"
#include "tests/proto/wire_testing.h"

namespace turnstile {
namespace {

std::vector<std::string> lines_of_protocol() {
  std::ifstream file(TURNSTILE_PROTO_FOLDER "/PROTOCOL.md");
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);) {
    lines.push_back(line);
  }
  return lines;
}

std::string hex(std::string_view bytes) {
  std::ostringstream out;
  for (const char c : bytes) {
    out << std::hex << std::setw(2) << std::setfill('0')
        << static_cast<int>(static_cast<unsigned char>(c)) << ' ';
  }
  return out.str();
}

struct Frame {
  std::string title;
  std::string bytes;
  bool operator==(const Frame&) const = default;
};

std::ostream& operator<<(std::ostream& out, const Frame& frame) {
  return out << frame.title << ": " << hex(frame.bytes);
}

// The block marked hex: a title at the line's beginning, then indented bytes, each line with a
// comment behind a semicolon.
std::vector<Frame> example_in_protocol() {
  std::vector<Frame> frames;
  bool inside = false;
  for (const std::string& line : lines_of_protocol()) {
    if (line == "```hex") {
      inside = true;
    } else if (line == "```") {
      inside = false;
    } else if (inside && !line.empty() && line[0] != ' ') {
      frames.push_back({line, ""});
    } else if (inside && !frames.empty()) {
      frames.back().bytes += testing::from_hex(line.substr(0, line.find(';')));
    }
  }
  return frames;
}

std::vector<Frame> example_as_encoded() {
  Hello hello;
  hello.role = Role::producer;
  hello.producer = {"00112233445566778899aabbccddeeff"};
  hello.stored = Sequence{0};
  Welcome welcome;
  welcome.broker = "ffeeddccbbaa99887766554433221100";
  welcome.epoch = {1};
  welcome.credit_bytes = 1'048'576;
  welcome.consumer_attached = true;
  BatchHeader header;
  header.producer = hello.producer;
  header.epoch = welcome.epoch;
  header.first = {1};
  header.rows = 1;
  header.table = "pets";
  header.columns = {"name", "breed"};
  RowsEncoder rows;
  rows.add(std::vector<std::string_view>{"Ace", "Dog"});

  std::vector<Frame> frames;
  const auto add = [&](const std::string& title, const Message& message) {
    const Frames encoded = encode(message);
    for (std::size_t i = 0; i < encoded.size(); ++i) {
      const std::string which = encoded.size() == 1 ? "" : i == 0 ? ", frame 1" : ", frame 2";
      frames.push_back({title + which, std::string(encoded[i].view())});
    }
  };
  add("HELLO, producer to broker", hello);
  add("WELCOME, broker to producer", welcome);
  add("BATCH, producer to broker", Batch{header, encode_batch_header(header), rows.take()});
  add("STORED, broker to producer", Stored{{1}});
  add("APPLIED, broker to producer", Applied{{1}, 0, {}});
  add("BYE, producer to broker", Bye{});
  return frames;
}

TEST(ProtocolText, TheExamplesBytesAreWhatTheEncoderWrites) {
  EXPECT_EQ(example_in_protocol(), example_as_encoded());
}

TEST(ProtocolText, TheExamplesBytesAreDecoded) {
  const auto frames = example_in_protocol();
  ASSERT_EQ(frames.size(), 7U);
  for (std::size_t i = 0; i < frames.size(); ++i) {
    Frames message = {Bytes(frames[i].bytes)};
    if (i == 2) {
      message.emplace_back(frames[++i].bytes);
    }
    const auto decoded = decode(message);
    EXPECT_TRUE(decoded) << frames[i].title << ": " << decoded.error().what;
  }
}

// By the message's heading, such as "BATCH (4)": how many fields its table lists.
std::map<std::string, int> fields_in_protocol() {
  std::map<std::string, int> fields;
  std::string heading;
  bool is_table_of_fields = false;
  for (const std::string& line : lines_of_protocol()) {
    if (line.starts_with("#")) {
      heading = line.substr(line.find(' ') + 1);
      fields.emplace(heading, 0);
    }
    is_table_of_fields = line.starts_with("| no. |") || (is_table_of_fields && !line.empty());
    if (is_table_of_fields && line.starts_with("| " + std::to_string(fields[heading] + 1) + " |")) {
      ++fields[heading];
    }
  }
  return fields;
}

TEST(ProtocolText, EveryMessageIsThereWithItsNumberAndAllItsFields) {
  const auto documented = fields_in_protocol();
  testing::Random random(1);
  for (std::size_t type = 0; type < testing::kMessageTypes; ++type) {
    const Message message = testing::random_message(type, random);
    const std::string described = testing::describe(message);
    const Frames frames = encode(message);
    const auto byte = [&](std::size_t i) {
      return static_cast<unsigned char>(frames[0].view()[i]);
    };
    const std::string heading =
        described.substr(0, described.find(' ')) + " (" + std::to_string(byte(1)) + ")";
    ASSERT_TRUE(documented.contains(heading)) << heading;
    EXPECT_EQ(documented.at(heading), (byte(0) & 0x0FU) - 1) << heading;
  }
}

std::string with_commas(std::uint64_t number) {
  std::string digits = std::to_string(number);
  for (std::size_t at = digits.size(); at > 3;) {
    at -= 3;
    digits.insert(at, ",");
  }
  return digits;
}

TEST(ProtocolText, TheLimitsAreThoseOfTheCode) {
  const std::vector<std::pair<const char*, std::uint64_t>> limits = {
      {"a header frame", limits::kHeaderBytes},
      {"a rows frame, or any other second or third frame", limits::kRowsBytes},
      {"rows of a batch", limits::kBatchRows},
      {"values of a batch", limits::kBatchValues},
      {"columns of a batch, values of a row", limits::kColumns},
      {"a table's or a column's name", limits::kNameBytes},
      {"a producer id", limits::kProducerBytes},
      {"a source", limits::kSourceBytes},
      {"any other text in a header", limits::kReasonBytes},
      {"dead letters named in one list", limits::kDeadListed},
      {"results in one RESULTS", limits::kResultsListed},
      {"tables in one RESULTS", limits::kTablesListed},
      {"a task duration", static_cast<std::uint64_t>(limits::kTaskDuration.count())},
      {"a sequence, an epoch", limits::kSequence},
  };
  const auto lines = lines_of_protocol();
  for (const auto& [what, limit] : limits) {
    const std::string begin = std::string("| ") + what + " | " + with_commas(limit) + " ";
    bool found = false;
    for (const std::string& line : lines) {
      found = found || line.starts_with(begin);
    }
    EXPECT_TRUE(found) << begin;
  }
}

}  // namespace
}  // namespace turnstile
