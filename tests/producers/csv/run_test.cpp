#include "producers/csv/run.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/descriptor.h"
#include "tests/client/fake_broker.h"
#include "tests/support/folder.h"

namespace turnstile {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// While this lives, standard error is a terminal of this many columns.
class Terminal {
 public:
  explicit Terminal(unsigned short columns)
      : master_(::posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK)), before_(::dup(STDERR_FILENO)) {
    EXPECT_EQ(::grantpt(master_.get()) + ::unlockpt(master_.get()), 0);
    std::array<char, 128> name{};
    EXPECT_EQ(::ptsname_r(master_.get(), name.data(), name.size()), 0);
    const Descriptor slave(::open(name.data(), O_RDWR | O_NOCTTY));
    const winsize size{24, columns, 0, 0};
    EXPECT_EQ(::ioctl(slave.get(), TIOCSWINSZ, &size), 0);
    ::dup2(slave.get(), STDERR_FILENO);
  }
  Terminal(const Terminal&) = delete;
  Terminal& operator=(const Terminal&) = delete;
  ~Terminal() { ::dup2(before_.get(), STDERR_FILENO); }
  std::string read() const {
    std::string text;
    std::array<char, 4096> bytes{};
    for (ssize_t got = 0; (got = ::read(master_.get(), bytes.data(), bytes.size())) > 0;) {
      text.append(bytes.data(), static_cast<std::size_t>(got));
    }
    return text;
  }

 private:
  Descriptor master_;
  Descriptor before_;
};

// Returns two rows and then fails like a disk.
class FailingSource final : public csv::RowSource {
 public:
  FailingSource() {
    facts_.name = "rows.csv";
    facts_.columns = {"a"};
  }
  Result<std::optional<csv::Item>> next() override {
    if (++given_ > 2) {
      return fail(Errc::io, "reading rows.csv failed");
    }
    return csv::Item(csv::Record{value_, 1, 0, 1});
  }
  Result<csv::Skipped> skip(std::uint64_t /*rows*/) override {
    return fail(Errc::io, "reading rows.csv failed");
  }
  csv::Progress progress() const override { return {}; }

 private:
  int given_ = 0;
  std::array<std::string_view, 1> value_{"1"};
};

class CsvRunTest : public ::testing::Test {
 protected:
  CsvRunTest() { job_.table = "t"; }

  void open(const std::string& text, csv::Order order = csv::Order::file) {
    csv::CsvOptions options;
    options.path = folder_.file("rows.csv", text);
    options.order = order;
    options.infer_types = job_.create;
    options.keeps_mark = keeps_mark_;
    auto source = csv::open_csv(options);
    ASSERT_TRUE(source) << source.error().what;
    source_ = std::move(*source);
  }

  Report run() {
    ProducerOptions options;
    options.id = {"p"};
    options.named = !job_.resume_name.empty();
    options.source = job_.source;
    const CsvRun* at_work = nullptr;
    options.source_now = [&] { return at_work == nullptr ? job_.source : at_work->source_now(); };
    options.clock = broker_.clock();
    options.coarse_clock = options.clock;
    options.interrupted = [this] { return stopping_.now(); };
    options.batch_rows = batch_rows_;
    Producer producer(broker_, std::move(options));
    ProgressBar bar(wants_bar_);
    CsvRun run(producer, *source_, job_, stopping_, bar,
               [this](const std::string& line) { log_.push_back(line); });
    at_work = &run;
    return run.run();
  }

  // One run of a named stream on `text`; returns its rows. The broker remembers them for the next
  // run.
  std::vector<std::string> run_on(const std::string& text) {
    job_.resume_name = "n";
    keeps_mark_ = true;
    open(text);
    job_.source = csv_source_of(*source_, "t", csv::Order::file, job_.create);
    broker_.sent.clear();
    broker_.to_producer.clear();
    broker_.on_wait = [this] {
      if (when_waiting_) {
        when_waiting_();
      }
      broker_.to_producer.push_back(Applied{broker_.welcome.through, 0, {}});
    };
    report_ = run();
    if (const auto batches = broker_.all<Batch>(); !batches.empty()) {
      broker_.welcome.through = batches.back().header.last();
      broker_.welcome.source = batches.back().header.source;
      EXPECT_LE(broker_.welcome.source.size(), limits::kSourceBytes);
    }
    return rows();
  }

