// 200 producers, a consumer that gets less than 1 % of its time, a small journal: producers wait,
// memory and disk stay within their bounds, and everything arrives once the consumer is well.
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <iostream>
#include <thread>

#include <gtest/gtest.h>

#include "tests/e2e/harness.h"

namespace turnstile::campaign {
namespace {

using namespace std::chrono_literals;
using e2e::kMiB;
using e2e::Process;
using e2e::System;
using Clock = std::chrono::steady_clock;

// Lets a process run for `on` of each `on` + `off`, in a thread of its own.
class SlowedDown {
 public:
  SlowedDown(Process& process, std::chrono::milliseconds on, std::chrono::milliseconds off)
      : process_(process), stop_(::eventfd(0, EFD_CLOEXEC)), thread_([this, on, off] {
          while (!stopped_within(on)) {
            process_.signal(SIGSTOP);
            const bool stopped = stopped_within(off);
            process_.signal(SIGCONT);
            if (stopped) {
              return;
            }
          }
        }) {}
  SlowedDown(const SlowedDown&) = delete;
  SlowedDown& operator=(const SlowedDown&) = delete;
  ~SlowedDown() {
    const std::uint64_t one = 1;
    EXPECT_EQ(::write(stop_, &one, sizeof(one)), ssize_t{sizeof(one)});
    thread_.join();
    ::close(stop_);
  }

 private:
  bool stopped_within(std::chrono::milliseconds time) const {
    pollfd stop{stop_, POLLIN, 0};
    return ::poll(&stop, 1, static_cast<int>(time.count())) > 0;
  }

  Process& process_;
  int stop_;
  std::thread thread_;
};

// The greatest sizes seen of the files that the broker's limits are about.
struct Peaks {
  std::uintmax_t journal = 0;
  std::uintmax_t journal_wal = 0;

  void look(const System& system) {
    journal = std::max(journal, e2e::size_of(system.folder.file("journal.db")));
    journal_wal = std::max(journal_wal, e2e::size_of(system.folder.file("journal.db-wal")));
  }
};

// The settings, as small as they go.
constexpr std::uint64_t kMemory = 8 * kMiB;
constexpr std::uint64_t kJournalLimit = 4 * kMiB;
// What the broker may have resident: --memory, a quarter of that again for what is read back for
// the consumer, the journal's page cache (16 MiB), for each connection its socket, its queues and
// its credit while that is on its way (256 KiB), and the program itself.
constexpr std::uint64_t resident_bound(std::uint64_t producers) {
  return kMemory + kMemory / 4 + 16 * kMiB + producers * kMiB / 4 + 48 * kMiB;
}
// JOURNAL.md, "What always holds", 5: what waits, what was removed and not yet deleted, and pages
// that are not full.
constexpr std::uint64_t kJournalBound = 2 * (kJournalLimit + 8 * kMiB) + 64 * kMiB;
// 1,000 pages of 16 KiB before a checkpoint, and one transaction more.
constexpr std::uint64_t kWalBound = 16 * kMiB + 3 * kMemory;

TEST(Overload, ManyProducersWaitForASlowConsumerAndAllArrivesWhenItRecovers) {
  constexpr int kProducers = 200;
  constexpr std::int64_t kRows = 2'000;
  constexpr auto kOverloaded = 12s;
  constexpr auto kRecovered = 300s;
  System system;
  Process broker = system.broker({"--memory", "8MiB", "--journal-limit", "4MiB"});
  Process consumer = system.consumer();
  ASSERT_TRUE(
      system.wait_for_status([](const auto& s) { return s["consumer"]["attached"] == true; }));
  std::vector<Process> producers;
  producers.reserve(kProducers);
  Peaks peaks;
  const auto begun = Clock::now();
  std::int64_t applied_while_overloaded = 0;
  {
    const SlowedDown slowed(consumer, 1ms, 499ms);
    for (int i = 0; i < kProducers; ++i) {
      const auto file = system.folder.file("p" + std::to_string(i) + ".csv");
      e2e::write_file(file, e2e::nutrients_csv(kRows, 1 + i * 10'000));
      producers.push_back(system.produce({"csv", file, "--table", "nutrients", "--batch-rows",
                                          "100", "--timeout", "0", "--json"}));
    }
    // At its bounds: the journal is full, and producers are told.
    EXPECT_TRUE(system.wait_for_status([&](const auto& s) {
      peaks.look(system);
      return !s["journal"]["problem"].template get<std::string>().empty() ||
             s["journal"]["bytes"].template get<std::uint64_t>() > kJournalLimit * 9 / 10;
    })) << broker.err();
    system.folder.wait_until(
        [&] { return (peaks.look(system), false); }, nullptr,
        std::chrono::ceil<std::chrono::milliseconds>(begun + kOverloaded - Clock::now()));
    applied_while_overloaded = system.query("SELECT count(*) FROM nutrients");
    EXPECT_EQ(std::count_if(producers.begin(), producers.end(),
                            [](Process& p) { return !p.running() && p.wait() != 0; }),
              0)
        << "a producer gave up";
  }
  EXPECT_TRUE(broker.running()) << broker.err();
  const auto recovered = Clock::now();
  std::vector<double> seconds;
  bool told_to_wait = false;
  for (auto& producer : producers) {
    std::optional<int> code;
    const auto until = recovered + kRecovered;
    // Looks at the files whenever one changes.
    EXPECT_TRUE(system.folder.wait_until(
        [&] {
          peaks.look(system);
          return !producer.running();
        },
        &producer, std::chrono::ceil<std::chrono::milliseconds>(until - Clock::now())))
        << producer.err() << broker.err();
    code = producer.wait();
    ASSERT_EQ(code, 0) << producer.err() << broker.err();
    const auto report = producer.json();
    EXPECT_EQ(report["rows_applied"], kRows) << producer.out();
    seconds.push_back(report["seconds"]);
    told_to_wait = told_to_wait || producer.err().find("takes no more rows") != std::string::npos;
  }
  std::sort(seconds.begin(), seconds.end());
  const auto resident = broker.peak_resident_kib() * 1024;
  std::cout
      << "overloaded for " << kOverloaded.count() << " s with " << kProducers
      << " producers: " << applied_while_overloaded << " of " << kProducers * kRows
      << " rows applied\n"
      << "then all within "
      << std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - recovered).count()
      << " ms; a producer took " << seconds.front() << " s to " << seconds.back() << " s, median "
      << seconds[seconds.size() / 2] << " s\n"
      << "broker: at most " << resident / kMiB << " MiB resident (bound "
      << resident_bound(kProducers) / kMiB << "), journal " << peaks.journal / kMiB
      << " MiB (bound " << kJournalBound / kMiB << "), its log " << peaks.journal_wal / kMiB
      << " MiB (bound " << kWalBound / kMiB << ")" << std::endl;
  EXPECT_TRUE(told_to_wait) << "nobody met a bound";
  EXPECT_LT(applied_while_overloaded, kProducers * kRows / 2) << "the consumer was not slow";
  if (!kSanitized) {
    EXPECT_LE(resident, resident_bound(kProducers));
  }
  EXPECT_LE(peaks.journal, kJournalBound);
  EXPECT_LE(peaks.journal_wal, kWalBound);
  EXPECT_EQ(system.query("SELECT count(*) FROM nutrients"), kProducers * kRows);
  EXPECT_EQ(system.query("SELECT count(DISTINCT id) FROM nutrients"), kProducers * kRows);
  Process check = system.check();
  EXPECT_EQ(check.wait(), 0) << check.out() << check.err();
}

}  // namespace
}  // namespace turnstile::campaign
