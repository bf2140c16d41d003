#include "tests/campaigns/fault_memory.h"

#include <stdexcept>

namespace turnstile::test::power {

MemoryFault& MemoryFault::of_sqlite() {
  static MemoryFault memory;
  return memory;
}

MemoryFault::MemoryFault() {
  sqlite3_mem_methods methods{};
  if (sqlite3_config(SQLITE_CONFIG_GETMALLOC, &system_) != SQLITE_OK) {
    throw std::runtime_error("SQLite does not tell its allocator");
  }
  methods = system_;
  methods.xMalloc = [](int size) -> void* {
    MemoryFault& memory = of_sqlite();
    return memory.is_refused() ? nullptr : memory.system_.xMalloc(size);
  };
  methods.xRealloc = [](void* old, int size) -> void* {
    MemoryFault& memory = of_sqlite();
    return memory.is_refused() ? nullptr : memory.system_.xRealloc(old, size);
  };
  if (sqlite3_config(SQLITE_CONFIG_MALLOC, &methods) != SQLITE_OK) {
    throw std::runtime_error("SQLite takes no allocator");
  }
}

void MemoryFault::fail(std::uint64_t nth, std::uint64_t times) {
  until_ = nth;
  times_ = times;
}

bool MemoryFault::is_refused() {
  ++allocations_;
  if (times_ == 0 || --until_ > 0) {
    return false;
  }
  until_ = 1;
  --times_;
  return true;
}

}  // namespace turnstile::test::power
