// For builds without libnats.
#include "bench/jetstream.h"

namespace turnstile::bench {

std::string jetstream_problem() {
  return "built without libnats-dev: compose/setup --bench";
}

std::string jetstream_version() {
  return {};
}

double jetstream_each(const std::filesystem::path& /*directory*/,
                      const std::filesystem::path& /*csv*/, std::uint64_t /*rows*/) {
  throw Failure(jetstream_problem());
}

double jetstream_csv(const std::filesystem::path& /*directory*/,
                     const std::filesystem::path& /*csv*/, std::uint64_t /*rows*/) {
  throw Failure(jetstream_problem());
}

std::vector<double> jetstream_waiting(const std::filesystem::path& /*directory*/,
                                      Sample& /*sample*/, std::uint64_t /*rows*/) {
  throw Failure(jetstream_problem());
}

std::filesystem::path jetstream_target(const std::filesystem::path& directory) {
  return directory / "shared.db";
}

}  // namespace turnstile::bench
