// SQLite runs out of memory at each place where it can: the caller gets an error that says so, what
// was not committed is not told, and once there is memory again the same batches give what they
// would have given: no row lost, none twice, none a dead letter that is not bad itself.
#include <algorithm>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "store/direct_writer.h"
#include "tests/store/fixture.h"
#include "tests/support/database.h"
#include "tests/support/failing_memory.h"
#include "tests/support/memory_folder.h"
#include "tests/support/sanitized.h"

namespace turnstile::test {
namespace {

using namespace std::string_view_literals;
using ::testing::AnyOf;

constexpr std::int64_t kNow = 1'700'000'000'000;
constexpr const char* kTables =
    "CREATE TABLE u(name TEXT UNIQUE, amount INTEGER CHECK (amount >= 0));"
    "CREATE TABLE careful(id INTEGER PRIMARY KEY, v NOT NULL ON CONFLICT ROLLBACK);";

// As far as it comes: the first error ends it.
class Chain {
 public:
  template <typename Step>
  Chain& then(Step step) {
    if (!error_) {
      if (auto done = step(); !done) {
        error_ = done.error();
      }
    }
    return *this;
  }
  [[nodiscard]] const std::optional<Error>& error() const { return error_; }

 private:
  std::optional<Error> error_;
};

class NoMemoryTest : public ::testing::Test {
 protected:
  [[nodiscard]] std::filesystem::path db() const { return folder_ / "t.db"; }
  [[nodiscard]] std::filesystem::path text() const { return folder_ / "out9.txt"; }

  store::TargetOptions with_text() {
    store::TargetOptions all;
    all.path = db();
    all.now_ms = [this] { return now_ms_; };
    all.text_path = text();
    all.text_table = "u";
    return all;
  }

  void begin_anew() {
    for (const char* name : {"t.db", "t.db-wal", "t.db-shm", "out9.txt"}) {
      std::filesystem::remove(folder_ / name);
    }
    now_ms_ = kNow;
    run_sql(db(), std::string("PRAGMA journal_mode=WAL;") + kTables);
  }

  static Result<void> send(store::Target& target, BatchHeader header, const std::vector<Row>& rows,
                           BatchKind kind = BatchKind::insert) {
    header.kind = kind;
    const Bytes frame = frame_of(rows);
    return target.begin()
        .and_then([&] { return target.apply(header, frame).map([](auto&&) {}); })
        .and_then([&] { return target.commit(); });
  }

  // All kinds of batches, questions and chores, in the order of a consumer's day.
  std::optional<Error> day() {
    std::unique_ptr<store::Target> target;
    Chain chain;
    chain
        .then([&]() -> Result<void> {
          auto opened = store::Target::open(with_text());
          if (!opened) {
            return tl::make_unexpected(opened.error());
          }
          target = std::move(*opened);
          return {};
        })
        .then([&] { return target->take_over(); })
        .then([&] {
          return send(*target, header_of("p", 1, 4, "u", {"name", "amount"}),
                      {{"a"sv, 1L}, {"a"sv, 2L}, {"b"sv, -1L}, {"c"sv, 3L}});
        })
        .then([&] {
          return send(*target, header_of("q", 1, 3, "careful", {"v"}),
                      {{"1"sv}, {Null{}}, {"3"sv}});
        })
        .then([&] {
          return send(*target, header_of("r", 1, 1, "made", {"x", "y"}), {{"INTEGER"sv, "TEXT"sv}},
                      BatchKind::define);
        })
        .then([&] { return send(*target, header_of("r", 2, 1, "pets", {"name"}), {{"Rex"sv}}); })
        .then([&] {
          return send(*target, header_of("tool", 1, 1, "u", {"name", "amount"}),
                      {{1L, "retried"sv, 5L}}, BatchKind::retry);
        })
        .then([&] {
          return send(*target, header_of("tool", 2, 2, "turnstile_dead_letters", {"id"}),
                      {{2L}, {77L}}, BatchKind::discard);
        })
        .then([&] { return target->progress({"p"}, {}); })
        .then([&] { return target->check_table("nutrients", {"id"}); });
    return chain.error() || !target->text_log_is_behind() ? chain.error()
                                                          : target->text_log_error();
  }

  // After forty days in which only q was heard of.
  void grow_old() const {
    run_sql(db(),
            "UPDATE turnstile_producers SET updated_at_ms = updated_at_ms - 40 * 86400000 "
            "WHERE producer <> 'q'");
  }

  // All but q are forgotten.
  std::optional<Error> late_day() {
    auto target = store::Target::open(with_text());
    if (!target) {
      return target.error();
    }
    Chain chain;
    chain.then([&] { return (*target)->take_over(); })
        .then([&] { return send(**target, header_of("q", 4, 1, "u", {"name"}), {{"late"sv}}); })
        .then([&] { return (*target)->housekeeping(); });
    return chain.error();
  }

