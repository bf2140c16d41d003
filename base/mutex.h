// A mutex whose guarded members show it: clang's builds check at compile time (-Wthread-safety)
// that a member with TURNSTILE_GUARDED_BY(mutex_) is used only while mutex_ is locked. See
// clang.llvm.org/docs/ThreadSafetyAnalysis.html.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>

#ifdef __clang__
#define TURNSTILE_THREADS(attribute) __attribute__((attribute))
#else
#define TURNSTILE_THREADS(attribute)
#endif
#define TURNSTILE_GUARDED_BY(mutex) TURNSTILE_THREADS(guarded_by(mutex))

namespace turnstile {

class TURNSTILE_THREADS(capability("mutex")) Mutex {
 public:
  void lock() TURNSTILE_THREADS(acquire_capability()) { mutex_.lock(); }
  void unlock() TURNSTILE_THREADS(release_capability()) { mutex_.unlock(); }

  // Unlocks while it waits. Returns when `changed` was notified, at `until`, or without a reason.
  void wait_until(std::condition_variable& changed, std::chrono::steady_clock::time_point until)
      TURNSTILE_THREADS(requires_capability(this)) {
    std::unique_lock lock(mutex_, std::adopt_lock);
    changed.wait_until(lock, until);
    lock.release();
  }

 private:
  std::mutex mutex_;
};

class TURNSTILE_THREADS(scoped_lockable) MutexLock {
 public:
  explicit MutexLock(Mutex& mutex) TURNSTILE_THREADS(acquire_capability(mutex)) : mutex_(mutex) {
    mutex_.lock();
  }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;
  ~MutexLock() TURNSTILE_THREADS(release_capability()) { mutex_.unlock(); }

 private:
  Mutex& mutex_;
};

}  // namespace turnstile
