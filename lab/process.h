// This program again, as a process of a run.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"

namespace turnstile::lab {

struct ProcessEnd {
  bool by_signal = false;
  int code = 0;  // exit code or signal
};

// Killed, and gone, at the end of its life here; and killed by the system if this process, or the
// thread that started it, ends before it.
class ChildProcess {
 public:
  // Runs in `folder`, with both outputs appended to `log` there. Of this process's environment it
  // keeps all but the variables of turnstile, and gets `environment` (NAME=value).
  // Errors: unreachable.
  static Result<ChildProcess> start(const std::string& folder, const std::string& log,
                                    const std::vector<std::string>& arguments,
                                    const std::vector<std::string>& environment);

  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;
  ChildProcess(ChildProcess&& other) noexcept
      : pid_(std::exchange(other.pid_, -1)), pidfd_(std::exchange(other.pidfd_, -1)) {}
  ChildProcess& operator=(ChildProcess&& other) noexcept {
    std::swap(pid_, other.pid_);
    std::swap(pidfd_, other.pidfd_);
    return *this;
  }
  ~ChildProcess();

  [[nodiscard]] pid_t pid() const { return pid_; }
  // Readable when it has ended.
  [[nodiscard]] int pidfd() const { return pidfd_; }
  void signal(int number) const;
  // How it ended; nothing while it runs. To be asked until it says so, and not again.
  std::optional<ProcessEnd> take_end();

 private:
  ChildProcess(pid_t pid, int pidfd) : pid_(pid), pidfd_(pidfd) {}

  pid_t pid_ = -1;  // -1: it has ended
  int pidfd_ = -1;
};

}  // namespace turnstile::lab
