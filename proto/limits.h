// The limits of the wire. A message beyond one of them is refused before it is looked at further.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>

namespace turnstile::limits {

inline constexpr std::uint32_t kProtocolVersion = 1;

// SQLite keeps integers as signed 64 bits.
inline constexpr std::uint64_t kSequence = 9'223'372'036'854'775'807;
inline constexpr std::uint64_t kEpoch = kSequence;

inline constexpr std::size_t kHeaderBytes = std::size_t{1024} * 1024;
inline constexpr std::size_t kRowsBytes = std::size_t{4} * 1024 * 1024;
inline constexpr std::uint32_t kBatchRows = 10'000;
inline constexpr std::uint32_t kBatchValues = 262'144;
inline constexpr std::uint32_t kColumns = 2'000;  // SQLite's default SQLITE_MAX_COLUMN
inline constexpr std::size_t kNameBytes = 256;    // a table or a column
inline constexpr std::size_t kProducerBytes = 64;
inline constexpr std::size_t kSourceBytes = 64;
inline constexpr std::size_t kReasonBytes = 512;     // why a row or a message was refused
inline constexpr std::size_t kDeadListed = 100;      // dead letters named in one message
inline constexpr std::size_t kResultsListed = 4096;  // batches answered in one message
inline constexpr std::size_t kTablesListed = 20;     // tables in trouble named in one message
inline constexpr std::chrono::milliseconds kTaskDuration{60'000};

}  // namespace turnstile::limits
