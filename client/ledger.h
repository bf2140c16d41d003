// A producer's ledger (--ledger FILE): one line for each acknowledgement, appended after it
// arrived, for `turnstile check` to compare with the target. inspect/check_ledger.h has the format.
//
// Several producers, in one process or several, may append to one file: each line is one write(2)
// at the end of the file. The file is not synced. A power failure may remove lines from its end;
// the ledger then claims less than the target has.
#pragma once

#include <chrono>
#include <filesystem>

#include "base/descriptor.h"
#include "base/result.h"
#include "client/session.h"
#include "proto/ids.h"

namespace turnstile {

class Ledger {
 public:
  // Makes the file if it is missing. Removes a partial last line, unless another process is
  // appending. Errors: unreachable.
  static Result<Ledger> open(const std::filesystem::path& path);

  // Errors: io; the line is missing or partial.
  Result<void> append(const ProducerId& producer, const Acknowledged& acknowledged,
                      std::chrono::system_clock::time_point at);

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

 private:
  Ledger(std::filesystem::path path, Descriptor file)
      : path_(std::move(path)), file_(std::move(file)) {}
  Result<void> cut_torn_line();

  std::filesystem::path path_;
  Descriptor file_;  // holds a shared flock while it may append
};

}  // namespace turnstile
