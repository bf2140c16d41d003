#include "base/file_lock.h"

#include <fcntl.h>
#include <sys/file.h>

#include <cerrno>
#include <cstring>

#include "base/file_identity.h"

namespace turnstile {

Result<FileLock> FileLock::take(const std::filesystem::path& path, const std::string& what) {
  Descriptor fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!fd) {
    return fail(Errc::unreachable,
                "cannot open the lock file " + path.string() + ": " + std::strerror(errno),
                "Check that the directory exists and that you may write in it.");
  }
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    return fail(Errc::locked, "another broker already uses " + what,
                "Stop it first, or give this one another path.");
  }
  return FileLock(std::move(fd), path, what);
}

Result<void> FileLock::keep() {
  if (identity_at(path_) == identity_of(fd_.get())) {
    return {};
  }
  return take(path_, what_).map([this](FileLock again) { *this = std::move(again); });
}

}  // namespace turnstile