  // The text of each row sent; NULL appears as NULL.
  std::vector<std::string> rows() {
    std::vector<std::string> rows;
    for (const auto& batch : broker_.all<Batch>()) {
      DecodedRows decoded;
      EXPECT_TRUE(decode_rows(batch.rows_frame.view(), batch.header.rows, decoded));
      for (std::size_t i = 0; i < decoded.rows(); ++i) {
        std::string text = batch.header.kind == BatchKind::define ? "define:" : "";
        for (const auto& value : decoded.row(i)) {
          const auto* field = std::get_if<std::string_view>(&value);
          const auto* integer = std::get_if<std::int64_t>(&value);
          text += (field != nullptr     ? std::string(*field)
                   : integer != nullptr ? "=" + std::to_string(*integer)
                                        : "NULL") +
                  ";";
        }
        rows.push_back(text);
      }
    }
    return rows;
  }

  const Folder folder_;
  FakeBroker broker_;
  CsvJob job_;
  std::uint32_t batch_rows_ = 1000;
  bool wants_bar_ = false;
  bool keeps_mark_ = false;
  Report report_;
  std::function<void()> when_waiting_;
  std::unique_ptr<csv::RowSource> source_;
  int stops_ = 0;
  Stopping stopping_{[this] { return stops_; }};
  std::vector<std::string> log_;
};

TEST_F(CsvRunTest, RowsGoInFileOrderWithTheHeaderAsColumns) {
  open("a,b\n1,2\n3,4\n5,6\n");
  const Report report = run();
  EXPECT_THAT(rows(), ElementsAre("1;2;", "3;4;", "5;6;"));
  EXPECT_THAT(broker_.all<Batch>().front().header.columns, ElementsAre("a", "b"));
  EXPECT_EQ(report.rows_read, 3U);
  EXPECT_EQ(report.summary.applied, 3U);
  EXPECT_EQ(exit_code_of(report), 0);
}

TEST_F(CsvRunTest, ReverseOrderSendsTheLastRowFirst) {
  open("a,b\n1,2\n3,4\n5,6\n", csv::Order::reverse);
  run();
  EXPECT_THAT(rows(), ElementsAre("5;6;", "3;4;", "1;2;"));
}

TEST_F(CsvRunTest, LimitSendsTheFirstRowsOfTheStream) {
  job_.limit = 2;
  open("a\n1\n2\n3\n", csv::Order::reverse);
  const Report report = run();
  EXPECT_THAT(rows(), ElementsAre("3;", "2;"));
  EXPECT_EQ(exit_code_of(report), 0);
}

TEST_F(CsvRunTest, HeaderOnlySendsNoRowAndIsNoError) {
  broker_.table_state = TableState::missing_table;
  open("a,b\n");
  const Report report = run();
  EXPECT_EQ(report.rows_read, 0U);
  EXPECT_EQ(exit_code_of(report), 0);
}

TEST_F(CsvRunTest, BadRowEndsTheRunAndEarlierRowsAreApplied) {
  open("a,b\n1,2\n3\n5,6\n");
  const Report report = run();
  EXPECT_THAT(rows(), ElementsAre("1;2;"));
  EXPECT_EQ(report.summary.applied, 1U);
  ASSERT_EQ(report.bad_rows.size(), 1U);
  EXPECT_EQ(report.bad_rows[0].line, 3U);
  EXPECT_THAT(log_, ElementsAre(HasSubstr("rows.csv:3: 1 field, the header has 2")));
  EXPECT_EQ(exit_code_of(report), 1);
}

TEST_F(CsvRunTest, SkippedBadRowsAreCountedAndListed) {
  job_.skip_bad_rows = true;
  open("a,b\n1,2\n3\n5,6\n7,8,9\n");
  const Report report = run();
  EXPECT_THAT(rows(), ElementsAre("1;2;", "5;6;"));
  EXPECT_EQ(report.bad_row_count, 2U);
  EXPECT_EQ(report.bad_rows[1].line, 5U);
  EXPECT_EQ(exit_code_of(report), 1);
}

