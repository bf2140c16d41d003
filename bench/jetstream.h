// NATS JetStream in place of the broker: nats-server with a stream on disk, a publisher, and a
// consumer that applies many messages per transaction with Turnstile's own code (store::Target),
// and acknowledges them after the commit. Two processes plus the server, as with Turnstile.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "bench/process.h"
#include "bench/rows.h"

namespace turnstile::bench {

// Why JetStream cannot be measured here; empty if it can.
std::string jetstream_problem();
// The version of nats-server.
std::string jetstream_version();

// Publishes rows from memory, one per message. Returns the seconds from the first to the commit of
// the last.
double jetstream_each(const std::filesystem::path& directory, const std::filesystem::path& csv,
                      std::uint64_t rows);

// Reads and publishes a CSV file, 1,000 rows per message. Returns the seconds from the start of the
// publisher to the commit of the last row.
double jetstream_csv(const std::filesystem::path& directory, const std::filesystem::path& csv,
                     std::uint64_t rows);

// Publishes rows 1 to `rows`, each after the commit of the previous one. Returns the seconds of
// each.
std::vector<double> jetstream_waiting(const std::filesystem::path& directory, Sample& sample,
                                      std::uint64_t rows);

// The target that these write in `directory`.
std::filesystem::path jetstream_target(const std::filesystem::path& directory);

}  // namespace turnstile::bench
