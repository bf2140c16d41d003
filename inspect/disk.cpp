#include "inspect/disk.h"

#include <fcntl.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <system_error>
#include <utility>
#include <vector>

#include <fmt/format.h>

namespace turnstile {
namespace {

using std::chrono::microseconds;
using std::chrono::steady_clock;

constexpr std::size_t kBlockBytes = 4096;
constexpr int kSamples = 32;
constexpr std::chrono::seconds kLongestMeasurement{3};

struct KnownFileSystem {
  std::uint32_t magic;
  std::string_view name;
  FileSystemKind kind;
};

// From linux/magic.h and statfs(2), where not every one of them is defined.
constexpr std::array<KnownFileSystem, 21> kFileSystems{{
    {0x0000ef53, "ext2/ext3/ext4", FileSystemKind::local},
    {0x58465342, "XFS", FileSystemKind::local},
    {0x9123683e, "Btrfs", FileSystemKind::local},
    {0x2fc12fc1, "ZFS", FileSystemKind::local},
    {0xf2f52010, "F2FS", FileSystemKind::local},
    {0xca451a4e, "bcachefs", FileSystemKind::local},
    {0x794c7630, "overlayfs", FileSystemKind::local},
    {0x00004d44, "FAT", FileSystemKind::local},
    {0x5346544e, "NTFS", FileSystemKind::local},
    {0x01021994, "tmpfs", FileSystemKind::memory},
    {0x858458f6, "ramfs", FileSystemKind::memory},
    {0x00006969, "NFS", FileSystemKind::network},
    {0x0000517b, "SMB", FileSystemKind::network},
    {0xff534d42, "CIFS", FileSystemKind::network},
    {0xfe534d42, "SMB2", FileSystemKind::network},
    {0x65735546, "FUSE (sshfs or the like)", FileSystemKind::network},
    {0x01021997, "9p", FileSystemKind::network},
    {0x00c36400, "Ceph", FileSystemKind::network},
    {0x5346414f, "AFS", FileSystemKind::network},
    {0x0bd00bd0, "Lustre", FileSystemKind::network},
    {0x786f4256, "VirtualBox shared folder", FileSystemKind::network},
}};

tl::unexpected<Error> fail_with_errno(const std::string& doing,
                                      const std::filesystem::path& directory) {
  const int code = errno;
  return fail(Errc::unreachable,
              fmt::format("cannot {} the directory '{}': {}", doing, directory.string(),
                          std::generic_category().message(code)),
              "give --db a path in a directory that exists and that this user can write");
}

// Keeps its name until the end: Btrfs does not log a file that has none, and its sync would look
// faster than that of a database.
class TemporaryFile {
 public:
  explicit TemporaryFile(const std::filesystem::path& directory)
      : path_((directory / ".turnstile-doctor-XXXXXX").string()),
        fd_(mkostemp(path_.data(), O_CLOEXEC)) {}
  ~TemporaryFile() {
    if (fd_ >= 0) {
      close(fd_);
      unlink(path_.c_str());
    }
  }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;

  [[nodiscard]] int fd() const { return fd_; }

 private:
  std::string path_;
  int fd_;  // -1 when it could not be made
};

microseconds median(std::vector<microseconds> samples) {
  const auto middle = samples.begin() + static_cast<std::ptrdiff_t>(samples.size() / 2);
  std::nth_element(samples.begin(), middle, samples.end());
  return *middle;
}

Result<microseconds> time_syncs(int fd, const std::filesystem::path& directory) {
  std::array<char, kBlockBytes> block{};
  block.fill('t');
  std::vector<microseconds> samples;
  const auto start = steady_clock::now();
  for (int i = 0; i < kSamples && steady_clock::now() - start < kLongestMeasurement; ++i) {
    const auto before = steady_clock::now();
    const auto offset = static_cast<off_t>(static_cast<std::size_t>(i) * kBlockBytes);
    const ssize_t written = pwrite(fd, block.data(), block.size(), offset);
    if (written != static_cast<ssize_t>(block.size())) {
      errno = written < 0 ? errno : ENOSPC;
      return fail_with_errno("write a file in", directory);
    }
    if (fdatasync(fd) != 0) {
      return fail_with_errno("sync a file in", directory);
    }
    samples.push_back(std::chrono::duration_cast<microseconds>(steady_clock::now() - before));
  }
  return median(std::move(samples));
}

}  // namespace

std::string_view file_system_kind_name(FileSystemKind kind) {
  switch (kind) {
    case FileSystemKind::local:
      return "local";
    case FileSystemKind::network:
      return "network";
    case FileSystemKind::memory:
      return "memory";
    case FileSystemKind::unknown:
      break;
  }
  return "unknown";
}

FileSystem file_system_of(std::uint32_t magic) {
  for (const KnownFileSystem& known : kFileSystems) {
    if (known.magic == magic) {
      return {std::string(known.name), known.kind};
    }
  }
  return {fmt::format("unknown (type {:#x})", magic), FileSystemKind::unknown};
}

Result<Disk> look_at_disk(const std::filesystem::path& directory) {
  struct statfs found {};
  if (statfs(directory.c_str(), &found) != 0) {
    return fail_with_errno("open", directory);
  }
  return Disk{
      file_system_of(static_cast<std::uint32_t>(found.f_type)),
      static_cast<std::uint64_t>(found.f_bavail) * static_cast<std::uint64_t>(found.f_bsize)};
}

Result<SyncTimes> measure_sync(const std::filesystem::path& directory) {
  const TemporaryFile file(directory);
  if (file.fd() < 0) {
    return fail_with_errno("write a file in", directory);
  }
  SyncTimes times;
  for (microseconds* pass : {&times.appended, &times.overwritten}) {
    auto measured = time_syncs(file.fd(), directory);
    if (!measured) {
      return tl::make_unexpected(measured.error());
    }
    *pass = *measured;
  }
  return times;
}

}  // namespace turnstile