TEST_F(CsvRunTest, MissingTableIsAnErrorBeforeARowIsSent) {
  broker_.table_state = TableState::missing_table;
  open("a\n1\n");
  const Report report = run();
  EXPECT_THAT(rows(), IsEmpty());
  ASSERT_TRUE(report.failure);
  EXPECT_THAT(report.failure->what, HasSubstr("there is no table 't'"));
  EXPECT_THAT(report.failure->hint, HasSubstr("use --create"));
  EXPECT_EQ(exit_code_of(report), 1);
}

TEST_F(CsvRunTest, MissingColumnIsAnErrorBeforeARowIsSent) {
  broker_.table_state = TableState::missing_column;
  open("a\n1\n");
  const Report report = run();
  EXPECT_THAT(rows(), IsEmpty());
  EXPECT_EQ(exit_code_of(report), 1);
}

TEST_F(CsvRunTest, TableThatCannotBeCheckedGetsTheRows) {
  broker_.table_state = TableState::unknown;
  open("a\n1\n");
  const Report report = run();
  EXPECT_THAT(rows(), ElementsAre("1;"));
  EXPECT_EQ(exit_code_of(report), 0);
}

TEST_F(CsvRunTest, CreateSendsTheDefinitionFirst) {
  job_.create = true;
  broker_.table_state = TableState::missing_table;
  open("id,name,mass\n1,Ace,1.5\n2,,\n,Buddy,2\n");
  const Report report = run();
  EXPECT_THAT(rows(),
              ElementsAre("define:INTEGER;TEXT;REAL;", "1;Ace;1.5;", "2;;NULL;", "NULL;Buddy;2;"));
  EXPECT_EQ(report.rows_read, 3U);
  EXPECT_EQ(report.summary.applied, 3U);
  EXPECT_EQ(exit_code_of(report), 0);
}

TEST_F(CsvRunTest, EmptyFieldsAreTextByDefault) {
  open("a,b\n1,\n");
  run();
  EXPECT_THAT(rows(), ElementsAre("1;;"));
}

TEST_F(CsvRunTest, EmptyFieldsAreNullOnRequest) {
  job_.empty = EmptyField::null;
  open("a,b\n1,\n");
  run();
  EXPECT_THAT(rows(), ElementsAre("1;NULL;"));
}

TEST_F(CsvRunTest, IntervalPassesBetweenRows) {
  job_.interval = {seconds(2), seconds(2)};
  batch_rows_ = 1;
  open("a\n1\n2\n3\n");
  const auto began = broker_.now;
  const Report report = run();
  EXPECT_EQ(report.summary.applied, 3U);
  EXPECT_GE(broker_.now - began, seconds(4));
  EXPECT_LT(broker_.now - began, seconds(5));
}

TEST_F(CsvRunTest, IntervalsOfOneSeedAreTheSameAndInTheRange) {
  job_.interval = {seconds(1), seconds(3)};
  batch_rows_ = 1;
  std::vector<milliseconds> took;
  for (const std::uint64_t seed : {1U, 1U, 2U}) {
    job_.seed = seed;
    open("a\n1\n2\n3\n4\n");
    const auto began = broker_.now;
    run();
    took.push_back(std::chrono::duration_cast<milliseconds>(broker_.now - began));
    EXPECT_GE(took.back(), seconds(3));
    EXPECT_LE(took.back(), seconds(10));
  }
  EXPECT_EQ(took[0], took[1]);
  EXPECT_NE(took[0], took[2]);
}

TEST_F(CsvRunTest, NamedStreamContinuesAfterTheStoredRows) {
  job_.resume_name = "n";
  job_.source = "0123456789abcdef";
  broker_.welcome.through = {2};
  broker_.welcome.source = job_.source;
  broker_.to_producer.clear();
  open("a\n1\n2\n3\n4\n");
  broker_.on_wait = [this] { broker_.to_producer.push_back(Applied{Sequence{4}, 0, {}}); };
  const Report report = run();
  EXPECT_THAT(rows(), ElementsAre("3;", "4;"));
  EXPECT_EQ(broker_.all<Batch>().front().header.first, Sequence{3});
  EXPECT_EQ(broker_.all<Batch>().front().header.source, job_.source);
  EXPECT_EQ(report.rows_read, 2U);
}

