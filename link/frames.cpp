#include "link/frames.h"

#include <memory>
#include <utility>

#if defined(__SANITIZE_THREAD__)
#include <sanitizer/tsan_interface.h>
#endif

namespace turnstile {
namespace {

constexpr std::size_t kCopiedBytes = 512;

// ThreadSanitizer does not see that libzmq hands a frame from one thread to the other.
void mark_handed_over([[maybe_unused]] void* owner) {
#if defined(__SANITIZE_THREAD__)
  __tsan_release(owner);
#endif
}

void mark_taken_over([[maybe_unused]] void* owner) {
#if defined(__SANITIZE_THREAD__)
  __tsan_acquire(owner);
#endif
}

void release(void* /*data*/, void* hint) {
  mark_taken_over(hint);
  const std::unique_ptr<Bytes> owner(static_cast<Bytes*>(hint));
}

}  // namespace

Bytes bytes_of(zmq::message_t&& message) {
  auto owner = std::make_shared<const zmq::message_t>(std::move(message));
  const std::string_view view = owner->to_string_view();
  return {std::move(owner), view};
}

zmq::message_t message_of(const Bytes& bytes) {
  const std::string_view view = bytes.view();
  if (view.size() <= kCopiedBytes) {
    return {view.data(), view.size()};
  }
  auto owner = std::make_unique<Bytes>(bytes);
  mark_handed_over(owner.get());
  // libzmq only reads what it sends; its C interface has no const.
  zmq::message_t message(const_cast<char*>(view.data()), view.size(), &release, owner.get());
  static_cast<void>(owner.release());
  return message;
}

}  // namespace turnstile
