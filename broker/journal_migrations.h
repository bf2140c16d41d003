// How a journal of an older format becomes one of the current format (JOURNAL.md).
#pragma once

#include <array>

#include "broker/journal_schema.h"
#include "store/format.h"

namespace turnstile::broker {

inline constexpr std::array kJournalMigrations{
    // A name's epoch gets a time, so that unused names can be found. Existing names count as used
    // now.
    sqlite::Migration{1, R"sql(
ALTER TABLE producers RENAME TO producers_of_format_1;
CREATE TABLE producers(name TEXT PRIMARY KEY, epoch INTEGER NOT NULL, touched_ms INTEGER NOT NULL)
  WITHOUT ROWID;
INSERT INTO producers SELECT name, epoch, unixepoch() * 1000 FROM producers_of_format_1;
DROP TABLE producers_of_format_1;
)sql"},
    // A name belongs to a user, and the journal to a target. Existing names get their owner from
    // the next process of that name, and the journal gets its target from the next consumer.
    sqlite::Migration{2, R"sql(
ALTER TABLE producers RENAME TO producers_of_format_2;
CREATE TABLE producers(name TEXT PRIMARY KEY, epoch INTEGER NOT NULL, touched_ms INTEGER NOT NULL,
  owner INTEGER) WITHOUT ROWID;
INSERT INTO producers SELECT name, epoch, touched_ms, NULL FROM producers_of_format_2;
DROP TABLE producers_of_format_2;
CREATE TABLE target(path TEXT NOT NULL);
)sql"},
};

inline sqlite::Format journal_format() {
  return {.file = "the journal",
          .table = "turnstile_journal",
          .key = "format",
          .version = kJournalFormat,
          .migrations = kJournalMigrations,
          .besides = {}};
}

}  // namespace turnstile::broker