TEST_F(CsvRunTest, NamedStreamWithADefinitionContinuesOneRowEarlier) {
  job_.create = true;
  job_.resume_name = "n";
  broker_.welcome.through = {2};
  open("a\n1\n2\n3\n");
  run();
  EXPECT_THAT(rows(), ElementsAre("2;", "3;"));
}

TEST_F(CsvRunTest, NameOfAnotherInputIsAnErrorAndNothingIsSent) {
  job_.resume_name = "n";
  job_.source = "0123456789abcdef";
  broker_.welcome.through = {2};
  broker_.welcome.source = "fedcba9876543210";
  open("a\n1\n2\n3\n");
  const Report report = run();
  EXPECT_THAT(rows(), IsEmpty());
  ASSERT_TRUE(report.failure);
  EXPECT_THAT(report.failure->what, HasSubstr("not what 'n' started with"));
  EXPECT_EQ(exit_code_of(report), 1);
}

TEST_F(CsvRunTest, FileThatGrewIsContinued) {
  EXPECT_THAT(run_on("a\n1\n2\n"), ElementsAre("1;", "2;"));
  EXPECT_THAT(run_on("a\n1\n2\n"), IsEmpty());
  EXPECT_THAT(run_on("a\n1\n2\n3\n"), ElementsAre("3;"));
  EXPECT_EQ(broker_.welcome.through, Sequence{3});
}

TEST_F(CsvRunTest, NewFileIsSentFromItsFirstRowUnderTheNumbersThatFollow) {
  run_on("a\nboot\n1\n2\n");
  EXPECT_THAT(run_on("a\nboot\n7\n8\n9\n10\n"), ElementsAre("boot;", "7;", "8;", "9;", "10;"));
  EXPECT_EQ(broker_.all<Batch>().front().header.first, Sequence{4});
  EXPECT_THAT(run_on("a\nboot\n7\n8\n9\n10\n11\n"), ElementsAre("11;"));
  EXPECT_THAT(run_on("a\nother\n"), ElementsAre("other;"));
  EXPECT_THAT(run_on("b\nother\n"), ElementsAre("other;"));
  EXPECT_EQ(exit_code_of(report_), 0);
}

TEST_F(CsvRunTest, NewFileThatIsShorterOrAsLongOrBeginsAlikeIsSentWhole) {
  run_on("a\nboot\n1\n2\n");
  EXPECT_THAT(run_on("a\nboot\n"), ElementsAre("boot;"));
  EXPECT_THAT(run_on("a\nbood\n"), ElementsAre("bood;"));
}

TEST_F(CsvRunTest, NewFileAfterADefinitionIsSentWhole) {
  job_.create = true;
  run_on("a\n1\n2\n");
  EXPECT_THAT(run_on("a\n1\n3\n4\n"), ElementsAre("define:INTEGER;", "1;", "3;", "4;"));
  EXPECT_THAT(run_on("a\n1\n3\n4\n5\n"), ElementsAre("5;"));
}

TEST_F(CsvRunTest, NewFileIsAnErrorOnRequest) {
  run_on("a\n1\n2\n");
  job_.when_replaced = WhenReplaced::stop;
  EXPECT_THAT(run_on("a\n3\n"), IsEmpty());
  ASSERT_TRUE(report_.failure);
  EXPECT_THAT(report_.failure->what, HasSubstr("is not the file that 'n' was reading"));
  EXPECT_THAT(report_.failure->hint, HasSubstr("--when-replaced begin"));
  EXPECT_EQ(exit_code_of(report_), 1);
}

TEST_F(CsvRunTest, NewFileWaitsUntilTheLastRowIsKnown) {
  run_on("a\n1\n2\n");
  broker_.welcome.last = Sequence{5};  // of these rows, three are in flight
  when_waiting_ = [this] { broker_.welcome.through = {5}; };
  EXPECT_THAT(run_on("a\n3\n"), ElementsAre("3;"));
  EXPECT_EQ(broker_.all<Batch>().front().header.first, Sequence{6});
}

TEST_F(CsvRunTest, NewFileIsNotSentWhileTheLastRowIsUnknown) {
  run_on("a\n1\n2\n");
  broker_.welcome.through_is_sure = false;
  job_.timeout = milliseconds(1);
  EXPECT_THAT(run_on("a\n3\n"), IsEmpty());
  ASSERT_TRUE(report_.failure);
  EXPECT_EQ(report_.failure->code, Errc::unreachable);
}

