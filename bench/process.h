// Real processes: programs, and functions that run in a process of their own. Any failure ends the
// benchmark (Failure). Every child dies with its parent.
#pragma once

#include <sys/mman.h>
#include <sys/types.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <new>
#include <span>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

#include "base/descriptor.h"
#include "base/result.h"

namespace turnstile::bench {

using Clock = std::chrono::steady_clock;  // CLOCK_MONOTONIC: the same for all processes

// The measurement failed; `what` says why.
class Failure : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

class Interrupted : public Failure {
 public:
  Interrupted() : Failure("interrupted") {}
};

// After this call, Ctrl+C makes waiting functions throw Interrupted.
void catch_interrupts();
void stop_if_interrupted();

template <typename T>
T value_of(Result<T> result) {
  if (!result) {
    throw Failure(result.error().what);
  }
  return std::move(*result);
}
inline void check(const Result<void>& result) {
  if (!result) {
    throw Failure(result.error().what);
  }
}

double seconds_between(Clock::time_point begin, Clock::time_point end);

// Seconds on a clock that all processes share.
double now_seconds();

class Process {
 public:
  // Its output goes to LOG.out and LOG.err.
  static Process start(const std::vector<std::string>& arguments, const std::filesystem::path& log);
  // Forks a process that runs `work`, and exits with 1 if `work` throws.
  static Process run(const std::string& name, const std::function<void()>& work);

  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;
  Process(Process&& other) noexcept;
  Process& operator=(Process&& other) noexcept;
  ~Process();  // kills the process if it still runs

  // Waits for the end. Returns the exit code.
  int wait();
  // Waits for the end. Throws Failure with the end of the output unless the exit code is 0.
  void finish();
  // SIGTERM, then finish().
  void stop();
  // SIGTERM, then wait(). Ignores the exit code.
  void end();

  [[nodiscard]] Clock::time_point started() const { return started_; }
  [[nodiscard]] Clock::time_point ended() const { return ended_; }
  [[nodiscard]] double seconds() const { return seconds_between(started_, ended_); }
  [[nodiscard]] std::string output() const;

  // The peak of its resident memory.
  [[nodiscard]] double peak_mib() const;
  // Only while it runs: processor time and bytes written to disk so far, of all its threads.
  [[nodiscard]] double cpu_seconds() const;
  [[nodiscard]] double written_bytes() const;

 private:
  Process(std::string name, pid_t pid) : name_(std::move(name)), pid_(pid) {}
  void kill();

  std::string name_;
  std::filesystem::path log_;
  pid_t pid_ = -1;
  Clock::time_point started_ = Clock::now();
  Clock::time_point ended_;
  double peak_mib_ = 0;  // valid after its end
};

// Zeroed memory that this process shares with its children.
template <typename T>
requires std::is_trivially_copyable_v<T>
class Shared {
 public:
  explicit Shared(std::size_t count)
      : memory_(::mmap(nullptr, count * sizeof(T), PROT_READ | PROT_WRITE,
                       MAP_SHARED | MAP_ANONYMOUS, -1, 0)),
        count_(count) {
    if (memory_ == MAP_FAILED) {
      throw std::bad_alloc();
    }
  }
  Shared(const Shared&) = delete;
  Shared& operator=(const Shared&) = delete;
  ~Shared() { ::munmap(memory_, count_ * sizeof(T)); }

  [[nodiscard]] std::span<T> all() const { return {static_cast<T*>(memory_), count_}; }
  T& operator[](std::size_t at) const { return all()[at]; }

 private:
  void* memory_;
  std::size_t count_;
};

// Lets processes begin at the same time, when all are ready.
class Gate {
 public:
  Gate();

  // In a child: reports that it is ready, and waits until the gate opens.
  void pass();
  // In the parent, after starting `children`: waits until all are ready, and opens.
  void open(std::size_t children);

 private:
  struct Pipe {
    Pipe();
    Descriptor read;
    Descriptor write;
  };
  Pipe ready_;
  Pipe go_;
};

// Sleeps, or throws Interrupted.
void pause(std::chrono::milliseconds time);

// Calls `done` at this interval, for at most ten minutes; `what` names the condition in the
// Failure.
void wait_until(const std::string& what, std::chrono::milliseconds every,
                const std::function<bool()>& done);

}  // namespace turnstile::bench
