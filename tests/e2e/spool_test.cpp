// Rows that were handed over to a producer with a spool, which is then killed, with and without a
// broker: each arrives once, in order.
#include "client/spool.h"

#include <fcntl.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "client/producer.h"
#include "link/zmq_dealer.h"
#include "tests/e2e/harness.h"

namespace turnstile::e2e {
namespace {

using ::testing::HasSubstr;

class Pipe {
 public:
  Pipe() {
    if (::pipe2(ends_.data(), O_CLOEXEC) != 0) {
      throw std::runtime_error("no pipe");
    }
  }
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;
  ~Pipe() {
    close_reader();
    close_writer();
  }
  [[nodiscard]] int reader() const { return ends_[0]; }
  [[nodiscard]] int writer() const { return ends_[1]; }
  void close_reader() { close(0); }
  void close_writer() { close(1); }

 private:
  void close(std::size_t end) {
    if (ends_.at(end) >= 0) {
      ::close(std::exchange(ends_.at(end), -1));
    }
  }
  std::array<int, 2> ends_{-1, -1};
};

class SpoolE2e : public ::testing::Test {
 protected:
  std::vector<std::string> arguments(std::vector<std::string> more = {}) {
    more.insert(more.begin(), {"csv", "-", "--table", "nutrients", "--resume", "stream", "--spool",
                               spool(), "--timeout", "300ms"});
    return more;
  }
  [[nodiscard]] std::string spool() const { return system_.folder.file("rows.spool"); }

  // The last row that the spool has taken; nobody uses it.
  [[nodiscard]] std::int64_t taken() const { return taken(spool()); }

  // The same while a producer has the spool for itself: of a copy, which ends where its log does.
  [[nodiscard]] std::int64_t taken_meanwhile() const {
    const std::string copy = system_.folder.file("copy.spool");
    std::error_code missing;
    for (const char* end : {"", "-wal"}) {
      std::filesystem::remove(copy + end, missing);
      std::filesystem::copy_file(spool() + end, copy + end, missing);
    }
    return taken(copy);
  }

  [[nodiscard]] static std::int64_t taken(const std::string& path) {
    sqlite3* db = nullptr;
    std::int64_t last = 0;
    if (sqlite3_open(path.c_str(), &db) == SQLITE_OK) {
      sqlite3_stmt* statement = nullptr;
      sqlite3_prepare_v2(db,
                         "SELECT max(value, coalesce((SELECT max(last) FROM batches), 0)) "
                         "FROM turnstile_spool WHERE key='dropped'",
                         -1, &statement, nullptr);
      if (statement != nullptr && sqlite3_step(statement) == SQLITE_ROW) {
        last = sqlite3_column_int64(statement, 0);
      }
      sqlite3_finalize(statement);
    }
    sqlite3_close(db);
    return last;
  }

  static bool write_all(int fd, std::string_view text) {
    while (!text.empty()) {
      const ssize_t n = ::write(fd, text.data(), text.size());
      if (n < 0) {
        return false;
      }
      text.remove_prefix(static_cast<std::size_t>(n));
    }
    return true;
  }

  void expect_rows(std::int64_t rows) {
    EXPECT_EQ(system_.query("SELECT count(*) FROM nutrients"), rows);
    EXPECT_EQ(system_.query("SELECT count(DISTINCT id) FROM nutrients"), rows);
    EXPECT_EQ(system_.query("SELECT count(*) FROM nutrients WHERE id <> rowid"), 0)
        << "not in the order in which they were handed over";
    EXPECT_EQ(read_file(system_.folder.file("out9.txt")), expected_text_log(system_));
    Process check = system_.check();
    EXPECT_EQ(check.wait(), 0) << check.out();
  }

  // Sends what the spool keeps, and no more.
  void send_the_rest() {
    Pipe rest;
    write_all(rest.writer(), "id,name,unit_name,nutrient_nbr,rank,time\n");
    rest.close_writer();
    Process last = system_.produce(
        {"csv", "-", "--table", "nutrients", "--resume", "stream", "--spool", spool(), "--json"},
        "producer", rest.reader());
    EXPECT_EQ(last.wait(), 0) << last.err();
    EXPECT_EQ(last.json()["rows_spooled"], 0);
  }

