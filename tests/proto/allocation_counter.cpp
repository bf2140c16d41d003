#include "tests/proto/allocation_counter.h"

#include <atomic>
#include <cstdlib>
#include <new>

namespace {

std::atomic<std::uint64_t>& counter() {
  static std::atomic<std::uint64_t> bytes{0};
  return bytes;
}

}  // namespace

// Replaces the library's, for the whole executable: new[] and the others end here.
void* operator new(std::size_t size) {
  counter() += size;
  // NOLINTNEXTLINE(cppcoreguidelines-no-malloc,cppcoreguidelines-owning-memory): this is `new`
  void* memory = std::malloc(size == 0 ? 1 : size);
  if (memory == nullptr) {
    throw std::bad_alloc();
  }
  return memory;
}

void operator delete(void* memory) noexcept {
  // NOLINTNEXTLINE(cppcoreguidelines-no-malloc,cppcoreguidelines-owning-memory): this is `delete`
  std::free(memory);
}

void operator delete(void* memory, std::size_t /*size*/) noexcept {
  operator delete(memory);
}

namespace turnstile::testing {

std::uint64_t allocated_bytes() {
  return counter();
}

}  // namespace turnstile::testing
