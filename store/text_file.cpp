#include "store/text_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <optional>
#include <string>
#include <system_error>
#include <utility>

#include "base/descriptor.h"
#include "base/file_identity.h"

namespace turnstile::store {
namespace {

class PosixTextFile final : public TextFile {
 public:
  PosixTextFile(std::filesystem::path path, Descriptor fd)
      : path_(std::move(path)), fd_(std::move(fd)), identity_(identity_of(fd_.get())) {}

  Result<std::uint64_t> size() override {
    struct stat about {};
    if (::fstat(fd_.get(), &about) != 0) {
      return failure("reading the size of");
    }
    return static_cast<std::uint64_t>(about.st_size);
  }

  Result<std::size_t> write_some(std::uint64_t offset, std::string_view bytes) override {
    ssize_t written = -1;
    do {
      written = ::pwrite(fd_.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset));
    } while (written < 0 && errno == EINTR);
    if (written < 0) {
      return failure("writing");
    }
    return static_cast<std::size_t>(written);
  }

  Result<void> truncate(std::uint64_t length) override {
    int code = -1;
    do {
      code = ::ftruncate(fd_.get(), static_cast<off_t>(length));
    } while (code != 0 && errno == EINTR);
    if (code != 0) {
      return failure("cutting");
    }
    return {};
  }

  Result<std::string> read_some(std::uint64_t offset, std::size_t size) override {
    std::string bytes(size, '\0');
    ssize_t read = -1;
    do {
      read = ::pread(fd_.get(), bytes.data(), size, static_cast<off_t>(offset));
    } while (read < 0 && errno == EINTR);
    if (read < 0) {
      return failure("reading");
    }
    bytes.resize(static_cast<std::size_t>(read));
    return bytes;
  }

  Result<Look> look() override {
    struct stat about {};
    if (::stat(path_.c_str(), &about) != 0) {
      if (errno == ENOENT || errno == ENOTDIR) {
        return Look{.is_at_path = false, .size = 0};
      }
      return failure("looking up");
    }
    return Look{.is_at_path = FileIdentity{about.st_dev, about.st_ino} == identity_,
                .size = static_cast<std::uint64_t>(about.st_size)};
  }

  Result<void> sync() override {
    // Never repeated: a sync that failed once may report success the next time (promise 8).
    if (::fdatasync(fd_.get()) != 0) {
      return failure("syncing");
    }
    return name_is_synced_ ? Result<void>() : sync_name();
  }

 private:
  // The process that made the file may have died before this. A directory that cannot be opened or
  // synced keeps its names safe in its own way or not at all.
  Result<void> sync_name() {
    const auto directory =
        path_.has_parent_path() ? path_.parent_path() : std::filesystem::path(".");
    const Descriptor fd(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (fd && ::fsync(fd.get()) != 0 && errno != EINVAL) {
      return failure("syncing the directory of");
    }
    name_is_synced_ = true;
    return {};
  }

  [[nodiscard]] tl::unexpected<Error> failure(std::string_view doing) const {
    return tl::make_unexpected(file_error(errno, doing, path_));
  }

  std::filesystem::path path_;
  Descriptor fd_;
  std::optional<FileIdentity> identity_;
  bool name_is_synced_ = false;
};

}  // namespace

Result<std::unique_ptr<TextFile>> open_posix_text_file(const std::filesystem::path& path) {
  // First: to open a FIFO or a device may have effects of its own.
  if (auto regular = check_text_path(path); !regular) {
    return tl::make_unexpected(std::move(regular.error()));
  }
  constexpr mode_t kMode = 0666;  // less the umask
  Descriptor fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, kMode));
  if (!fd) {
    Error error = file_error(errno, "opening", path);
    error.code = Errc::unreachable;
    error.hint = "make its directory, give this user the right to write it, or name another file";
    return tl::make_unexpected(std::move(error));
  }
  return std::unique_ptr<TextFile>(std::make_unique<PosixTextFile>(path, std::move(fd)));
}

Result<void> check_text_path(const std::filesystem::path& path) {
  struct stat about {};
  if (::stat(path.c_str(), &about) != 0 || S_ISREG(about.st_mode)) {
    return {};  // what else is wrong shows when it is opened
  }
  return fail(Errc::unreachable,
              "the text log " + path.string() +
                  (S_ISDIR(about.st_mode) ? " is a directory" : " is not a regular file"),
              "name an ordinary file for --text, or leave it out");
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
