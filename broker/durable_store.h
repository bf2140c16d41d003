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

#include "base/user.h"
#include "broker/window.h"
#include "base/result.h"

namespace turnstile::broker {

class DurableStore {
 public:
  virtual ~DurableStore() = default;

  // Stores the batches in one synced transaction and gives their offsets (promise 1: only then may
  // anybody be told). Errors: full (disk or limit_bytes: nothing was stored, try again later);
  // io (what is on disk is unknown: only reopen() may follow; promise 8).
  virtual Result<std::vector<Offset>> store(const std::vector<const Held*>& batches) = 0;

  // The batches from `from` on, about `max_bytes` of them, in order, up to `last`.
  struct Read {
    std::vector<Held> batches;
    Offset through;  // the last offset looked at
    // Whose batch at `through` does not match its checksum (as far as that can be told); it is not
    // among `batches`.
    std::optional<ProducerId> damaged;
  };
  virtual Result<Read> read(Offset from, Offset last, std::size_t max_bytes, TimePoint now) = 0;

  // The batch is applied. It leaves the file with the next store() or trim(); if the broker dies
  // before, it is delivered again, which changes nothing (promise 2).
  virtual void remove(const Window::Settled& settled) = 0;
  [[nodiscard]] virtual bool has_removed() const = 0;
  // Whether enough is removed to be worth a transaction of its own.
  [[nodiscard]] virtual bool wants_trim() const = 0;
  virtual Result<void> trim() = 0;

  // The newest epoch that was given to a named producer; 0: none.
  virtual Result<Epoch> epoch(const ProducerId& producer) = 0;
  virtual Result<void> set_epoch(const ProducerId& producer, Epoch epoch) = 0;
  // A name's new epoch, and the user who gets the name if nobody has it.
  struct Name {
    ProducerId producer;
    Epoch epoch;
    User owner = {};
  };
  // In one transaction; of a name that is there twice the last counts.
  virtual Result<void> set_epochs(const std::vector<Name>& names) {
    for (const Name& name : names) {
      if (auto set = set_epoch(name.producer, name.epoch); !set) {
        return set;
      }
    }
    return {};
  }
  // The first user who used the name; nothing: not known.
  virtual Result<User> owner(const ProducerId& /*producer*/) { return User(); }
  // How many names have one: at least those that are there.
  [[nodiscard]] virtual std::uint64_t names() const { return 0; }
  // Those that got theirs longest ago, and when, in milliseconds since 1970.
  virtual Result<std::vector<std::pair<ProducerId, std::uint64_t>>> oldest_names(
      std::size_t /*most*/) {
    return std::vector<std::pair<ProducerId, std::uint64_t>>();
  }
  // Idle time is running time (store/idle_time.h): corrects those times after the clock jumped.
  // `looked_ms`: of the look before; nothing at the first.
  virtual Result<void> follow_clock(std::optional<std::uint64_t> /*looked_ms*/,
                                    std::uint64_t /*now_ms*/, std::chrono::milliseconds /*step*/) {
    return {};
  }
  virtual Result<void> forget_names(const std::vector<ProducerId>& /*names*/) { return {}; }

  // The target that this journal's rows are for; empty: no consumer has named one yet.
  virtual Result<std::string> target() { return std::string(); }
  virtual Result<void> set_target(const std::string& /*path*/) { return {}; }

  // Closes and opens the file, and writes and syncs anew what a failed sync left in doubt.
  virtual Result<void> reopen() = 0;
  // Before what is stored is spoken of without a store(): the file must still be the one at its
  // path. Errors: io, and then reopen() is next.
  [[nodiscard]] virtual Result<void> look() const { return {}; }
  // Of a file that reopen() did not find at its path any more: what it held and was not applied.
  struct Vanished {
    std::vector<RowRange> held;  // in the order of storing
    bool is_kept = false;        // all of it was written into the file that is there now
    std::string problem;         // why it was not, or why `held` may lack some
  };
  // Once each.
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
  // What may still be stored before the limit.
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
