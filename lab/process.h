// This program, started again as a process of a run.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/descriptor.h"
#include "base/result.h"

namespace turnstile::lab {

struct ProcessEnd {
  bool by_signal = false;
  int code = 0;  // exit code or signal
};

// The destructor kills the process and waits for its end. The kernel kills it if this process, or
// the thread that started it, ends first.
class ChildProcess {
 public:
  // Runs in `directory`; stderr is appended to `log` there, stdout is discarded. The process
  // inherits this environment without the TURNSTILE_ variables, plus `environment` (NAME=value).
  // Errors: unreachable.
  static Result<ChildProcess> start(const std::string& directory, const std::string& log,
                                    const std::vector<std::string>& arguments,
                                    const std::vector<std::string>& environment);

  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;
  ChildProcess(ChildProcess&& other) noexcept
      : pid_(std::exchange(other.pid_, -1)), pidfd_(std::move(other.pidfd_)) {}
  ChildProcess& operator=(ChildProcess&& other) noexcept {
    std::swap(pid_, other.pid_);
    std::swap(pidfd_, other.pidfd_);
    return *this;
  }
  ~ChildProcess();

  [[nodiscard]] pid_t pid() const { return pid_; }
  // Readable when the process has ended.
  [[nodiscard]] int pidfd() const { return pidfd_.get(); }
  void signal(int number) const;
  // How the process ended; empty while it runs. Returns the end once.
  std::optional<ProcessEnd> take_end();

 private:
  ChildProcess(pid_t pid, int pidfd) : pid_(pid), pidfd_(Descriptor(pidfd)) {}

  pid_t pid_ = -1;  // -1: it has ended
  Descriptor pidfd_;
};

}  // namespace turnstile::lab
