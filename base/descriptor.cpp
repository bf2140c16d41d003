#include "base/descriptor.h"

#include <cerrno>

namespace turnstile {

void Descriptor::reset(int fd) {
  const int before = std::exchange(fd_, fd);
  if (before >= 0 && before != fd) {
    const int problem = errno;
    ::close(before);
    errno = problem;
  }
}

}  // namespace turnstile
