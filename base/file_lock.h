// An advisory lock (flock) on a file of its own. The system releases it however the process ends.
#pragma once

#include <filesystem>
#include <string>
#include <utility>

#include "base/descriptor.h"
#include "base/result.h"

namespace turnstile {

class FileLock {
 public:
  // `what` the lock protects, for the message. Errors: locked, another process has it; unreachable.
  static Result<FileLock> take(const std::filesystem::path& path, const std::string& what);
  // Takes the lock again if its file is no longer at the path, where another process could take it.
  Result<void> keep();

 private:
  FileLock(Descriptor fd, std::filesystem::path path, std::string what)
      : fd_(std::move(fd)), path_(std::move(path)), what_(std::move(what)) {}

  Descriptor fd_;
  std::filesystem::path path_;
  std::string what_;
};

}  // namespace turnstile
