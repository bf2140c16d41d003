// What the disk under a database promises: its file system, its free space, and how long a sync
// takes. Everything that fails here is Errc::unreachable: the directory is missing or cannot be
// used.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "base/result.h"

namespace turnstile {

enum class FileSystemKind {
  local,
  network,  // locks and syncs may not mean what they say; WAL does not work across machines
  memory,   // does not survive a power cut
  unknown,
};

std::string_view file_system_kind_name(FileSystemKind kind);

struct FileSystem {
  std::string name;
  FileSystemKind kind = FileSystemKind::unknown;
};

// `magic` is f_type of statfs(2).
FileSystem file_system_of(std::uint32_t magic);

struct Disk {
  FileSystem file_system;
  std::uint64_t free_bytes = 0;  // for this user
};

Result<Disk> look_at_disk(const std::filesystem::path& directory);

// Medians of writing 4 KiB and syncing them.
struct SyncTimes {
  std::chrono::microseconds appended{0};     // at the end of a growing file
  std::chrono::microseconds overwritten{0};  // where the file has blocks already
};

// Writes and syncs 32 blocks each way, or as many as 3 s allow, in a temporary file in `directory`
// that is removed again.
Result<SyncTimes> measure_sync(const std::filesystem::path& directory);

}  // namespace turnstile
