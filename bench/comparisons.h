// What people do without Turnstile, written as a good programmer would. Uses no code of Turnstile.
#pragma once

#include <filesystem>
#include <memory>

#include "bench/producers.h"

namespace turnstile::bench {

// The settings of Turnstile's target, for the comparisons that also write many rows per
// transaction. The target has two cache sizes; these comparisons are as fast or faster with the
// larger one.
inline constexpr const char* kTargetFileSettings =
    "PRAGMA page_size=16384; PRAGMA journal_mode=WAL";
inline constexpr const char* kTargetSettings =
    "PRAGMA synchronous=FULL; PRAGMA cache_size=-32768; PRAGMA temp_store=MEMORY; "
    "PRAGMA wal_autocheckpoint=4000";

// The sqlite3 shell's .import. Returns the seconds from its start to its end.
double import_with_shell(const std::filesystem::path& csv, const std::filesystem::path& db,
                         const std::filesystem::path& log);

// The physical limit: one process, parsed rows in memory, 50 rows per INSERT, 10,000 per
// transaction. Returns the seconds from opening the database to the last commit.
double insert_from_memory(const std::filesystem::path& csv, const std::filesystem::path& db);

// A plain SQLite program as many people write it: WAL, synchronous=FULL, BEGIN IMMEDIATE, INSERT,
// COMMIT, a busy timeout of 5 s; a row that fails is lost.
void make_direct_database(const std::filesystem::path& db);
std::unique_ptr<WaitingWriter> open_direct_writer(const std::filesystem::path& db);

}  // namespace turnstile::bench
