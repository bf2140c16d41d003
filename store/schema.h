// The bookkeeping tables of a target, as TARGET.md explains them. Whoever reads a target by its
// documented format (a checker, a tool) uses these names and nothing else of this room.
#pragma once

#include <cstdint>
#include <limits>
#include <string_view>

namespace turnstile::store::schema {

// The version of this format. A target with a greater one is left alone.
inline constexpr std::int64_t kFormatVersion = 2;

// Tables of this prefix belong to turnstile; rows for them are refused.
inline constexpr std::string_view kPrefix = "turnstile_";

inline constexpr std::string_view kMetaFormatVersion = "format_version";
inline constexpr std::string_view kMetaGeneration = "generation";

// What turnstile_dead_letters.row holds: one row's MessagePack array, of an insert or of a table's
// definition, or a whole rows frame that could not be decoded; or a row of a retry or a discard
// that was refused itself.
enum class LetterKind : std::int64_t { row = 1, definition = 2, frame = 3, command = 4 };

// The table that a discard names.
inline constexpr std::string_view kDeadLetters = "turnstile_dead_letters";

// The last rowid of a text log that has no line yet.
inline constexpr std::int64_t kNoRowid = std::numeric_limits<std::int64_t>::min();

// How many of the tables and indexes below a target has.
inline constexpr std::int64_t kObjects = 5;
inline constexpr const char* kCountObjects = R"sql(
SELECT count(*) FROM sqlite_schema WHERE name IN
  ('turnstile_meta', 'turnstile_producers', 'turnstile_dead_letters',
   'turnstile_dead_letters_live', 'turnstile_text_log')
)sql";

inline constexpr const char* kCreate = R"sql(
CREATE TABLE IF NOT EXISTS turnstile_meta(
  key TEXT PRIMARY KEY,
  value INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS turnstile_producers(
  producer TEXT PRIMARY KEY,
  epoch INTEGER NOT NULL,
  through INTEGER NOT NULL,
  rows_applied INTEGER NOT NULL,
  rows_dead INTEGER NOT NULL,
  changes INTEGER NOT NULL,
  letters_gone INTEGER NOT NULL,
  source TEXT NOT NULL,
  updated_at_ms INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS turnstile_dead_letters(
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  producer TEXT NOT NULL,
  epoch INTEGER NOT NULL,
  sequence INTEGER NOT NULL,
  rows INTEGER NOT NULL,
  kind INTEGER NOT NULL,
  table_name TEXT NOT NULL,
  columns TEXT NOT NULL,
  row BLOB NOT NULL,
  reason TEXT NOT NULL,
  at_ms INTEGER NOT NULL,
  live INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS turnstile_dead_letters_live
  ON turnstile_dead_letters(producer, sequence) WHERE live;

CREATE TABLE IF NOT EXISTS turnstile_text_log(
  path TEXT PRIMARY KEY,
  table_name TEXT NOT NULL,
  length INTEGER NOT NULL,
  last_rowid INTEGER NOT NULL,
  synced_length INTEGER NOT NULL,
  synced_rowid INTEGER NOT NULL,
  base_length INTEGER NOT NULL DEFAULT 0,
  base_rowid INTEGER NOT NULL DEFAULT -9223372036854775808
) WITHOUT ROWID;

INSERT OR IGNORE INTO turnstile_meta VALUES ('format_version', 2), ('generation', 0);
)sql";

// What made version 2 of version 1.
inline constexpr std::string_view kToVersion2 =
    "ALTER TABLE main.turnstile_text_log ADD COLUMN base_length INTEGER NOT NULL DEFAULT 0; "
    "ALTER TABLE main.turnstile_text_log ADD COLUMN base_rowid INTEGER NOT NULL "
    "DEFAULT -9223372036854775808";

}  // namespace turnstile::store::schema
