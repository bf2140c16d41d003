// The target's bookkeeping: who writes it, how far each producer has come, and the dead letters
// (TARGET.md explains the tables). Every statement runs within the caller's transaction.
// Belongs to the connection's thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "proto/ids.h"
#include "proto/messages.h"
#include "store/batch.h"
#include "store/format.h"
#include "store/schema.h"
#include "store/sqlite.h"

namespace turnstile::store {

// How far a producer has come, as the target has it.
struct ProducerProgress {
  bool known = false;
  Epoch epoch;
  Sequence through;
  std::string source;
  std::uint64_t letter_bytes = 0;  // what its dead letters take
};

struct DeadLetter {
  schema::LetterKind kind = schema::LetterKind::row;
  Sequence sequence;       // of the first row that it stands for
  std::uint32_t rows = 1;  // how many
  std::string_view row;    // the bytes, as they were sent
  std::string_view reason;
};

// A dead letter as the target keeps it.
struct KeptLetter {
  std::int64_t id = 0;
  schema::LetterKind kind = schema::LetterKind::row;
  std::string producer;
  std::uint64_t rows = 1;
  bool live = false;
  std::uint64_t bytes = 0;
};

struct LetterTotals {
  std::uint64_t rows = 0;
  std::uint64_t bytes = 0;
};

// What a batch adds to its producer's counts.
struct Counts {
  std::uint32_t applied = 0;  // rows that are in their tables
  std::uint32_t dead = 0;
  std::uint32_t changes = 0;       // sequences that took effect and are no row
  std::uint64_t letter_bytes = 0;  // of its new dead letters
};

class Books {
 public:
  // The version of this format, and the ways to it from older ones.
  static sqlite::Format format();

  // Makes the tables where they are missing, and migrates those of an older format. Errors:
  // unreachable for a newer one.
  static Result<void> create(sqlite::Connection& connection,
                             const sqlite::Format& format = Books::format());

  // Prepares the statements; the tables exist.
  static Result<Books> open(sqlite::Connection& connection);

  // Whether the target is to check foreign keys when nobody says otherwise.
  Result<bool> checks_foreign_keys();

  Result<Generation> generation();
  Result<Generation> next_generation();

  Result<ProducerProgress> progress(const ProducerId& producer);
  // Moves `header`'s producer to `through`, and adds to what it has written.
  Result<void> save_progress(const BatchHeader& header, Sequence through, const Counts& counts,
                             std::int64_t now_ms);

  // Bytes of a letter without the names of its columns, which letters share.
  static std::uint64_t bytes_of(const DeadLetter& letter);
  // How many bytes it takes. `form` is 0 for a batch's first letter, and kept for its others.
  Result<std::uint64_t> add_dead_letter(const BatchHeader& header, const DeadLetter& letter,
                                        std::int64_t now_ms, std::int64_t& form);
  enum class Letters { all, listed };  // listed: none is read that DeadRows would only count
  Result<void> read_dead_letters(const ProducerId& producer, Sequence first, Sequence last,
                                 DeadRows& into, Letters which = Letters::all);
  Result<LetterTotals> count_dead_letters();
  Result<std::optional<KeptLetter>> find_dead_letter(std::int64_t id);
  Result<void> remove_dead_letter(const KeptLetter& letter);

  // Producers that were last heard of before `before_ms`.
  Result<bool> has_idle(std::int64_t before_ms);
  Result<void> forget_idle(std::int64_t before_ms);
  // 0: there is no producer.
  Result<std::int64_t> latest_update();
  // Adds to the time of each producer's last update; none is later than `now_ms` then.
  Result<void> move_updates(std::int64_t shift_ms, std::int64_t now_ms);

 private:
  explicit Books(sqlite::Connection& connection) : connection_(&connection) {}

  Result<std::uint64_t> find_form(const BatchHeader& header, std::int64_t& form);
  [[nodiscard]] tl::unexpected<Error> failure(int code, std::string_view doing) const;

  sqlite::Connection* connection_;
  sqlite::Statement generation_;
  sqlite::Statement next_generation_;
  sqlite::Statement progress_;
  sqlite::Statement save_progress_;
  sqlite::Statement add_dead_letter_;
  sqlite::Statement read_dead_letters_;
  sqlite::Statement count_dead_letters_;
  sqlite::Statement find_dead_letter_;
  sqlite::Statement remove_dead_letter_;
  sqlite::Statement remove_form_;
  sqlite::Statement find_form_;
  sqlite::Statement add_form_;
  sqlite::Statement count_letter_gone_;
  sqlite::Statement has_idle_;
  sqlite::Statement retire_letters_;
  sqlite::Statement forget_idle_;
};

}  // namespace turnstile::store
