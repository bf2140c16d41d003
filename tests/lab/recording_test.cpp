#include "lab/recording.h"

#include <sys/stat.h>

#include <array>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "events/event_sink.h"
#include "lab/found.h"
#include "lab/plan.h"
#include "tests/lab/events.h"
#include "tests/support/folder.h"

namespace turnstile::lab {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

TEST(EventLine, IsReadBackAsItWasWritten) {
  Event event;
  event.kind = EventKind::refused;
  event.time_ns = 1234567890123456789;
  event.process = "P1";
  event.pid = 42;
  event.producer = "0123456789abcdef0123456789abcdef";
  event.first = 7;
  event.rows = 2;
  event.row = "Ace";
  event.resource = Resource::text;
  event.error = "database is \"locked\"";
  const std::string line = to_line(event);
  EXPECT_EQ(line.find('\n'), line.size() - 1);
  const auto read = parse_event(line);
  ASSERT_TRUE(read.has_value());
  EXPECT_EQ(to_line(*read), line);
  EXPECT_EQ(read->error, event.error);
  EXPECT_EQ(read->time_ns, event.time_ns);
}

// A recording may come from another user, and is shown on a terminal.
TEST(EventLine, TerminalControlCharactersAreReadEscaped) {
  const auto read = parse_event(
      R"({"t":1,"kind":"refused","process":"P\u001b[2J","row":"\u202eecA","error":"a\nb"})");
  ASSERT_TRUE(read);
  EXPECT_EQ(read->process, "P\\x1b[2J");
  EXPECT_EQ(read->row, "\\xe2\\x80\\xaeecA");
  EXPECT_EQ(read->error, "a\\nb");
  Event event = *read;
  event.error = "a\nb";
  const std::string line = to_line(event);
  EXPECT_EQ(line.find('\n'), line.size() - 1);
}

TEST(EventLine, StaysShortAndValidWithAnyContent) {
  Event event;
  event.process = std::string(5000, '\x01');
  event.producer = std::string(5000, '\xff');
  event.row = std::string(5000, '"');
  event.table = std::string(5000, '\\');
  event.error = std::string(5000, '\x02');
  event.rows = UINT32_MAX;
  event.first = UINT64_MAX;
  const std::string line = to_line(event);
  EXPECT_LE(line.size(), kEventBytes);
  EXPECT_TRUE(nlohmann::json::accept(line));
}

TEST(EventLine, LinesThatAreNoEventAreSkipped) {
  for (const char* line :
       {"", "{}", "[]", "null", "{\"t\":1,\"kind\":\"trying\"}",
        "{\"t\":1,\"kind\":\"else\",\"process\":\"a\"}",
        "{\"t\":\"1\",\"kind\":\"trying\",\"process\":\"a\"}", "{\"t\":1,", "\xff"}) {
    EXPECT_FALSE(parse_event(line).has_value()) << line;
  }
  const auto odd = parse_event(
      R"({"t":1,"kind":"lock","process":"a","first":"x","rows":null,"row":5,"new":{"a":1}})");
  ASSERT_TRUE(odd.has_value());
  EXPECT_EQ(odd->rows, 0U);
  EXPECT_THAT(odd->row, IsEmpty());
}

TEST(EventSink, LinesOfManyWritersNeverMix) {
  const Folder folder;
  const std::string path = folder.path() / "events.ndjson";
  constexpr int kEach = 200;
  const auto write = [&](const std::string& process) {
    const auto sink = EventSink::open(path, process);
    ASSERT_TRUE(sink.has_value());
    BatchHeader header;
    header.producer = {process};
    header.first = {1};
    header.rows = 1;
    for (int i = 0; i < kEach; ++i) {
      (*sink)->about(EventKind::trying, header, std::string(60, 'x'));
    }
  };
  std::array<std::thread, 4> writers;
  for (std::size_t i = 0; i < writers.size(); ++i) {
    writers.at(i) = std::thread(write, "P" + std::to_string(i));
  }
  for (auto& writer : writers) {
    writer.join();
  }
  LineReader reader;
  std::size_t events = 0;
  for (const auto line : reader.take(read_file(path))) {
    events += parse_event(line).has_value() ? 1 : 0;
  }
  EXPECT_EQ(events, writers.size() * kEach);
}

TEST(EventSink, AnUnwritableFileIsAnError) {
  const Folder folder;
  const auto sink = EventSink::open(folder.path() / "no" / "folder", "P1");
  ASSERT_FALSE(sink.has_value());
  EXPECT_EQ(sink.error().code, Errc::unreachable);
}

TEST(LineReader, JoinsPiecesIntoLines) {
  LineReader reader;
  EXPECT_THAT(reader.take("ab"), IsEmpty());
  EXPECT_THAT(reader.take("c\nde\nf"), ElementsAre("abc", "de"));
  EXPECT_THAT(reader.take(""), IsEmpty());
  EXPECT_THAT(reader.take("\n\n"), ElementsAre("f", ""));
}

Recording small_recording() {
  const auto scenario = find_scenario("crowd");
  Settings settings = (*scenario)->settings;
  settings.rows = 200;
  Recording recording;
  recording.run = make_plan(**scenario, Mode::queued, settings).run;
  recording.run.began_ns = began_ns();
  recording.run.wall = "2026-01-02T03:04:05+00:00";
  recording.events = Events("C01").trying(1, 1, "C01-1").acknowledged(9, 1).all();
  for (const LaneInfo& lane : recording.run.lanes) {
    for (const auto& row : lane.wanted) {
      recording.facts.rows.push_back({"readings", row});
    }
  }
  recording.facts.integrity = "ok";
  recording.facts.text = TextFacts{4, 3, 2, 1};
  return recording;
}

std::string lines_of(const Recording& recording) {
  std::string lines = lines_before(recording.run);
  for (const Event& event : recording.events) {
    lines += to_line(event);
  }
  return lines + lines_after(recording);
}

TEST(Recording, IsReadBackAsItWasWritten) {
  const Folder folder;
  const Recording written = small_recording();
  const std::string lines = lines_of(written);
  LineReader reader;
  for (const auto line : reader.take(lines)) {
    EXPECT_LT(line.size(), kEventBytes);
  }
  const auto read = read_recordings(folder.file("events.ndjson", lines + lines));
  ASSERT_TRUE(read.has_value()) << read.error().what;
  ASSERT_THAT(*read, SizeIs(2));
  for (const Recording& one : *read) {
    EXPECT_EQ(one.run.settings, written.run.settings);
    EXPECT_EQ(one.run.mode, Mode::queued);
    EXPECT_EQ(one.run.began_ns, written.run.began_ns);
    EXPECT_EQ(one.run.wall, written.run.wall);
    ASSERT_EQ(one.run.lanes.size(), written.run.lanes.size());
    EXPECT_EQ(one.run.lanes.front().wanted, written.run.lanes.front().wanted);
    EXPECT_EQ(one.run.lanes.back().role, Role::consumer);
    EXPECT_EQ(one.facts.rows, written.facts.rows);
    EXPECT_EQ(one.facts.text, written.facts.text);
    EXPECT_EQ(one.facts.integrity, "ok");
    EXPECT_FALSE(one.stopped);
    ASSERT_EQ(one.events.size(), 2U);
    EXPECT_EQ(to_line(one.events[1]), to_line(written.events[1]));
  }
}

TEST(Recording, WithoutItsLastLineCountsAsStopped) {
  const Folder folder;
  const std::string lines = lines_of(small_recording());
  const auto read =
      read_recordings(folder.file("events.ndjson", lines.substr(0, lines.rfind("{\"t\""))));
  ASSERT_TRUE(read.has_value());
  EXPECT_TRUE(read->front().stopped);
}

TEST(Recording, OtherFilesAreRefusedWithAReason) {
  const Folder folder;
  EXPECT_EQ(read_recordings(folder.path() / "none").error().code, Errc::unreachable);
  EXPECT_THAT(read_recordings(folder.file("a", "hello\n{}\n")).error().what, HasSubstr("no run"));
  EXPECT_THAT(
      read_recordings(folder.file("b", R"({"t":1,"kind":"run","process":"lab","format":2})"))
          .error()
          .what,
      HasSubstr("format 2"));
  EXPECT_THAT(
      read_recordings(folder.file("c", R"({"t":1,"kind":"run","process":"lab","format":1})"))
          .error()
          .what,
      HasSubstr("malformed"));
}

}  // namespace
}  // namespace turnstile::lab
