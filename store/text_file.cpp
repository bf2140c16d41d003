#include "store/text_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <system_error>
#include <utility>

namespace turnstile::store {
namespace {

class PosixTextFile final : public TextFile {
 public:
  PosixTextFile(std::filesystem::path path, int fd) : path_(std::move(path)), fd_(fd) {}
  PosixTextFile(const PosixTextFile&) = delete;
  PosixTextFile& operator=(const PosixTextFile&) = delete;
  ~PosixTextFile() override { ::close(fd_); }

  Result<std::uint64_t> size() override {
    struct stat about {};
    if (::fstat(fd_, &about) != 0) {
      return failure("reading the size of");
    }
    return static_cast<std::uint64_t>(about.st_size);
  }

  Result<std::size_t> write_some(std::uint64_t offset, std::string_view bytes) override {
    ssize_t written = -1;
    do {
      written = ::pwrite(fd_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    } while (written < 0 && errno == EINTR);
    if (written < 0) {
      return failure("writing");
    }
    return static_cast<std::size_t>(written);
  }

  Result<void> truncate(std::uint64_t length) override {
    int code = -1;
    do {
      code = ::ftruncate(fd_, static_cast<off_t>(length));
    } while (code != 0 && errno == EINTR);
    if (code != 0) {
      return failure("cutting");
    }
    return {};
  }

  Result<void> sync() override {
    // Never repeated: a sync that failed once may report success the next time (promise 8).
    if (::fdatasync(fd_) != 0) {
      return failure("syncing");
    }
    return name_is_synced_ ? Result<void>() : sync_name();
  }

 private:
  // Whoever made the file may have died before this. A folder that cannot be opened for it, or
  // takes no sync, keeps names safe in its own way or not at all.
  Result<void> sync_name() {
    const auto folder = path_.has_parent_path() ? path_.parent_path() : std::filesystem::path(".");
    const int fd = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
      const int code = ::fsync(fd);
      const int error = errno;
      ::close(fd);
      if (code != 0 && error != EINVAL) {
        return tl::make_unexpected(file_error(error, "syncing the folder of", path_));
      }
    }
    name_is_synced_ = true;
    return {};
  }

  [[nodiscard]] tl::unexpected<Error> failure(std::string_view doing) const {
    return tl::make_unexpected(file_error(errno, doing, path_));
  }

  std::filesystem::path path_;
  int fd_;
  bool name_is_synced_ = false;
};

}  // namespace

Result<std::unique_ptr<TextFile>> open_posix_text_file(const std::filesystem::path& path) {
  constexpr mode_t kMode = 0666;  // less the umask
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, kMode);
  if (fd < 0) {
    Error error = file_error(errno, "opening", path);
    error.code = Errc::unreachable;
    error.hint = "make its folder, give this user the right to write it, or name another file";
    return tl::make_unexpected(std::move(error));
  }
  return std::unique_ptr<TextFile>(std::make_unique<PosixTextFile>(path, fd));
}

Result<void> write_all(TextFile& file, std::uint64_t offset, std::string_view bytes) {
  while (!bytes.empty()) {
    auto written = file.write_some(offset, bytes);
    if (!written) {
      return tl::make_unexpected(std::move(written.error()));
    }
    if (*written == 0) {
      return fail(Errc::io, "writing the text log: the file takes no more bytes");
    }
    offset += *written;
    bytes.remove_prefix(*written);
  }
  return {};
}

Error file_error(int error_number, std::string_view doing, const std::filesystem::path& path) {
  const bool full = error_number == ENOSPC || error_number == EDQUOT || error_number == EFBIG;
  return {full ? Errc::full : Errc::io,
          std::string(doing) + " " + path.string() + ": " +
              std::generic_category().message(error_number),
          full ? "free space on its file system" : "look at the disk (dmesg)"};
}

}  // namespace turnstile::store
