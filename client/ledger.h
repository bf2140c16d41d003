// A producer's ledger (--ledger FILE): one line for each acknowledgement, appended after it came,
// for `turnstile check` to hold against the target. inspect/check_ledger.h has the format.
//
// Several producers may append to one file, from one process or from several: each line is one
// write(2) at the file's end. It is not synced: what a power cut takes from its end was told all
// the same, and the ledger claims less than the target has.
#pragma once

#include <chrono>
#include <filesystem>

#include "base/descriptor.h"
#include "client/session.h"
#include "proto/ids.h"
#include "base/result.h"

namespace turnstile {

class Ledger {
 public:
  // Makes the file if it is missing. A last line that a crash cut off is removed, unless another
  // process is appending. Errors: unreachable.
  static Result<Ledger> open(const std::filesystem::path& path);

  // Errors: io; the line is not there, or only its beginning.
  Result<void> append(const ProducerId& producer, const Acknowledged& told,
                      std::chrono::system_clock::time_point at);

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

 private:
  Ledger(std::filesystem::path path, Descriptor file)
      : path_(std::move(path)), file_(std::move(file)) {}
  Result<void> cut_torn_line();

  std::filesystem::path path_;
  Descriptor file_;  // holds a shared flock: somebody appends
};

}  // namespace turnstile
