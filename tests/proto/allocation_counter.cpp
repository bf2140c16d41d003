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

#if defined(TURNSTILE_SANITIZE_THREAD)

// TSan's runtime has replaced it already, and tells.
extern "C" int __sanitizer_install_malloc_and_free_hooks(
    void (*allocated)(const volatile void* memory, std::size_t size),
    void (*freed)(const volatile void* memory));

namespace {
const int installed = __sanitizer_install_malloc_and_free_hooks(
    [](const volatile void*, std::size_t size) { counter() += size; }, [](const volatile void*) {});
}  // namespace

#else

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

#endif

namespace turnstile::testing {

std::uint64_t allocated_bytes() {
  return counter();
}

}  // namespace turnstile::testing
