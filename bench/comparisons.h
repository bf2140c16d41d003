// What people do without the product, written as a good programmer would: no line of the product
// writes here.
#pragma once

#include <filesystem>
#include <memory>

#include "bench/producers.h"

namespace turnstile::bench {

// The target's settings, for those comparisons that share its way of writing much at once. The
// cache is the larger of its two, with which these are as fast or faster.
inline constexpr const char* kTargetFileSettings =
    "PRAGMA page_size=16384; PRAGMA journal_mode=WAL";
inline constexpr const char* kTargetSettings =
    "PRAGMA synchronous=FULL; PRAGMA cache_size=-32768; PRAGMA temp_store=MEMORY; "
    "PRAGMA wal_autocheckpoint=4000";

// The sqlite3 shell's .import. Seconds from its start to its end.
double import_with_shell(const std::filesystem::path& csv, const std::filesystem::path& db,
                         const std::filesystem::path& log);

// The physical limit: one process, parsed rows in memory, 50 an INSERT, 10,000 a transaction.
// Seconds from opening the database to the last commit.
double insert_from_memory(const std::filesystem::path& csv, const std::filesystem::path& db);

// A plain SQLite program as many people write it: WAL, synchronous=FULL, BEGIN IMMEDIATE, INSERT,
// COMMIT, a timeout of 5 s; what fails is lost.
void make_direct_database(const std::filesystem::path& db);
std::unique_ptr<WaitingWriter> open_direct_writer(const std::filesystem::path& db);

}  // namespace turnstile::bench