TEST_F(CsvRunTest, SameFileContinuesWhileTheLastRowIsUnknown) {
  run_on("a\n1\n2\n");
  broker_.welcome.through_is_sure = false;
  EXPECT_THAT(run_on("a\n1\n2\n3\n"), ElementsAre("3;"));
}

TEST_F(CsvRunTest, SameFileForAnotherTableIsAnError) {
  run_on("a\n1\n2\n");
  broker_.welcome.source[0] = broker_.welcome.source[0] == '0' ? '1' : '0';
  EXPECT_THAT(run_on("a\n1\n2\n3\n"), IsEmpty());
  ASSERT_TRUE(report_.failure);
  EXPECT_THAT(report_.failure->what, HasSubstr("not what 'n' started with"));
}

TEST_F(CsvRunTest, EmptyFieldOfANumberColumnIsNull) {
  broker_.types = {"INTEGER", "REAL", "TEXT", "INTEGER PRIMARY KEY", "BLOB"};
  open("i,r,t,k,b\n,,,,\n1,2,3,4,5\n");
  run();
  EXPECT_THAT(rows(), ElementsAre("NULL;NULL;;;;", "1;2;3;4;=5;"));
}

TEST_F(CsvRunTest, ColumnWithoutATypeGetsIntegersAsIntegersAndTheRestAsText) {
  broker_.types = {"BLOB"};
  open("b\n12\n-3\n012\n1.5\nx\n12E4\n");
  run();
  EXPECT_THAT(rows(), ElementsAre("=12;", "=-3;", "012;", "1.5;", "x;", "12E4;"));
}

TEST_F(CsvRunTest, EmptyFieldIsTextOnRequestAndThatIsReportedOnce) {
  broker_.types = {"INTEGER", "REAL"};
  job_.empty = EmptyField::text;
  open("i,r\n,\n,\n");
  run();
  EXPECT_THAT(rows(), ElementsAre(";;", ";;"));
  EXPECT_THAT(log_, ElementsAre(HasSubstr("row 1: an empty field goes into the INTEGER column i")));
}

TEST_F(CsvRunTest, ValuesWhoseFormTheColumnChangesAreCountedAndTheFirstIsReported) {
  broker_.types = {"INTEGER", "TEXT"};
  open("i,t\n1,01\n0123,02\n12E4,x\n");
  const Report report = run();
  EXPECT_EQ(report.changed_values, 2U);
  ASSERT_TRUE(report.first_changed);
  EXPECT_EQ(report.first_changed->row, 2U);
  EXPECT_EQ(report.first_changed->column, "i");
  EXPECT_THAT(text_of(report), HasSubstr("2 values changed form in a numeric column, the first in "
                                         "row 2: i = 0123 (INTEGER)"));
  EXPECT_EQ(json_of(report)["changed_values"], 2);
  EXPECT_EQ(json_of(report)["first_changed"]["value"], "0123");
  EXPECT_EQ(exit_code_of(report), 0);
}

TEST_F(CsvRunTest, FileWithFewerRowsThanWereTakenIsAnError) {
  job_.resume_name = "n";
  broker_.welcome.through = {10};
  open("a\n1\n2\n");
  const Report report = run();
  ASSERT_TRUE(report.failure);
  EXPECT_THAT(report.failure->what, HasSubstr("10 rows of 'n' were taken before"));
}

TEST_F(CsvRunTest, InterruptSendsAndAwaitsOnlyTheRowsRead) {
  job_.interval = {seconds(1), seconds(1)};
  batch_rows_ = 1;
  open("a\n1\n2\n3\n");
  broker_.on_wait = [this] { stops_ = broker_.all<Batch>().empty() ? 0 : 1; };
  const Report report = run();
  EXPECT_THAT(rows(), ElementsAre("1;"));
  EXPECT_EQ(report.summary.applied, 1U);
  EXPECT_TRUE(report.interrupted);
  EXPECT_EQ(exit_code_of(report), 130);
}

