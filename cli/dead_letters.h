// `turnstile dead-letters`: rows that the target refused, to look at, to send again, corrected or
// not, and to throw away.
//
// Looking reads the target by its documented format, read-only. Sending again and throwing away
// change the target, and only the consumer writes that (promise 9): both travel through the queue,
// as rows of a producer of their own, and take effect once however often they are sent (promise 2).
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/result.h"
#include "flags/cli11.h"
#include "inspect/check_sqlite.h"
#include "link/link.h"
#include "proto/rows.h"
#include "store/schema.h"

namespace turnstile::dead_letters {

struct Letter {
  std::int64_t id = 0;
  std::string producer;
  std::uint64_t epoch = 0;
  std::uint64_t sequence = 0;  // of the first row that it stands for
  std::uint64_t rows = 1;      // how many
  store::schema::LetterKind kind = store::schema::LetterKind::row;
  std::string table;
  std::vector<std::string> columns;
  std::string bytes;  // as they were sent; left out in lists
  std::string reason;
  std::int64_t at_ms = 0;  // since the Unix epoch
};

// Errors: unreachable (no target), corrupt (its bookkeeping cannot be read).
Result<check::Database> open_target(const std::filesystem::path& path);

// In the order in which they came. `table` empty: of all tables.
Result<std::vector<Letter>> list(const check::Database& target, const std::string& table);
Result<std::optional<Letter>> find(const check::Database& target, std::int64_t id);

// The values of the row, which refer into letter.bytes. Errors: corrupt, for bytes that are no row.
Result<std::vector<ValueRef>> values_of(const Letter& letter);

// What `--set column=value` means: NULL, 12, 1.5, x'00ff', or a text as it stands; in single quotes
// anything is a text.
struct Setting {
  std::string column;
  std::variant<Null, std::int64_t, double, std::string> value;
  bool is_blob = false;  // the text is a blob's bytes
};
// Errors: bad_input.
Result<Setting> parse_setting(std::string_view text);

// The row to send again: what the letter holds, with `settings` in place of some values.
// `settings` must outlive the result. Errors: bad_input (no such column, a letter that is not of a
// row, columns without a value), corrupt.
Result<std::vector<ValueRef>> corrected(const Letter& letter, const std::vector<Setting>& settings);

// For people, and one JSON object each.
std::string list_text(const std::vector<Letter>& letters);
std::string list_json(const std::vector<Letter>& letters);
std::string show_text(const Letter& letter);
std::string show_json(const Letter& letter);

// What one letter's change came to. Empty `refused`: it took effect.
struct Outcome {
  std::int64_t id = 0;
  std::string refused;  // the reason; a row that was refused again is a new dead letter
};

struct Change {
  Letter letter;
  std::optional<std::vector<ValueRef>> row;  // to send again; nothing: throw the letter away
};

struct SendOptions {
  std::chrono::milliseconds timeout{0};  // for all of it
  std::string peer = "the broker";       // what it is called in messages
  std::function<bool()> interrupted = [] { return false; };
};

// Sends the changes over the link and waits until a consumer has made them.
// Errors: unreachable (no broker; or no consumer in time: what is stored then happens later),
// refused (also: interrupted).
Result<std::vector<Outcome>> send(Link& link, const std::vector<Change>& changes,
                                  const SendOptions& options);

}  // namespace turnstile::dead_letters

namespace turnstile {

// Registers `turnstile dead-letters`; its callback leaves an ExitCode in `exit_code`: done, refused
// when there is no such letter or a row was refused again, unreachable.
void add_dead_letters_command(CLI::App& app, int& exit_code);

}  // namespace turnstile
