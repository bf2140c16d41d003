#include "store/file_identity.h"

#include <sys/stat.h>

namespace turnstile {
namespace {

template <typename Look>
std::optional<FileIdentity> identity(Look look) {
  struct stat about {};
  if (look(about) != 0) {
    return std::nullopt;
  }
  return FileIdentity{about.st_dev, about.st_ino};
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
  return identity([&](struct stat& about) { return ::stat(path.c_str(), &about); });
}

std::optional<FileIdentity> identity_of_name(const std::filesystem::path& path) {
  return identity([&](struct stat& about) { return ::lstat(path.c_str(), &about); });
}

std::optional<FileIdentity> identity_of(int fd) {
  return identity([&](struct stat& about) { return ::fstat(fd, &about); });
}

}  // namespace turnstile
