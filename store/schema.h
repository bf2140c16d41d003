// The bookkeeping tables of a target, as TARGET.md explains them. A program that reads a target by
// its documented format (a checker, a tool) uses these names and nothing else of this room.
#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <string_view>

#include "store/format.h"

namespace turnstile::store::schema {

// The version of this format. A target with a greater one is left alone.
inline constexpr std::int64_t kFormatVersion = 2;

// Tables of this prefix belong to turnstile; rows for them are refused.
inline constexpr std::string_view kPrefix = "turnstile_";

inline constexpr std::string_view kMetaFormatVersion = "format_version";
inline constexpr std::string_view kMetaGeneration = "generation";
inline constexpr const char* kCheckForeignKeys =
    "INSERT OR IGNORE INTO main.turnstile_meta VALUES ('foreign_keys', 1)";
inline constexpr const char* kReadForeignKeys =
    "SELECT value FROM main.turnstile_meta WHERE key = 'foreign_keys'";

// What turnstile_letters.row holds: one row's MessagePack array, of an insert or of a table's
// definition, or a whole rows frame that could not be decoded; or a row of a retry or a discard
// that was refused itself.
enum class LetterKind : std::int64_t { row = 1, definition = 2, frame = 3, command = 4 };

// What a discard names, and the view that shows each letter with its table and columns.
inline constexpr std::string_view kDeadLetters = "turnstile_dead_letters";

// The last rowid of a text log that has no line yet.
inline constexpr std::int64_t kNoRowid = std::numeric_limits<std::int64_t>::min();

// How many of the tables, indexes and views below a target has.
inline constexpr std::int64_t kObjects = 9;
inline constexpr const char* kCountObjects = R"sql(
SELECT count(*) FROM main.sqlite_schema WHERE name IN
  ('turnstile_meta', 'turnstile_producers', 'turnstile_forms', 'turnstile_forms_hash',
   'turnstile_letters', 'turnstile_letters_live', 'turnstile_letters_form',
   'turnstile_dead_letters', 'turnstile_text_log')
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
  updated_at_ms INTEGER NOT NULL,
  letter_bytes INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS turnstile_forms(
  id INTEGER PRIMARY KEY,
  hash INTEGER NOT NULL,
  table_name TEXT NOT NULL,
  columns TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS turnstile_forms_hash ON turnstile_forms(hash);

CREATE TABLE IF NOT EXISTS turnstile_letters(
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  producer TEXT NOT NULL,
  epoch INTEGER NOT NULL,
  sequence INTEGER NOT NULL,
  rows INTEGER NOT NULL,
  kind INTEGER NOT NULL,
  form INTEGER NOT NULL,
  bytes INTEGER NOT NULL,
  at_ms INTEGER NOT NULL,
  live INTEGER NOT NULL,
  reason TEXT NOT NULL,
  row BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS turnstile_letters_live ON turnstile_letters(producer, sequence)
  WHERE live;
CREATE INDEX IF NOT EXISTS turnstile_letters_form ON turnstile_letters(form);

CREATE VIEW IF NOT EXISTS turnstile_dead_letters AS
  SELECT l.id, l.producer, l.epoch, l.sequence, l.rows, l.kind, f.table_name, f.columns, l.row,
         l.reason, l.at_ms, l.live
  FROM turnstile_letters AS l LEFT JOIN turnstile_forms AS f ON f.id = l.form;

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

// Letters share the names of their table and columns from version 2 on.
inline constexpr std::array kMigrations{sqlite::Migration{1, R"sql(
ALTER TABLE turnstile_producers ADD COLUMN letter_bytes INTEGER NOT NULL DEFAULT 0;

CREATE TABLE turnstile_forms(
  id INTEGER PRIMARY KEY,
  hash INTEGER NOT NULL,
  table_name TEXT NOT NULL,
  columns TEXT NOT NULL
);
CREATE INDEX turnstile_forms_hash ON turnstile_forms(hash);

CREATE TABLE turnstile_letters(
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  producer TEXT NOT NULL,
  epoch INTEGER NOT NULL,
  sequence INTEGER NOT NULL,
  rows INTEGER NOT NULL,
  kind INTEGER NOT NULL,
  form INTEGER NOT NULL,
  bytes INTEGER NOT NULL,
  at_ms INTEGER NOT NULL,
  live INTEGER NOT NULL,
  reason TEXT NOT NULL,
  row BLOB NOT NULL
);
CREATE INDEX turnstile_letters_live ON turnstile_letters(producer, sequence)
  WHERE live;
CREATE INDEX turnstile_letters_form ON turnstile_letters(form);

INSERT INTO turnstile_forms(hash, table_name, columns)
  SELECT DISTINCT 0, table_name, columns FROM turnstile_dead_letters;
CREATE INDEX turnstile_forms_moving ON turnstile_forms(table_name, columns);
INSERT INTO turnstile_letters
  SELECT l.id, l.producer, l.epoch, l.sequence, l.rows, l.kind, f.id,
         100 + length(l.row) + length(l.reason), l.at_ms, l.live, l.reason, l.row
  FROM turnstile_dead_letters AS l JOIN turnstile_forms AS f
    ON f.table_name = l.table_name AND f.columns = l.columns ORDER BY l.id;
DROP INDEX turnstile_forms_moving;
UPDATE sqlite_sequence SET seq = max(seq, (SELECT seq FROM sqlite_sequence
  WHERE name = 'turnstile_dead_letters')) WHERE name = 'turnstile_letters' AND EXISTS
  (SELECT 1 FROM sqlite_sequence WHERE name = 'turnstile_dead_letters');
INSERT INTO sqlite_sequence SELECT 'turnstile_letters', seq FROM sqlite_sequence
  WHERE name = 'turnstile_dead_letters' AND NOT EXISTS
  (SELECT 1 FROM sqlite_sequence WHERE name = 'turnstile_letters');
DROP TABLE turnstile_dead_letters;
UPDATE turnstile_producers SET letter_bytes = coalesce((SELECT sum(bytes) FROM turnstile_letters AS l
  WHERE l.live AND l.producer = turnstile_producers.producer), 0);

CREATE VIEW turnstile_dead_letters AS
  SELECT l.id, l.producer, l.epoch, l.sequence, l.rows, l.kind, f.table_name, f.columns, l.row,
         l.reason, l.at_ms, l.live
  FROM turnstile_letters AS l LEFT JOIN turnstile_forms AS f ON f.id = l.form;

ALTER TABLE turnstile_text_log ADD COLUMN base_length INTEGER NOT NULL DEFAULT 0;
ALTER TABLE turnstile_text_log ADD COLUMN base_rowid INTEGER NOT NULL DEFAULT -9223372036854775808;
)sql"}};

}  // namespace turnstile::store::schema
