#include "base/process_limits.h"

#include <fcntl.h>
#include <malloc.h>
#include <sys/resource.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <string>

namespace turnstile {

Result<void> allow_all_descriptors() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
    limit.rlim_cur = limit.rlim_max;
    // Where it is not allowed the limit stays, and the log says when it is reached.
    static_cast<void>(::setrlimit(RLIMIT_NOFILE, &limit));
  }
  // `serve` has 22 open before the first connection.
  constexpr rlim_t kLeast = 32;
  if (::getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < kLeast) {
    return fail(Errc::unreachable,
                "this process may have only " + std::to_string(limit.rlim_cur) +
                    " files open; a broker needs " + std::to_string(kLeast) +
                    ", and one more for each connection",
                "raise the limit (ulimit -n, LimitNOFILE=)");
  }
  return {};
}

std::size_t heap_bytes() {
  const struct mallinfo2 info = ::mallinfo2();
  return info.uordblks + info.hblkhd;
}

std::size_t resident_bytes() {
  // Kept open, for the time when no descriptor is free.
  static const int statm = ::open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
  std::array<char, 128> text{};
  if (::pread(statm, text.data(), text.size() - 1, 0) <= 0) {
    return 0;
  }
  char* end = nullptr;
  std::strtoull(text.data(), &end, 10);  // all of it
  return std::strtoull(end, nullptr, 10) * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
}

void release_free_memory() {
  ::malloc_trim(0);
}

}  // namespace turnstile
