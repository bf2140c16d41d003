// Producer processes that use the library, as a program would that writes rows.
#pragma once

#include <cstddef>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "bench/process.h"
#include "bench/rows.h"

namespace turnstile::bench {

// One process that calls append for each row, and ends when all are applied. Seconds from the first
// call, when it is connected and the rows are in memory.
double append_each(const std::string& endpoint, const std::filesystem::path& csv);

// What many processes that each wait for every row came to.
struct Waiting {
  double rows_per_second = 0;     // from the common start to the end of the last process
  std::vector<double> latencies;  // of rows that were written, in seconds
  double slowest_of_fastest = 0;  // rows/s of the slowest process / those of the fastest
  double lost = 0;                // rows
  Fingerprint written;
};

class WaitingWriter {
 public:
  WaitingWriter() = default;
  WaitingWriter(const WaitingWriter&) = delete;
  WaitingWriter& operator=(const WaitingWriter&) = delete;
  virtual ~WaitingWriter() = default;
  // Returns when the row is committed; false: it is lost.
  virtual bool write(const Row& row) = 0;
  // After the last row, outside the time that is measured.
  virtual void finish() {}
};
using OpenWriter = std::function<std::unique_ptr<WaitingWriter>(std::size_t process)>;

// One process for each share, all of which begin together.
Waiting write_waiting(Sample& sample, const Shares& shares, const OpenWriter& open);

// Through the broker, waiting for `applied`.
std::unique_ptr<WaitingWriter> open_broker_writer(const std::string& endpoint);

// Processes that are connected and send nothing, until they are ended. Returns when all have been
// welcomed.
std::vector<Process> idle_producers(const std::string& endpoint, std::size_t count);

}  // namespace turnstile::bench
