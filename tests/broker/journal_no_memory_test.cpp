// SQLite runs out of memory at each possible place while a journal is in use. It reports an error,
// each stored batch is there, and no other is.
#include <map>
#include <optional>
#include <set>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "broker/journal.h"
#include "tests/broker/batches.h"
#include "tests/support/database.h"
#include "tests/support/failing_memory.h"
#include "tests/support/memory_folder.h"
#include "tests/support/sanitized.h"

namespace turnstile::broker {
namespace {

using testing::AnyOf;

// A store, a read, a removal, a name, a reopening: what was promised meanwhile.
struct Usage {
  std::optional<Error> error;
  std::set<std::uint64_t> stored;   // offsets
  std::set<std::uint64_t> removed;  // these may be there or not
  std::uint64_t epoch = 0;          // at least

  template <typename T>
  bool succeeded(const Result<T>& done) {
    if (!done && !error) {
      error = done.error();
    }
    return done.has_value();
  }
};

Held held_of(const std::string& producer, std::uint64_t first, std::uint64_t last) {
  const Batch batch = batch_of(producer, first, last);
  return {{producer},       {first},      {last}, batch.header_frame,
          batch.rows_frame, std::nullopt, kStart, {}};
}

class JournalNoMemoryTest : public testing::Test {
 protected:
  Usage use() {
    Usage usage;
    auto opened = Journal::open({path_, 1 << 20, {}});
    if (!usage.succeeded(opened)) {
      return usage;
    }
    Journal& journal = *opened;
    for (std::uint64_t i = 0; i < 3 && !usage.error; ++i) {
      const Held one = held_of("a", 10 * i + 1, 10 * i + 10);
      const Held two = held_of("b", 10 * i + 1, 10 * i + 10);
      if (const auto offsets = journal.store({&one, &two}); usage.succeeded(offsets)) {
        usage.stored.insert({(*offsets)[0].value, (*offsets)[1].value});
      }
      if (i == 0 && !usage.error) {
        Window::Settled settled;
        settled.rows = 10;
        settled.bytes = one.bytes();
        settled.remove = Offset{*usage.stored.begin()};
        usage.removed = {settled.remove->value};
        journal.remove(settled);
      }
    }
    if (!usage.error && usage.succeeded(journal.set_epoch({"name"}, {7}))) {
      usage.epoch = 7;
    }
    if (!usage.error) {
      const auto epoch = journal.epoch({"name"});
      EXPECT_TRUE(!usage.succeeded(epoch) || epoch->value == 7);
    }
    if (!usage.error && usage.succeeded(journal.reopen())) {
      const auto contents = journal.contents();
      if (usage.succeeded(contents)) {
        const auto read =
            journal.read(contents->range.next, contents->range.last, SIZE_MAX, kStart);
        EXPECT_TRUE(!usage.succeeded(read) || read->batches.size() == 5U);
      }
      usage.succeeded(journal.trim());
    }
    return usage;
  }

  void begin_anew() {
    for (const char* more : {"", "-wal", "-shm"}) {
      std::filesystem::remove(path_.string() + more);
    }
  }

  void expect_kept(const Usage& usage) {
    const auto journal = Journal::open({path_, 1 << 20, {}});
    ASSERT_TRUE(journal) << journal.error().what;
    std::istringstream offsets(test::run_sql(path_, "SELECT offset FROM batches ORDER BY offset"));
    std::set<std::uint64_t> kept;
    for (std::uint64_t offset = 0; offsets >> offset;) {
      kept.insert(offset);
    }
    auto expected = usage.stored;
    for (const std::uint64_t removed : usage.removed) {
      expected.erase(removed);
      kept.erase(removed);
    }
    EXPECT_EQ(kept, expected);
    EXPECT_EQ(test::run_sql(path_, "PRAGMA integrity_check"), "ok\n");
    if (usage.epoch > 0) {
      EXPECT_EQ(test::run_sql(path_, "SELECT epoch FROM producers"), "7\n");
    }
  }

  test::MemoryFolder directory_;
  std::filesystem::path path_ = directory_ / "journal.db";
};

TEST_F(JournalNoMemoryTest, AfterAnyFailedAllocationStoredBatchesAreThereAndNoOthers) {
  test::FailingMemory memory;
  memory.fail_no_more();
  const Usage sound = use();
  ASSERT_FALSE(sound.error) << sound.error->what;
  EXPECT_EQ(sound.stored.size(), 6U);
  const int allocations = memory.allocations();
  for (const bool and_after : {false, true}) {
    // Several hundred, and others when the code changes.
    const int runs = (and_after ? 100 : 500) / (kSanitized ? 5 : 1);
    const int stride = std::max(1, allocations / runs);
    int reported = 0;
    for (int nth = 1; nth <= allocations; nth += stride) {
      SCOPED_TRACE("allocation " + std::to_string(nth) + " of " + std::to_string(allocations));
      begin_anew();
      memory.fail(nth, and_after);
      const Usage usage = use();
      memory.fail_no_more();
      if (usage.error) {
        ++reported;
        EXPECT_THAT(usage.error->code, AnyOf(Errc::full, Errc::unreachable, Errc::io))
            << usage.error->what;
      }
      expect_kept(usage);
      if (HasFailure()) {
        return;
      }
    }
    EXPECT_GT(reported, kSanitized ? 3 : 30);
  }
}

}  // namespace
}  // namespace turnstile::broker
