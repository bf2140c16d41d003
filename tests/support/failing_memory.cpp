#include "tests/support/failing_memory.h"

#include <sqlite3.h>

#include <stdexcept>

namespace turnstile::test {
namespace {

// SQLite's allocator is the process's, and its functions are given no context.
struct Allocator {
  sqlite3_mem_methods system{};
  int allocations = 0;
  int failures = 0;
  int nth = 0;  // 0: none fails
  bool and_after = false;

  bool fails() {
    ++allocations;
    const bool failing = nth > 0 && (and_after ? allocations >= nth : allocations == nth);
    failures += failing ? 1 : 0;
    return failing;
  }
};

Allocator& allocator() {
  static Allocator the_one;
  return the_one;
}

void* allocate(int bytes) {
  return allocator().fails() ? nullptr : allocator().system.xMalloc(bytes);
}

void* reallocate(void* block, int bytes) {
  return allocator().fails() ? nullptr : allocator().system.xRealloc(block, bytes);
}

void configure(bool done) {
  if (!done) {
    throw std::runtime_error("SQLite's allocator cannot be replaced now");
  }
}

}  // namespace

FailingMemory::FailingMemory() {
  fail_no_more();
  configure(sqlite3_shutdown() == SQLITE_OK &&
            sqlite3_config(SQLITE_CONFIG_GETMALLOC, &allocator().system) == SQLITE_OK);
  sqlite3_mem_methods ours = allocator().system;
  ours.xMalloc = allocate;
  ours.xRealloc = reallocate;
  // Lookaside memory is taken beforehand: without it each allocation is one that can fail.
  configure(sqlite3_config(SQLITE_CONFIG_MALLOC, &ours) == SQLITE_OK &&
            sqlite3_config(SQLITE_CONFIG_LOOKASIDE, 0, 0) == SQLITE_OK &&
            sqlite3_initialize() == SQLITE_OK);
}

FailingMemory::~FailingMemory() {
  constexpr int kLookasideBytes = 1200;  // SQLite's own defaults
  constexpr int kLookasideSlots = 100;
  sqlite3_shutdown();
  sqlite3_config(SQLITE_CONFIG_MALLOC, &allocator().system);
  sqlite3_config(SQLITE_CONFIG_LOOKASIDE, kLookasideBytes, kLookasideSlots);
  sqlite3_initialize();
}

void FailingMemory::fail(int nth, bool and_after) {
  fail_no_more();
  allocator().nth = nth;
  allocator().and_after = and_after;
}

void FailingMemory::fail_no_more() {
  allocator().nth = 0;
  allocator().allocations = 0;
  allocator().failures = 0;
}

int FailingMemory::allocations() const {
  return allocator().allocations;
}

int FailingMemory::failures() const {
  return allocator().failures;
}

}  // namespace turnstile::test
