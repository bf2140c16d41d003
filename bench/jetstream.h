// NATS JetStream in the broker's place: nats-server with a stream on disk, a publisher, and a
// consumer that applies with the product's own code (store::Target), many messages a transaction,
// and acknowledges when they are committed. Two processes beside the server, as with the product.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "bench/process.h"
#include "bench/rows.h"

namespace turnstile::bench {

// Why it cannot be measured here; empty when it can.
std::string jetstream_problem();
// nats-server's version.
std::string jetstream_version();

// Rows in memory, published one a message. Seconds from the first to the commit of the last.
double jetstream_each(const std::filesystem::path& folder, const std::filesystem::path& csv,
                      std::uint64_t rows);

// A CSV file that is read and published, 1,000 rows a message. Seconds from the start of the
// process that reads it to the commit of the last row.
double jetstream_csv(const std::filesystem::path& folder, const std::filesystem::path& csv,
                     std::uint64_t rows);

// Rows 1 to `rows`, each published when the one before is committed. Seconds of each.
std::vector<double> jetstream_waiting(const std::filesystem::path& folder, Sample& sample,
                                      std::uint64_t rows);

// The target that they write, in their folder.
std::filesystem::path jetstream_target(const std::filesystem::path& folder);

}  // namespace turnstile::bench