  [[nodiscard]] std::string all() const {
    return run_sql(db(),
                   "SELECT * FROM u; SELECT * FROM careful; SELECT * FROM made; "
                   "SELECT * FROM pets; SELECT producer, through, rows_applied, rows_dead, "
                   "changes, letters_gone FROM turnstile_producers; SELECT producer, sequence, "
                   "kind, reason, live FROM turnstile_dead_letters; SELECT table_name, length, "
                   "last_rowid FROM turnstile_text_log; PRAGMA integrity_check") +
           read_text(text());
  }

  // `work` with the nth allocation failing, for each n; `afterwards` looks at what became of it.
  static void fail_each(FailingMemory& memory, bool and_after, const std::function<void()>& before,
                        const std::function<std::optional<Error>()>& work,
                        const std::function<void()>& afterwards) {
    before();
    memory.fail_no_more();
    const auto sound = work();
    ASSERT_FALSE(sound) << sound->what;
    const int allocations = memory.allocations();
    // Some hundreds of them, and others whenever the code changes.
    const int runs = (and_after ? 100 : 500) / (kSanitized ? 5 : 1);
    const int stride = std::max(1, allocations / runs);
    int told = 0;
    for (int nth = 1; nth <= allocations; nth += stride) {
      before();
      memory.fail(nth, and_after);
      const auto error = work();
      memory.fail_no_more();
      SCOPED_TRACE("allocation " + std::to_string(nth) + " of " + std::to_string(allocations));
      if (error) {
        ++told;
        EXPECT_THAT(error->code, AnyOf(Errc::full, Errc::unreachable, Errc::io, Errc::locked))
            << error->what;
      }
      afterwards();
      if (HasFailure()) {
        return;
      }
    }
    EXPECT_GT(told, kSanitized ? 3 : 30);
  }

  MemoryFolder folder_;
  std::int64_t now_ms_ = kNow;
};

TEST_F(NoMemoryTest, AtAnyAllocationOfTheTargetTheSameBatchesStillGiveTheSame) {
  FailingMemory memory;
  begin_anew();
  ASSERT_FALSE(day());
  const std::string expected = all();
  for (const bool and_after : {false, true}) {
    fail_each(
        memory, and_after, [&] { begin_anew(); }, [&] { return day(); },
        [&] {
          const auto error = day();
          EXPECT_FALSE(error) << error->what;
          EXPECT_EQ(all(), expected);
        });
  }
}

TEST_F(NoMemoryTest, WhatIsForgottenIsForgottenOnceAndAsAWhole) {
  FailingMemory memory;
  const auto before = [&] {
    begin_anew();
    ASSERT_FALSE(day());
    grow_old();
  };
  before();
  ASSERT_FALSE(late_day());
  const std::string expected = all();
  EXPECT_EQ(run_sql(db(), "SELECT count(*) FROM turnstile_producers"), "1\n");
  fail_each(
      memory, false, before, [&] { return late_day(); },
      [&] {
        const auto error = late_day();
        EXPECT_FALSE(error) << error->what;
        EXPECT_EQ(all(), expected);
      });
}

TEST_F(NoMemoryTest, ADirectWriterThatRunsOutOfItSaysSoAndCommittedNothingByHalves) {
  FailingMemory memory;
  const auto day = [&]() -> std::optional<Error> {
    store::DirectOptions direct;
    direct.path = db();
    direct.text_path = text();
    direct.text_table = "u";
    store::DirectWriter writer(std::move(direct));
    const auto write = [&](const BatchHeader& header, const std::vector<Row>& rows) {
      const Bytes frame = frame_of(rows);
      return writer.write(header, frame.view());
    };
    Chain chain;
    chain
        .then([&] {
          return write(header_of("p", 1, 3, "u", {"name", "amount"}),
                       {{"a"sv, 1L}, {"a"sv, 2L}, {"c"sv, 3L}});
        })
        .then([&] {
          auto header = header_of("p", 4, 1, "made", {"x"});
          header.kind = BatchKind::define;
          return write(header, {{"INTEGER"sv}});
        })
        .then([&] { return write(header_of("p", 5, 1, "pets", {"name"}), {{"Rex"sv}}); })
        .then([&] { return writer.check_table("u", {"name"}); });
    return chain.error();
  };
  for (const bool and_after : {false, true}) {
    fail_each(
        memory, and_after, [&] { begin_anew(); }, day,
        [&] {
          const std::string rows = run_sql(db(), "SELECT count(*) FROM u; PRAGMA integrity_check");
          EXPECT_THAT(rows, AnyOf("0\nok\n", "2\nok\n"));
        });
  }
}

}  // namespace
}  // namespace turnstile::test
