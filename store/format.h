// The format version that an SQLite file of ours carries, and how a file of an older version
// becomes one of the present version: all steps, and the version with them, in one transaction.
// Whatever ends the program in between leaves the file as it was.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "base/result.h"
#include "store/sqlite.h"

namespace turnstile::sqlite {

// Makes version `from` + 1 of version `from`. Never changed once it was released, so it names
// tables as they were then.
struct Migration {
  std::int64_t from = 0;
  std::string_view sql;
};

struct Format {
  std::string_view file;   // what errors call it, such as "the journal"
  std::string_view table;  // has the columns `key` and `value`, ...
  std::string_view key;    // ... and the version at this key
  std::int64_t version = 0;
  std::span<const Migration> migrations;
  std::string_view besides;  // SQL that belongs to any migration, in the same transaction
};

// The version of the file, which this program has or can make its own. Changes nothing.
// Errors: unreachable: it is newer, or older than any that can be migrated.
Result<std::int64_t> find_version(Connection& connection, const Format& format);

// Outside a transaction. The version that the file had, if it had an older one. Errors: as above;
// full, io, locked: it still has the old version.
Result<std::optional<std::int64_t>> migrate(Connection& connection, const Format& format);

}  // namespace turnstile::sqlite