  System system_;
};

TEST_F(SpoolE2e, StandardInputIsKeptWithoutABrokerThroughKillsAndArrivesOnceInOrder) {
  std::mt19937_64 random(test_seed());
  ::signal(SIGPIPE, SIG_IGN);
  constexpr int kStarts = 12;
  for (int start = 0; start < kStarts; ++start) {
    const std::int64_t before = taken();
    std::int64_t handed_over = before;
    Pipe input;
    Process producer = system_.produce(arguments(), "producer", input.reader());
    input.close_reader();
    // Piece after piece; killed when it has the last one, or writes it.
    const int pieces = std::uniform_int_distribution<int>(1, 4)(random);
    for (int piece = 0; piece < pieces; ++piece) {
      const auto rows = std::uniform_int_distribution<std::int64_t>(1, 400)(random);
      std::string text = nutrients_csv(rows, handed_over + 1);
      handed_over += rows;
      const auto taken_before = taken_meanwhile();
      ASSERT_TRUE(write_all(input.writer(), piece == 0 ? text : text.substr(text.find('\n') + 1)));
      if (piece + 1 < pieces || start % 3 != 0) {
        ASSERT_TRUE(system_.folder.wait_until(
            [&] { return taken_meanwhile() > taken_before || !producer.running(); }, &producer));
        ASSERT_TRUE(producer.running()) << producer.err();
      }
    }
    producer.kill();
    EXPECT_GE(taken(), before) << "what was taken is not taken back";
    EXPECT_LE(taken(), handed_over);
  }
  const std::int64_t rows = taken();
  EXPECT_GT(rows, 0);
  Process broker = system_.broker();
  Process consumer = system_.consumer();
  send_the_rest();
  expect_rows(rows);
  EXPECT_EQ(taken(), rows) << "numbers go on";
}

TEST_F(SpoolE2e, WithoutABrokerItSaysHowManyRowsAreKeptAndTheNextStartSendsThem) {
  Pipe input;
  write_all(input.writer(), nutrients_csv(5));
  input.close_writer();
  Process producer = system_.produce(arguments(), "producer", input.reader());
  EXPECT_EQ(producer.wait(), 3);
  EXPECT_THAT(producer.err(),
              HasSubstr("5 rows are kept in " + spool() + " and sent by the next start"));
  EXPECT_THAT(producer.out(), HasSubstr("5 rows are kept in"));
  Process broker = system_.broker();
  Process consumer = system_.consumer();
  // Standard input says nothing, not even a header: what is kept goes out meanwhile.
  Pipe silent;
  Process next = system_.produce(arguments(), "producer", silent.reader());
  EXPECT_TRUE(system_.wait_for_rows("nutrients", 5)) << next.err();
  EXPECT_TRUE(system_.wait_for_text_log());
  next.kill();
  expect_rows(5);
}

TEST_F(SpoolE2e, AFileGoesOnBehindTheRowsThatWereTakenFromIt) {
  const std::string file = system_.folder.file("nutrient.csv");
  write_file(file, nutrients_csv(50));
  const std::vector<std::string> with{"csv",     file,    "--resume",  "stream",
                                      "--spool", spool(), "--timeout", "300ms"};
  Process first = system_.produce(with);
  EXPECT_EQ(first.wait(), 3) << first.err();
  write_file(file, nutrients_csv(80));
  Process broker = system_.broker();
  Process consumer = system_.consumer();
  std::vector<std::string> again = with;
  again.back() = "30s";
  Process second = system_.produce(again);
  EXPECT_EQ(second.wait(), 0) << second.err();
  EXPECT_THAT(second.err(), HasSubstr("50 rows of 'stream' are taken already"));
  expect_rows(80);
}

TEST_F(SpoolE2e, AFileThatWasReplacedIsSentFromItsFirstRow) {
  const std::string file = system_.folder.file("t.csv");
  const std::vector<std::string> with{"csv",      file,        "--table", "t",
                                      "--create", "--resume",  "stream",  "--spool",
                                      spool(),    "--timeout", "300ms"};
  write_file(file, "a\nboot\n1\n2\n");
  Process first = system_.produce(with);
  EXPECT_EQ(first.wait(), 3) << first.err();
  write_file(file, "a\nboot\n7\n8\n9\n10");
  Process second = system_.produce(with);
  EXPECT_EQ(second.wait(), 3) << second.err();
  write_file(file, "a\nboot\n7\n8\n9\n1012\n");
  Process broker = system_.broker();
  Process consumer = system_.consumer();
  std::vector<std::string> again = with;
  again.back() = "30s";
  Process third = system_.produce(again);
  EXPECT_EQ(third.wait(), 0) << third.err();
  EXPECT_EQ(system_.query("SELECT count(*) FROM t"), 8);
  EXPECT_EQ(system_.query("SELECT count(*) FROM t WHERE a = '1012'"), 1);
  EXPECT_EQ(system_.query("SELECT count(*) FROM t WHERE a = 'boot'"), 2);
}

TEST_F(SpoolE2e, ASecondProcessWithTheSameSpoolIsKeptOut) {
  Pipe input;
  Process first = system_.produce(arguments(), "producer", input.reader());
  write_all(input.writer(), nutrients_csv(1));
  ASSERT_TRUE(system_.folder.wait_until([&] { return size_of(spool() + "-wal") > 0; }));
  Pipe other;
  other.close_writer();
  Process second = system_.produce(arguments(), "producer", other.reader());
  EXPECT_EQ(second.wait(), 3);
  EXPECT_THAT(second.err(), HasSubstr("another process uses the spool"));
}

TEST_F(SpoolE2e, FlagsThatDoNotGoTogetherAreWrongUsage) {
  const std::string file = system_.folder.file("nutrient.csv");
  write_file(file, nutrients_csv(1));
  for (const auto& [flags, said] : std::vector<std::pair<std::vector<std::string>, std::string>>{
           {{"csv", file, "--spool", spool()}, "--spool needs a name"},
           {arguments({"--create"}), "read the whole input first"},
           {arguments({"--order", "reverse"}), "read the whole input first"},
           {{"csv", file, "--resume", "n", "--direct", "--spool", spool()}, "--direct"},
           {{"csv", file, "--direct", "--ledger", "l"}, "--ledger does not go with --direct"}}) {
    Process producer = system_.produce(flags);
    EXPECT_EQ(producer.wait(), 2) << said;
    EXPECT_THAT(producer.err(), HasSubstr(said));
  }
  EXPECT_FALSE(std::filesystem::exists(spool()));
}

// A program that uses the library: it hands over row after row, and tells of each that was taken.
[[noreturn]] void hand_over(const std::string& endpoint, const std::string& path,
                            std::uint32_t rows_a_sync, int tell) {
  auto spool = Spool::open({path, SpoolOptions{}.limit_bytes, {}}, {"program"});
  auto link = ZmqDealer::connect(endpoint);
  if (!spool || !link) {
    ::_exit(2);
  }
  ProducerOptions options;
  options.id = {"program"};
  options.spool = spool->get();
  Producer producer(**link, std::move(options));
  if (!producer.start()) {
    ::_exit(3);
  }
  producer.into("nutrients", {"id", "name"});
  for (std::uint64_t row = (*spool)->last().value + 1;; ++row) {
    const std::string id = std::to_string(row);
    if (!producer.append(std::array<std::string_view, 2>{id, "Vitamin"})) {
      ::_exit(4);
    }
    if (row % rows_a_sync == 0) {
      if (!producer.sync_spool() || ::write(tell, &row, sizeof row) != sizeof row) {
        ::_exit(5);
      }
    }
  }
}

TEST_F(SpoolE2e, EveryRowThatAProgramHandedOverArrivesOnceHoweverOftenItIsKilled) {
  std::mt19937_64 random(test_seed());
  constexpr int kSpoolKills = 30;
  std::uint64_t taken_through = 0;
  std::optional<Process> broker;
  std::optional<Process> consumer;
  for (int kill = 0; kill < kSpoolKills; ++kill) {
    if (kill ==
        kSpoolKills * 2 / 3) {  // from here on there is somebody to send to, and sometimes not
      broker.emplace(system_.broker());
      consumer.emplace(system_.consumer());
    } else if (kill > kSpoolKills * 2 / 3 && kill % 3 == 0) {
      broker->kill();
      *broker = system_.broker();
    }
    Pipe told;
    const auto rows_a_sync = std::uniform_int_distribution<std::uint32_t>(1, 20)(random);
    const pid_t program = ::fork();
    ASSERT_GE(program, 0);
    if (program == 0) {
      hand_over(system_.endpoint, spool(), rows_a_sync, told.writer());
    }
    told.close_writer();
    // Killed behind so many that it told of, at whatever it does then.
    int left = std::uniform_int_distribution<int>(1, 60)(random);
    std::uint64_t row = 0;
    while (left-- > 0 && ::read(told.reader(), &row, sizeof row) == sizeof row) {
      EXPECT_GT(row, taken_through);
      taken_through = row;
    }
    ::kill(program, SIGKILL);
    while (::read(told.reader(), &row, sizeof row) == sizeof row) {
      taken_through = row;
    }
    int status = 0;
    ASSERT_EQ(::waitpid(program, &status, 0), program);
    ASSERT_TRUE(WIFSIGNALED(status)) << "it ended by itself: " << WEXITSTATUS(status);
  }
  const auto link = ZmqDealer::connect(system_.endpoint);
  const auto spooled = Spool::open({spool(), SpoolOptions{}.limit_bytes, {}}, {"program"});
  ASSERT_TRUE(link && spooled);
  ProducerOptions options;
  options.id = {"program"};
  options.spool = spooled->get();
  Producer producer(**link, std::move(options));
  ASSERT_TRUE(producer.start());
  const auto rows = static_cast<std::int64_t>((*spooled)->last().value);
  EXPECT_GE(rows, static_cast<std::int64_t>(taken_through));
  EXPECT_TRUE(producer.finish(std::chrono::steady_clock::now() + kPatience).value_or(false));
  expect_rows(rows);
}

}  // namespace
}  // namespace turnstile::e2e
