// Which file a path leads to. A file that is open keeps its device and inode, so no other file can
// get the same pair meanwhile: a different pair at the path means a different file.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <optional>

namespace turnstile {

struct FileIdentity {
  dev_t device = 0;
  ino_t inode = 0;
  bool operator==(const FileIdentity&) const = default;
};

// Whose content has changed has another time or size.
struct FileContent {
  FileIdentity file;
  std::int64_t changed_s = 0;
  std::int64_t changed_ns = 0;
  std::int64_t bytes = 0;
  bool operator==(const FileContent&) const = default;
};
std::optional<FileContent> content_at(const std::filesystem::path& path);

// Follows symbolic links. Nothing: no file is there, or the path cannot be looked up.
std::optional<FileIdentity> identity_at(const std::filesystem::path& path);
// Of the name itself, such as a socket's.
std::optional<FileIdentity> identity_of_name(const std::filesystem::path& path);
std::optional<FileIdentity> identity_of(int fd);

}  // namespace turnstile
