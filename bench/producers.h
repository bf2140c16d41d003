// Producer processes that use the client library as a program would.
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

// One process that calls append for each row, and ends when all are applied. Returns the seconds
// from the first call, made after the process has connected and has the rows in memory.
double append_each(const std::string& endpoint, const std::filesystem::path& csv);

// The result of many processes that each wait for every row.
struct Waiting {
  double rows_per_second = 0;     // from the common start to the end of the last process
  std::vector<double> latencies;  // of the written rows, in seconds
  double slowest_of_fastest = 0;  // rows/s of the slowest process / rows/s of the fastest
  double lost = 0;                // rows
  Fingerprint written;
};

class WaitingWriter {
 public:
  WaitingWriter() = default;
  WaitingWriter(const WaitingWriter&) = delete;
  WaitingWriter& operator=(const WaitingWriter&) = delete;
  virtual ~WaitingWriter() = default;
  // Returns when the row is committed; false if the row is lost.
  virtual bool write(const Row& row) = 0;
  // Called after the last row, outside the measured time.
  virtual void finish() {}
};
using OpenWriter = std::function<std::unique_ptr<WaitingWriter>(std::size_t process)>;

// One process per share; all begin at the same time.
Waiting write_waiting(Sample& sample, const Shares& shares, const OpenWriter& open);

// Through the broker, waiting for `applied`.
std::unique_ptr<WaitingWriter> open_broker_writer(const std::string& endpoint);

// Processes that connect and send nothing. Returns when the broker has welcomed all of them.
std::vector<Process> idle_producers(const std::string& endpoint, std::size_t count);

}  // namespace turnstile::bench
