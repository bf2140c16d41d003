// Real processes: programs that are started, and functions that run in a process of their own.
// Whatever fails here ends the benchmark (Failure). Every child dies with its parent.
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

#include "base/result.h"

namespace turnstile::bench {

using Clock = std::chrono::steady_clock;  // CLOCK_MONOTONIC: the same for all processes

// Nothing was measured, and why.
class Failure : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

class Interrupted : public Failure {
 public:
  Interrupted() : Failure("interrupted") {}
};

// From here on Ctrl+C makes what waits throw Interrupted.
void heed_interrupts();
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

// Seconds since some moment of the past, the same for all processes.
double now_seconds();

class Process {
 public:
  // Its output goes to LOG.out and LOG.err.
  static Process start(const std::vector<std::string>& arguments, const std::filesystem::path& log);
  // A copy of this process that does `work`, and exits with 1 if that throws.
  static Process run(const std::string& name, const std::function<void()>& work);

  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;
  Process(Process&& other) noexcept;
  Process& operator=(Process&& other) noexcept;
  ~Process();  // kills what still runs

  // Until it ends; its exit code.
  int wait();
  // Until it ends, which must be with exit code 0; its end of output otherwise.
  void finish();
  // SIGTERM, then finish().
  void stop();
  // SIGTERM, however it ends then.
  void end();

  [[nodiscard]] Clock::time_point started() const { return started_; }
  [[nodiscard]] Clock::time_point ended() const { return ended_; }
  [[nodiscard]] double seconds() const { return seconds_between(started_, ended_); }
  [[nodiscard]] std::string output() const;

  // The most memory that it had resident.
  [[nodiscard]] double peak_mib() const;
  // Only while it runs: processor time and bytes that went to a disk, of all its threads so far.
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
  double peak_mib_ = 0;  // from the moment it has ended
};

// Zeroed memory that this process and those that it starts see in common.
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

// Lets processes begin at the same moment, when all are ready.
class Gate {
 public:
  Gate();
  Gate(const Gate&) = delete;
  Gate& operator=(const Gate&) = delete;
  ~Gate();

  // In a child: says that it is ready, and waits.
  void pass();
  // In the parent, when `children` were started: waits for them, and opens.
  void open(std::size_t children);

 private:
  int ready_[2];
  int go_[2];
};

// Waits that long, or throws Interrupted.
void pause(std::chrono::milliseconds time);

// Asks so often, for ten minutes at most; `what` names it in the Failure.
void wait_until(const std::string& what, std::chrono::milliseconds every,
                const std::function<bool()>& done);

}  // namespace turnstile::bench
