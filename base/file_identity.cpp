#include "base/file_identity.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

namespace turnstile {
namespace {

// Not stat(): who reads a file's times, as that does, makes Linux (from 6.13 on) keep the next ones
// exactly, and then each sync of the file has to write its inode as well.
std::optional<FileIdentity> identity(int directory_or_fd, const char* path, int flags) {
  struct statx about {};
  if (::statx(directory_or_fd, path, flags, STATX_INO, &about) != 0) {
    return std::nullopt;
  }
  return FileIdentity{makedev(about.stx_dev_major, about.stx_dev_minor), about.stx_ino};
}

}  // namespace

std::optional<FileContent> content_at(const std::filesystem::path& path) {
  struct stat about {};
  if (::stat(path.c_str(), &about) != 0) {
    return std::nullopt;
  }
  return FileContent{
      {about.st_dev, about.st_ino}, about.st_mtim.tv_sec, about.st_mtim.tv_nsec, about.st_size};
}

std::optional<FileIdentity> identity_at(const std::filesystem::path& path) {
  return identity(AT_FDCWD, path.c_str(), 0);
}

std::optional<FileIdentity> identity_of_name(const std::filesystem::path& path) {
  return identity(AT_FDCWD, path.c_str(), AT_SYMLINK_NOFOLLOW);
}

std::optional<FileIdentity> identity_of(int fd) {
  return identity(fd, "", AT_EMPTY_PATH);
}

}  // namespace turnstile
