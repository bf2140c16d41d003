// The broker's durable store as its core sees it: batches that are not applied yet, and the epochs
// of named producers. Journal keeps it in SQLite; a simulation keeps it in memory.
// Belongs to one thread.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "base/user.h"
#include "broker/window.h"

namespace turnstile::broker {

class DurableStore {
 public:
  virtual ~DurableStore() = default;

  // Stores the batches in one synced transaction and gives their offsets; only then may they be
  // acknowledged (promise 1). Errors: full (disk or limit_bytes: nothing was stored, try again
  // later); io (the disk's state is unknown: only reopen() may follow; promise 8).
  virtual Result<std::vector<Offset>> store(const std::vector<const Held*>& batches) = 0;

  // The batches from `from` through `last`, in order, about `max_bytes` of them.
  struct Read {
    std::vector<Held> batches;
    Offset through;  // the last offset looked at
    // The producer, if readable, of the batch at `through`, which does not match its checksum and
    // is not in `batches`.
    std::optional<ProducerId> damaged;
  };
  virtual Result<Read> read(Offset from, Offset last, std::size_t max_bytes, TimePoint now) = 0;

  // The batch is applied. It leaves the file with the next store() or trim(). If the broker dies
  // first, the batch is delivered again, which changes nothing (promise 2).
  virtual void remove(const Window::Settled& settled) = 0;
  [[nodiscard]] virtual bool has_removed() const = 0;
  // Enough is removed to be worth its own transaction.
  [[nodiscard]] virtual bool wants_trim() const = 0;
  virtual Result<void> trim() = 0;

  // The newest epoch given to a named producer; 0: none.
  virtual Result<Epoch> epoch(const ProducerId& producer) = 0;
  virtual Result<void> set_epoch(const ProducerId& producer, Epoch epoch) = 0;
  // A name's new epoch, and the user who gets the name if it has no owner.
  struct Name {
    ProducerId producer;
    Epoch epoch;
    User owner = {};
  };
  // In one transaction. The last one counts for a name given twice.
  virtual Result<void> set_epochs(const std::vector<Name>& names) {
    for (const Name& name : names) {
      if (auto set = set_epoch(name.producer, name.epoch); !set) {
        return set;
      }
    }
    return {};
  }
  // The first user who used the name. Nothing: unknown.
  virtual Result<User> owner(const ProducerId& /*producer*/) { return User(); }
  // An upper bound of the stored names.
  [[nodiscard]] virtual std::uint64_t names() const { return 0; }
  // The names whose epochs were given longest ago, with that time in milliseconds since 1970.
  virtual Result<std::vector<std::pair<ProducerId, std::uint64_t>>> oldest_names(
      std::size_t /*most*/) {
    return std::vector<std::pair<ProducerId, std::uint64_t>>();
  }
  // Idle time is running time (store/idle_time.h): corrects those times after the clock jumped.
  // `looked_ms`: the clock at the last call; nothing at the first call.
  virtual Result<void> follow_clock(std::optional<std::uint64_t> /*looked_ms*/,
                                    std::uint64_t /*now_ms*/, std::chrono::milliseconds /*step*/) {
    return {};
  }
  virtual Result<void> forget_names(const std::vector<ProducerId>& /*names*/) { return {}; }

  // The target of this journal's rows. Empty: no consumer has named one yet.
  virtual Result<std::string> target() { return std::string(); }
  virtual Result<void> set_target(const std::string& /*path*/) { return {}; }

  // Closes and opens the file, then writes and syncs again what a failed sync left uncertain.
  virtual Result<void> reopen() = 0;
  // Checks that the file is still at its path. Call this before acknowledging stored rows without a
  // store(). Errors: io, and reopen() must follow.
  [[nodiscard]] virtual Result<void> look() const { return {}; }
  // What a file held that reopen() did not find at its path: batches that were not applied.
  struct Vanished {
    std::vector<RowRange> held;  // in the order of storing
    bool is_kept = false;        // all of it was written to the file now at the path
    std::string problem;         // why it was not, or why `held` may lack some
  };
  // Gives each one once.
  virtual std::optional<Vanished> take_vanished() { return std::nullopt; }
  struct Contents {
    Cold range;
    std::vector<Window::Kept> producers;
  };
  virtual Result<Contents> contents() = 0;

  [[nodiscard]] virtual std::uint64_t batches() const = 0;
  [[nodiscard]] virtual std::uint64_t rows() const = 0;
  [[nodiscard]] virtual std::uint64_t bytes() const = 0;
  [[nodiscard]] virtual std::size_t limit_bytes() const = 0;
  // How much may still be stored before the limit.
  [[nodiscard]] virtual std::size_t room() const = 0;
  // How long ago the batch at this offset was stored.
  [[nodiscard]] virtual std::optional<std::chrono::milliseconds> age(Offset offset) = 0;
  [[nodiscard]] virtual const std::filesystem::path& path() const = 0;

 protected:
  DurableStore() = default;
  DurableStore(const DurableStore&) = default;
  DurableStore(DurableStore&&) = default;
  DurableStore& operator=(const DurableStore&) = default;
  DurableStore& operator=(DurableStore&&) = default;
};

}  // namespace turnstile::broker
