// Where a producer's batches are kept until they are acknowledged: in memory only, or in a spool
// as well.
//
//   memory:  add() ──► Resend ──acknowledged──► gone
//   spool:   add() ──► gathered ──store(), synced──► spool
//                                spool ──feed()──► Resend ──acknowledged──► gone
//
// With a spool, only synced batches reach Resend. What was sent under a number is therefore sent
// again under the same number with the same content, whatever happens in between (promise 2).
// Memory holds only what Resend has room for. Belongs to one thread.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "client/resend.h"
#include "client/session.h"
#include "client/spool.h"
#include "proto/messages.h"

namespace turnstile {

struct OutboxOptions {
  Ack ack = Ack::applied;
  std::size_t max_bytes = 0;  // of batches in Resend
  std::function<std::chrono::steady_clock::time_point()> clock;
};

class Outbox {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;

  // `spool` null: in memory only. `resend` and `spool` must outlive the outbox.
  static std::unique_ptr<Outbox> make(Spool* spool, Resend& resend, OutboxOptions options);
  virtual ~Outbox() = default;
  Outbox(const Outbox&) = delete;
  Outbox& operator=(const Outbox&) = delete;

  // Rows outlive the process, and the outbox numbers them. Otherwise the first welcome does.
  [[nodiscard]] virtual bool is_durable() const = 0;
  // What the latest row of earlier processes was read from; `source` if no process set it.
  // Errors: those of Spool::set_input.
  virtual Result<std::string> start(const std::string& source) = 0;
  // Sequences of kept batches that define tables.
  virtual Result<std::vector<Sequence>> definitions() = 0;
  // How long a row may be delayed by a question about its table.
  [[nodiscard]] virtual std::chrono::milliseconds table_answer_timeout() const = 0;

  // ---- rows in

  // Takes a batch that begins at next(last()). `source`: what its last row was read from.
  virtual void add(Batch batch, TimePoint since, std::string source) = 0;
  // The highest number given to a row, stored or not.
  [[nodiscard]] virtual Sequence last() const = 0;
  // True: adding a small batch now is better than waiting for more rows.
  [[nodiscard]] virtual bool is_idle() const = 0;
  // Promise 6: the producer adds nothing while this is true.
  [[nodiscard]] virtual bool is_full() const = 0;
  // Whether store() is due. `rows_since`: when the first row was appended that is not added yet.
  [[nodiscard]] virtual bool is_store_due(std::optional<TimePoint> rows_since) const = 0;
  // Syncs what was added. Errors: those of Spool::store; what was added is kept in memory.
  virtual Result<void> store() = 0;

  // ---- rows out

  // Fills Resend up to `max_bytes`; true when it added anything. Needs a first welcome. Errors:
  // refused (the spool and the broker disagree about the rows of this name), those of Spool::read.
  virtual Result<bool> feed() = 0;
  [[nodiscard]] virtual Sequence acknowledged() const = 0;  // at the level `ack`
  // The spool drops acknowledged rows once that is worth a transaction. A full disk is no error.
  virtual Result<void> drop_acknowledged() = 0;
  // The spool drops acknowledged rows now. A full disk is no error.
  virtual Result<void> make_room() = 0;

  // ---- for messages

  // The summary counts rows after this one as unacknowledged.
  [[nodiscard]] virtual Sequence unacknowledged_after() const = 0;
  // Rows through this one were stored in the spool; 0 without a spool.
  [[nodiscard]] virtual Sequence spooled_through() const = 0;
  // Completes `error` with what happens to the unacknowledged rows.
  virtual void explain(Error& error, std::uint64_t rows_spooled) const = 0;

 protected:
  Outbox(Resend& resend, OutboxOptions options) : resend_(resend), options_(std::move(options)) {}
  [[nodiscard]] Sequence acknowledged_on_link() const;

  Resend& resend_;
  OutboxOptions options_;
};

// What a spool changes for the session. Rows are taken without a broker, so the session waits for
// the broker without a timeout.
void set_for_spool(SessionOptions& session, const Spool& spool);

}  // namespace turnstile
