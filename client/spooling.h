// The way of a producer's rows through its spool:
//
//   add() ──► gathered ──store(), synced──► kept ──feed()──► Resend ──acknowledged()──► gone
//
// Nothing is fed that is not synced: what was sent under a number is sent under it again with the
// same content, whatever happens in between (promise 2). Only what Resend has room for is in
// memory. Belongs to one thread.
#pragma once

#include <chrono>
#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "client/resend.h"
#include "client/spool.h"
#include "proto/messages.h"
#include "base/result.h"

namespace turnstile {

class Spooling {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;

  // While rows come fast, one sync stands for so much time of them.
  static constexpr std::chrono::milliseconds kGroupTime{20};

  explicit Spooling(Spool& spool) : spool_(spool) {}

  // Takes a batch whose first row has the number behind last(), and what Spool::input() is with it.
  // It is not kept yet.
  void add(Batch batch, TimePoint now, std::string input = {});
  // The last number that was given, kept or only gathered.
  [[nodiscard]] Sequence last() const;
  [[nodiscard]] bool has_gathered() const { return !gathered_.empty(); }
  // Whether what was gathered is worth a sync, or has waited long enough for more.
  [[nodiscard]] bool is_due(TimePoint now) const;

  // Keeps what was gathered. Errors: those of Spool::store; what was gathered stays so.
  Result<void> store();

  // Gives `resend` what it has room for; true when that was anything. `welcomed_through` is what
  // the first welcome said. Errors: refused (this spool and what the broker knows of its name do
  // not belong together), and those of Spool::read.
  Result<bool> feed(Resend& resend, Sequence welcomed_through, std::size_t max_bytes);

  [[nodiscard]] Spool& spool() { return spool_; }
  [[nodiscard]] const Spool& spool() const { return spool_; }

 private:
  Result<void> begin_behind(Sequence welcomed_through);

  Spool& spool_;
  std::vector<Batch> gathered_;
  std::size_t gathered_bytes_ = 0;
  std::string input_;  // of the last of them
  TimePoint gathered_since_;
  std::optional<Sequence> fed_;  // through here; nothing before the first welcome
};

}  // namespace turnstile
