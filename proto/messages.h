// The messages of the wire (PROTOCOL.md says when each is sent and what to do on it).
// Bytes only: no socket, no disk, no clock. Decoders treat their input as hostile.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "proto/ids.h"
#include "proto/limits.h"

namespace turnstile {

enum class Role : std::uint8_t { producer = 1, consumer = 2, tool = 3 };

enum class BatchKind : std::uint8_t {
  insert = 1,   // rows for one table
  define = 2,   // one row: a table to create if it is missing; its values are the column types
  retry = 3,    // dead letters' ids, each with a row for the table: in it goes, and the letter away
  discard = 4,  // dead letters' ids: they go away
};

// What a broker needs of a batch; it never decodes the rows.
struct BatchHeader {
  ProducerId producer;
  Epoch epoch;
  Sequence first;
  std::uint32_t rows = 0;
  BatchKind kind = BatchKind::insert;
  std::string table;
  std::vector<std::string> columns;
  std::chrono::milliseconds task_duration{0};  // held between INSERT and COMMIT, for the lab
  std::string source;  // what a named producer reads (proto/source.h); empty otherwise
  // Of retry and discard: only letters of this producer. The broker sets it for other users.
  bool own_letters = false;

  [[nodiscard]] Sequence last() const { return {first.value + rows - 1}; }
};

// A row that the target refused, as its producer gets it.
struct DeadRow {
  Sequence sequence;
  std::string reason;
};

// ---- any client to the broker

struct Hello {
  std::uint32_t version = limits::kProtocolVersion;
  Role role = Role::tool;
  ProducerId producer;  // producers; for consumers the target's path, for the people who read logs
  bool named = false;   // the id outlives the process (--resume)
  Epoch epoch;          // 0 until a WELCOME gave one
  Sequence known;       // outcomes are known to this producer up to here
  std::string source;   // see BatchHeader::source
  // Highest acknowledged row: the next batch begins after it. Unset: unknown.
  std::optional<Sequence> stored;
  // The highest row that this process has sent, or the row before its first: it ignores
  // acknowledgements of later rows. Unset: unknown, or there was no WELCOME. Only with `stored`.
  std::optional<Sequence> sent;
  // A producer's: no WELCOME before the target was asked. Its rows cannot be sent again under the
  // numbers that they had.
  bool sure = false;
  // A consumer's: the journal's rows go to this target from now on, whichever they began with.
  bool new_target = false;
};

struct Heartbeat {};
struct Bye {};

// ---- producer to broker

struct Batch {
  BatchHeader header;  // on a message that came over a link: as decoded from header_frame
  Bytes header_frame;  // encode_batch_header(header)
  Bytes rows_frame;    // encode_rows(...)
};

struct CheckTable {
  std::uint64_t request = 0;
  std::string table;
  std::vector<std::string> columns;
};

struct AskStatus {
  std::uint64_t request = 0;
};

// Asks for dead letters of the session's producer whose rows come after `since`.
struct AskDead {
  std::uint64_t request = 0;
  Sequence since;
};

// ---- consumer to broker

enum class Outcome : std::uint8_t {
  applied = 0,       // every row up to `through` is committed, or is a dead letter
  fenced = 1,        // a newer epoch of this producer has written
  hole = 2,          // the rows behind `through` are missing: nothing of the batch was applied
  other_source = 3,  // this name's progress belongs to another input
  // The target keeps no more dead letters of this producer: rows up to `through` are applied.
  letters_full = 4,
};

struct BatchResult {
  Ticket ticket;
  Outcome outcome = Outcome::applied;
  Sequence through;
  std::uint32_t dead_count = 0;
  std::vector<DeadRow> dead;  // the first kDeadListed of them
};

// A table of the target that takes no rows for now, and why: its rows become dead letters.
struct TableTrouble {
  std::string table;
  std::string reason;
};

struct ConsumerStats {
  std::uint64_t rows_applied = 0;  // since this consumer started
  std::uint64_t dead_letters = 0;  // in the target now
  std::string target;
  std::string problem;               // why it cannot apply rows now; empty: it can
  std::vector<TableTrouble> tables;  // the first kTablesListed
};

struct Results {
  Lease lease;
  std::vector<BatchResult> results;
  ConsumerStats stats;
};

// What the target knows of a producer.
struct Progress {
  bool known = false;
  Epoch epoch;
  Sequence through;
  std::string source;
  std::uint32_t dead_count = 0;  // dead letters behind AskProgress::since
  std::vector<DeadRow> dead;
};

struct ProgressAnswer {
  std::uint64_t request = 0;
  Progress progress;
};

enum class TableState : std::uint8_t {
  ready = 0,
  unknown = 1,  // nobody could look: no consumer is attached, or it is busy
  missing_table = 2,
  missing_column = 3,
  unusable = 4,  // such as a view, or explicit ids for the text log's table
};

struct TableAnswer {
  std::uint64_t request = 0;
  TableState state = TableState::unknown;
  std::string detail;
  // INTEGER, REAL, NUMERIC, TEXT, BLOB or INTEGER PRIMARY KEY, one for each column that was asked
  // about; none: not known.
  std::vector<std::string> types = {};
};

// ---- broker to producer

struct Welcome {
  std::uint32_t version = limits::kProtocolVersion;
  std::string broker;              // this start of the broker: 32 hexadecimal digits
  Epoch epoch;                     // to put on every batch
  Sequence through;                // this producer's rows are stored or applied up to here
  bool through_is_sure = false;    // the target was asked; otherwise only the broker's memory was
  std::string source;              // of the progress above; empty when not known
  std::uint64_t credit_bytes = 0;  // rows frames that may wait for `stored` or `applied`
  bool consumer_attached = false;
  // No row of this producer after this one is stored, applied or on its way. Unset: not known.
  std::optional<Sequence> last = {};
};

struct Stored {
  Sequence through;
};

struct Applied {
  Sequence through;
  std::uint32_t dead_count = 0;
  std::vector<DeadRow> dead;
};

// Answers AskDead: the first limits::kDeadListed; none: there are no more.
struct Dead {
  std::uint64_t request = 0;
  std::vector<DeadRow> dead;
};

enum class RefusalCode : std::uint8_t {
  hello_first = 1,   // say HELLO: this broker does not know this connection
  version = 2,       // no common version
  malformed = 3,     // the message was not understood; text says what
  busy = 4,          // at a bound: send `sequence` and what follows again a little later
  fenced = 5,        // a newer process with this name has started
  hole = 6,          // rows before `sequence` are missing
  other_source = 7,  // see Outcome::other_source
  not_now = 8,       // such as a status request while shutting down
  letters_full = 9,  // see Outcome::letters_full
};

struct Refusal {
  RefusalCode code = RefusalCode::malformed;
  Sequence sequence;
  std::string text;
};

// ---- broker to consumer

struct LeaseState {
  bool granted = false;
  Lease lease;
  std::chrono::milliseconds duration{0};
};

struct Delivery {
  Ticket ticket;
  Bytes header_frame;
  Bytes rows_frame;
};

struct AskProgress {
  std::uint64_t request = 0;
  ProducerId producer;
  Sequence since;
  bool list_only = false;  // the letters that are listed need not be counted to their end
};

// ---- broker to tool

struct Status {
  std::uint64_t request = 0;
  Bytes report;  // a MessagePack map, see PROTOCOL.md
};

// CheckTable and TableAnswer pass through the broker and keep their form on both sides.
using Message = std::variant<Hello, Heartbeat, Bye, Batch, CheckTable, AskStatus, AskDead, Results,
                             ProgressAnswer, TableAnswer, Welcome, Stored, Applied, Refusal,
                             LeaseState, Delivery, AskProgress, Status, Dead>;

// A message as ZeroMQ carries it, without routing frames: a header and up to two more frames.
using Frames = std::vector<Bytes>;

Frames encode(const Message& message);

// Errors: Errc::corrupt, with what was wrong. Never throws, never allocates beyond the limits.
Result<Message> decode(const Frames& frames);

// The header of a batch alone, as it stands in the journal and in a delivery.
Bytes encode_batch_header(const BatchHeader& header);
Result<BatchHeader> decode_batch_header(std::string_view frame);

}  // namespace turnstile
