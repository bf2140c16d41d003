// The journal and the target as a simulation has them: what survives is a plain value that nobody
// loses, and the stand-ins that write it can be told to fail, or to die, at their next sync.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "broker/durable_store.h"
#include "proto/rows.h"
#include "store/target.h"
#include "store/writable_target.h"
#include "tests/campaigns/simulation_dice.h"

namespace turnstile::simulation {

// Thrown out of a stand-in: the process that called it is dead.
struct ProcessDied {};

// What comes of the next transactions' syncs.
enum class Fate {
  good,
  full,         // nothing is written
  lost,         // it fails, and nothing of the transaction is on disk
  kept,         // it fails, and all of it is on disk
  dies_before,  // the process dies, and nothing is on disk
  dies_after,   // the process dies, and all of it is on disk
};

struct Trouble {
  Fate fate = Fate::good;
  std::uint64_t times = 0;

  Fate next() { return times > 0 && times-- > 0 ? fate : Fate::good; }
};

// What the stand-ins need of the world.
class Host {
 public:
  Host() = default;
  Host(const Host&) = delete;
  Host& operator=(const Host&) = delete;
  virtual ~Host() = default;

  [[nodiscard]] virtual TimePoint now() const = 0;
  // The caller waits, and the others run. Throws ProcessDied when the caller was killed meanwhile.
  virtual void pass(Duration duration) = 0;
  // How long the next sync takes.
  virtual Duration sync_time() = 0;
  [[noreturn]] virtual void violated(const std::string& what) = 0;
};

// ---- the journal

struct JournalDisk {
  struct Batch {
    std::string producer;
    std::uint64_t first = 0;
    std::uint64_t last = 0;
    Bytes header;
    Bytes rows;
    TimePoint stored;
  };
  std::map<std::uint64_t, Batch> batches;  // by offset
  std::uint64_t last_offset = 0;
  std::map<std::string, std::uint64_t> epochs;

  // The weather.
  Trouble syncs;
  TimePoint unreadable_until{};
};

class SimulatedJournal : public broker::DurableStore {
 public:
  SimulatedJournal(JournalDisk& disk, Host& host, std::size_t limit);

  Result<std::vector<Offset>> store(const std::vector<const broker::Held*>& batches) override;
  Result<Read> read(Offset from, Offset last, std::size_t max_bytes, TimePoint now) override;
  void remove(const broker::Window::Settled& settled) override;
  [[nodiscard]] bool has_removed() const override { return !removed_.empty(); }
  [[nodiscard]] bool wants_trim() const override;
  Result<void> trim() override;
  Result<Epoch> epoch(const ProducerId& producer) override;
  Result<void> set_epoch(const ProducerId& producer, Epoch epoch) override;
  Result<void> reopen() override;
  Result<Contents> contents() override;
  [[nodiscard]] std::uint64_t batches() const override { return batches_; }
  [[nodiscard]] std::uint64_t rows() const override { return rows_; }
  [[nodiscard]] std::uint64_t bytes() const override { return bytes_; }
  [[nodiscard]] std::size_t limit_bytes() const override { return limit_; }
  [[nodiscard]] std::size_t room() const override { return limit_ - std::min(limit_, bytes_); }
  [[nodiscard]] std::optional<milliseconds> age(Offset /*offset*/) override { return {}; }
  [[nodiscard]] const std::filesystem::path& path() const override { return path_; }

 protected:
  // All of it or nothing.
  struct Transaction {
    std::vector<std::pair<std::uint64_t, JournalDisk::Batch>> added;
    std::vector<std::uint64_t> removed;
    std::optional<std::pair<std::string, std::uint64_t>> epoch;
  };
  virtual Result<void> commit(Transaction&& transaction);
  void apply(Transaction&& transaction);

  JournalDisk& disk_;
  Host& host_;

 private:
  void count();
  [[nodiscard]] Result<void> check_usable() const;

  const std::size_t limit_;
  const std::filesystem::path path_ = "journal";
  bool broken_ = false;
  std::uint64_t batches_ = 0;
  std::uint64_t rows_ = 0;
  std::uint64_t bytes_ = 0;
  std::uint64_t last_offset_ = 0;
  std::vector<std::uint64_t> removed_;
};

// ---- the target

// A row of a simulation is its number and what follows from it.
struct CommittedRow {
  std::string producer;
  std::uint64_t epoch = 0;
  std::uint64_t number = 0;
  std::uint64_t content = 0;
  bool dead = false;
};

// The target refuses a row by what it holds.
inline bool is_refused(std::uint64_t content) {
  return content % 11 == 0;
}

struct TargetDisk {
  struct Producer {
    std::uint64_t epoch = 0;
    std::uint64_t through = 0;
    std::string source;
    std::vector<std::uint64_t> dead;  // ascending
  };
  std::map<std::string, Producer> producers;
  std::uint64_t generation = 0;

  // Told of each transaction that is on disk: whose, and its rows.
  std::function<void(std::uint64_t generation, const std::vector<CommittedRow>& rows)> on_commit;

  // The weather.
  Trouble syncs;
  TimePoint unreachable_until{};
  TimePoint locked_until{};  // by another program
  TimePoint text_full_until{};
  const void* writer = nullptr;  // who has a transaction open
};

class SimulatedTarget : public store::WritableTarget {
 public:
  SimulatedTarget(TargetDisk& disk, Host& host, store::TargetOptions options)
      : disk_(disk), host_(host), options_(std::move(options)) {}
  ~SimulatedTarget() override { unlock(); }

  Result<Generation> take_over() override;
  Result<void> begin() override;
  Result<store::BatchOutcome> apply(const BatchHeader& header, const Bytes& rows_frame) override;
  Result<void> commit() override;
  void rollback() override;
  Result<void> catch_up_text_log() override;
  [[nodiscard]] const std::optional<Error>& text_log_error() const override { return text_error_; }
  std::vector<std::string> take_notes() override { return {}; }
  Result<Progress> progress(const ProducerId& producer, Sequence since) override;
  Result<TableAnswer> check_table(const std::string& table,
                                  const std::vector<std::string>& columns) override;
  [[nodiscard]] std::uint64_t dead_letters() const override { return 0; }
  Result<void> housekeeping() override;

 protected:
  // What is to be on disk of a producer after the commit.
  virtual void save(const std::string& producer, TargetDisk::Producer&& record) {
    disk_.producers[producer] = std::move(record);
  }

  [[nodiscard]] virtual bool is_fenced() const { return disk_.generation != generation_; }
  // How many rows of a batch fall out since the target has them: its first ones.
  [[nodiscard]] virtual std::uint64_t known_rows(const BatchHeader& header,
                                                 std::uint64_t through) const;

  TargetDisk& disk_;
  Host& host_;

 private:
  void check_usable();
  [[nodiscard]] bool is_held() const;
  Result<void> lock();
  void unlock();
  Result<void> sync();
  void write();
  TargetDisk::Producer& staged(const std::string& producer);

  store::TargetOptions options_;
  std::uint64_t generation_ = 0;
  bool broken_ = false;
  bool open_ = false;  // a transaction
  std::map<std::string, TargetDisk::Producer> staged_;
  std::vector<CommittedRow> rows_;
  std::optional<Error> text_error_;
  DecodedRows decoded_;
};

}  // namespace turnstile::simulation