class CsvBarTest : public CsvRunTest {
 protected:
  // What a terminal of this width got while four rows were sent.
  std::string shown(csv::Order order, unsigned short columns) {
    wants_bar_ = true;
    job_.interval = {seconds(1), seconds(1)};
    open("a\n1\n2\n3\n4\n", order);
    const Terminal terminal(columns);
    // The bar is due ten times a second of the real clock.
    broker_.on_wait = [until = std::chrono::steady_clock::now()]() mutable {
      until += milliseconds(2);
      while (std::chrono::steady_clock::now() < until) {
      }
    };
    EXPECT_EQ(exit_code_of(run()), 0);
    return terminal.read();
  }
};

TEST_F(CsvBarTest, OnATerminalItShowsTheProgressAndDisappearsAtTheEnd) {
  const std::string text = shown(csv::Order::file, 60);
  EXPECT_THAT(text, HasSubstr("[####"));
  EXPECT_THAT(text, HasSubstr(" row"));
  EXPECT_TRUE(text.ends_with("\r\x1b[K")) << text;
}

TEST_F(CsvBarTest, WithoutAKnownWidthItTakes80Columns) {
  const std::string text = shown(csv::Order::reverse, 0);
  EXPECT_THAT(text, HasSubstr("[####"));
}

TEST_F(CsvBarTest, WithALimitItShowsProgressTowardsTheLimit) {
  job_.limit = 4;
  EXPECT_THAT(shown(csv::Order::file, 60), HasSubstr(" %  "));
}

TEST_F(CsvRunTest, RowsBeforeAnInputFailureAreAppliedAndTheFailureIsReported) {
  source_ = std::make_unique<FailingSource>();
  const Report report = run();
  EXPECT_THAT(rows(), ElementsAre("1;", "1;"));
  EXPECT_EQ(report.summary.applied, 2U);
  ASSERT_TRUE(report.failure);
  EXPECT_THAT(report.failure->what, HasSubstr("reading rows.csv failed"));
  EXPECT_EQ(exit_code_of(report), 3);
}

TEST_F(CsvRunTest, InputThatFailsBeforeTheFirstNewRowSendsNothing) {
  job_.resume_name = "n";
  broker_.welcome.through = {2};
  source_ = std::make_unique<FailingSource>();
  const Report report = run();
  EXPECT_THAT(rows(), IsEmpty());
  ASSERT_TRUE(report.failure);
  EXPECT_THAT(report.failure->what, HasSubstr("reading rows.csv failed"));
}

TEST_F(CsvRunTest, TableThatCannotBeUsedIsAnErrorBeforeARowIsSent) {
  broker_.table_state = TableState::unusable;
  open("a\n1\n");
  const Report report = run();
  EXPECT_THAT(rows(), IsEmpty());
  ASSERT_TRUE(report.failure);
  EXPECT_THAT(report.failure->what, HasSubstr("cannot be used"));
}

TEST_F(CsvRunTest, BrokerThatRefusesTheProducerEndsItBeforeARowIsSent) {
  broker_.answers = false;
  broker_.on_wait = [this] {
    broker_.to_producer.push_back(Refusal{RefusalCode::malformed, {}, "what is this"});
  };
  open("a\n1\n");
  const Report report = run();
  EXPECT_THAT(rows(), IsEmpty());
  ASSERT_TRUE(report.failure);
  EXPECT_THAT(report.failure->what, HasSubstr("what is this"));
}

TEST_F(CsvRunTest, SourceDependsOnRowsTableOrderAndCreate) {
  open("a\n1\n2\n");
  const auto file = csv::Order::file;
  const std::string plain = csv_source_of(*source_, "t", file, false);
  EXPECT_EQ(plain.size(), 16U);
  EXPECT_EQ(plain, csv_source_of(*source_, "t", file, false));
  EXPECT_NE(plain, csv_source_of(*source_, "u", file, false));
  EXPECT_NE(plain, csv_source_of(*source_, "t", csv::Order::reverse, false));
  EXPECT_NE(plain, csv_source_of(*source_, "t", file, true));
  open("a\n9\n2\n");
  EXPECT_NE(plain, csv_source_of(*source_, "t", file, false));
}

TEST_F(CsvRunTest, TableIsNamedAfterTheFile) {
  EXPECT_EQ(csv_table_of("/data/foods.csv"), "foods");
  EXPECT_EQ(csv_table_of("nutrient.csv"), "nutrients");
  EXPECT_EQ(csv_table_of("-"), "");
}

}  // namespace
}  // namespace turnstile
