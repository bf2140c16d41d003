// The file of the text log, as little of a file as it needs; tests put failing ones in its place.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"

namespace turnstile::store {

class TextFile {
 public:
  TextFile() = default;
  TextFile(const TextFile&) = delete;
  TextFile& operator=(const TextFile&) = delete;
  virtual ~TextFile() = default;

  // Errors of all: full (no room), io.
  virtual Result<std::uint64_t> size() = 0;
  // May write less than all, and then says how much.
  virtual Result<std::size_t> write_some(std::uint64_t offset, std::string_view bytes) = 0;
  virtual Result<void> truncate(std::uint64_t length) = 0;
  // May read less than `size` bytes: none at the end.
  virtual Result<std::string> read_some(std::uint64_t /*offset*/, std::size_t /*size*/) {
    return std::string();
  }
  // One look at its path: whether this file is still there, and how long it is.
  struct Look {
    bool is_at_path = true;
    std::uint64_t size = 0;
  };
  virtual Result<Look> look() {
    return size().map([](std::uint64_t bytes) { return Look{.is_at_path = true, .size = bytes}; });
  }
  // The bytes, and the file's name in its directory.
  virtual Result<void> sync() = 0;
};

// Opens or creates. Errors: unreachable, such as for what is no regular file.
using OpenTextFile =
    std::function<Result<std::unique_ptr<TextFile>>(const std::filesystem::path& path)>;

Result<std::unique_ptr<TextFile>> open_posix_text_file(const std::filesystem::path& path);

// A text log must be a regular file: lines are written at their places and read back. Errors:
// unreachable, when something else is at the path. Good when nothing is.
Result<void> check_text_path(const std::filesystem::path& path);

Result<void> write_all(TextFile& file, std::uint64_t offset, std::string_view bytes);

// What the system's error number means for a file that is written.
Error file_error(int error_number, std::string_view doing, const std::filesystem::path& path);

}  // namespace turnstile::store
