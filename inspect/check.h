// `turnstile check`: whether anything was lost or came twice. A second opinion: it reads target,
// journal and text log by their documented formats, writes nothing, and shares with their writers
// only the constants of the formats.
//
// It may run beside a working system. Ledgers are read first, then one state of the journal is
// taken, then one of the target: whatever the ledgers and the journal hold at their moment is in
// the target at its own, or still in the journal. The length of the text log is taken before the
// target's state, and its bytes are read after it. Since lines are written only after their commit,
// a file longer than that state allows shows a row that is not committed. A file that is shorter,
// or differs, may be one that is just being written: it is compared again for `patience` with fresh
// states of the target before it counts. When no consumer runs that is its last word: after a
// crash the text log may lack lines until a consumer starts, and the report says so.
//
// What it proves:
//   1. Each producer's progress is the sum of what it counts: every sequence up to it was applied,
//      became a dead letter or stood for no row, once. A progress that was moved alone shows.
//   2. Each dead letter stands for sequences that its producer has passed, and none stands twice.
//   3. The journal holds whole, unchanged batches, and for each producer every sequence from its
//      progress up to its last stored one.
//   4. The text log is line by line the table, from where the record in the target says that its
//      lines begin to where they end. A changed row or byte shows; so does a line that lacks its
//      last fields, unless columns were added after it. Rows that other programs deleted, or added
//      at the end, are noted, and a fault with `exclusive`.
//   5. With ledgers: every sequence that was acknowledged as applied is within its producer's
//      progress; every one acknowledged as stored is there, or in the journal.
//   6. With `exclusive`: all tables together hold as many rows as all producers are credited with.
// What it cannot prove: for a table without text log, that the rows have the values that were sent.
// Without `exclusive` other programs may add and delete rows, and rows of producers that the target
// has forgotten (idle for 30 days) belong to nobody, so numbers of rows are shown but not judged.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "flags/cli11.h"
#include "inspect/check_ledger.h"
#include "inspect/check_ranges.h"

namespace turnstile::check {

struct CheckOptions {
  std::filesystem::path target;
  std::filesystem::path journal;   // empty: not checked
  std::filesystem::path text_log;  // empty: not checked
  std::vector<std::filesystem::path> ledgers;
  bool exclusive = false;                    // nothing but turnstile ever wrote the target's tables
  std::chrono::milliseconds patience{2000};  // with a text log that may be just being written
};

enum class Breach : std::uint8_t {
  integrity,     // SQLite finds the file damaged, or it cannot be read to its end
  format,        // the bookkeeping is not as documented
  progress,      // a producer's progress and what it counts disagree
  dead_letters,  // two for one row, or one beyond its producer's progress
  journal,       // a damaged batch, or one that is missing
  text_log,      // its bytes are not the table's
  ledger,        // what was acknowledged is nowhere
  rows,          // there are fewer or more rows than were applied
};

std::string_view breach_name(Breach breach);

struct Problem {
  Breach breach = Breach::format;
  std::string what;
};

struct ProducerReport {
  bool in_target = false;
  std::int64_t epoch = 0;
  std::uint64_t through = 0;  // the last applied sequence
  std::uint64_t rows_applied = 0;
  std::uint64_t rows_dead = 0;
  std::uint64_t changes = 0;       // sequences that stand for no row
  std::uint64_t letters_gone = 0;  // of rows_dead: sent again or discarded
  std::uint64_t missing = 0;       // sequences up to `through` that nothing accounts for
  std::uint64_t twice = 0;         // sequences that are accounted for more than once
  Ranges journaled;
  std::uint64_t waiting = 0;  // journaled and not applied yet
  Ranges lost;                // journaled rows before them are gone, or acknowledged: nowhere
};

struct JournalReport {
  std::uint64_t batches = 0;
  std::uint64_t rows = 0;
  std::uint64_t first_offset = 0;  // 0: none
  std::uint64_t last_offset = 0;
  std::uint64_t missing_offsets = 0;  // between them: removed after they were applied
  std::uint64_t damaged = 0;          // batches
  bool is_read = true;                // to its end; else none of these counts
};

struct TextLogReport {
  std::string path;  // as the target has it
  std::string table;
  std::uint64_t recorded_bytes = 0;
  std::uint64_t file_bytes = 0;
  std::uint64_t lines = 0;                        // that the table gives
  std::optional<std::uint64_t> first_difference;  // a byte's place in the file
  std::uint64_t rows_missing = 0;                 // lines whose rows were deleted
  std::uint64_t rows_extra = 0;                   // rows that the record does not count
};

struct TargetReport {
  std::int64_t generation = 0;
  std::uint64_t rows_applied = 0;  // of all producers, together with what follows
  std::uint64_t rows_dead = 0;
  std::uint64_t dead_letters = 0;  // still there, in rows; those of forgotten producers too
  std::uint64_t table_rows = 0;    // in all tables but turnstile's own
  // What could be read to its end; what could not has no count.
  bool has_progress = true;
  bool has_letters = true;
  bool has_rows = true;
};

struct Verdict {
  std::uint64_t acknowledged = 0;  // without ledgers: all that was applied or is journaled
  std::uint64_t present = 0;
  std::uint64_t lost = 0;
  std::uint64_t twice = 0;
  bool is_known = true;  // false: what it rests on cannot be read
};

struct Report {
  CheckOptions options;
  TargetReport target;
  std::map<std::string, ProducerReport> producers;
  std::optional<JournalReport> journal;
  std::optional<TextLogReport> text_log;
  Ledgers ledgers;
  Verdict verdict;
  std::vector<Problem> problems;  // the first kProblemsListed
  std::uint64_t problem_count = 0;
  std::vector<std::string> notes;

  static constexpr std::size_t kProblemsListed = 100;
  void add(Breach breach, std::string what);
};

// Errors: unreachable, when one of the files cannot be opened or is of another kind.
Result<Report> check(const CheckOptions& options);

// "1,000,000 acknowledged, 1,000,000 present, 0 lost, 0 twice"
std::string verdict_line(const Verdict& verdict);
std::string text_report(const Report& report);
// What is wrong alone; empty when nothing is.
std::string problems_text(const Report& report);
// One JSON object; its keys are those of the structs above.
std::string json_report(const Report& report);

}  // namespace turnstile::check

namespace turnstile {

// Registers `turnstile check`; its callback leaves an ExitCode in `exit_code`: done when all is as
// it must be, refused when it is not, unreachable when a file cannot be opened.
void add_check_command(CLI::App& app, int& exit_code);

}  // namespace turnstile
