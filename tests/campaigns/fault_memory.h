// Takes memory away from SQLite: its n-th allocation fails. One for the process, since SQLite's
// allocator is; made before SQLite is used for the first time.
#pragma once

#include <sqlite3.h>

#include <cstdint>

namespace turnstile::test::power {

class MemoryFault {
 public:
  static MemoryFault& of_sqlite();
  MemoryFault(const MemoryFault&) = delete;
  MemoryFault& operator=(const MemoryFault&) = delete;

  // The nth allocation from now on (1: the next), and `times - 1` behind it.
  void fail(std::uint64_t nth, std::uint64_t times);
  void fail_no_more() { times_ = 0; }
  [[nodiscard]] std::uint64_t allocations() const { return allocations_; }  // so far

 private:
  MemoryFault();
  ~MemoryFault() = default;
  bool is_refused();

  sqlite3_mem_methods system_{};
  std::uint64_t allocations_ = 0;
  std::uint64_t until_ = 0;
  std::uint64_t times_ = 0;
};

}  // namespace turnstile::test::power
