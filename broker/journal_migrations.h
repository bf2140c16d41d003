// How a journal of an older format becomes one of the present format (JOURNAL.md).
#pragma once

#include <array>

#include "broker/journal_schema.h"
#include "store/format.h"

namespace turnstile::broker {

inline constexpr std::array kJournalMigrations{
    // A name's epoch gets the time it was given at, so that names long out of use can be found.
    // Of those that are there nothing is known: they count as used now.
    sqlite::Migration{1, R"sql(
ALTER TABLE producers RENAME TO producers_of_format_1;
CREATE TABLE producers(name TEXT PRIMARY KEY, epoch INTEGER NOT NULL, touched_ms INTEGER NOT NULL)
  WITHOUT ROWID;
INSERT INTO producers SELECT name, epoch, unixepoch() * 1000 FROM producers_of_format_1;
DROP TABLE producers_of_format_1;
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
