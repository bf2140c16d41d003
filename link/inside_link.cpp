#include "link/inside_link.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <utility>

namespace turnstile {
namespace {

Descriptor event_descriptor() {
  Descriptor fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!fd) {
    throw std::system_error(errno, std::generic_category(), "eventfd");
  }
  return fd;
}

}  // namespace

InsideLink::InsideLink() : fd_(event_descriptor()) {}

void InsideLink::ring() const {
  const std::uint64_t one = 1;
  // Fails only when the counter is full, and then it is readable already.
  [[maybe_unused]] const ssize_t written = ::write(fd(), &one, sizeof(one));
}

// The protocol bounds both directions: a consumer has a limit of unanswered batches.
bool InsideLink::send(const Message& message) {
  {
    const MutexLock lock(mutex_);
    to_broker_.push_back(message);
  }
  ring();
  return true;
}

std::optional<Message> InsideLink::receive(std::chrono::milliseconds wait) {
  const auto until = std::chrono::steady_clock::now() + wait;
  const MutexLock lock(mutex_);
  while (to_consumer_.empty() && std::chrono::steady_clock::now() < until) {
    mutex_.wait_until(changed_, until);
  }
  if (to_consumer_.empty()) {
    return std::nullopt;
  }
  std::optional<Message> message = std::move(to_consumer_.front());
  to_consumer_.pop_front();
  return message;
}

void InsideLink::reconnect() {
  {
    const MutexLock lock(mutex_);
    ++connection_;
    to_consumer_.clear();
    to_broker_.clear();
  }
  ring();
}

void InsideLink::wait(std::chrono::milliseconds most) {
  const auto until = std::chrono::steady_clock::now() + most;
  const MutexLock lock(mutex_);
  while (!is_woken_ && to_consumer_.empty() && std::chrono::steady_clock::now() < until) {
    mutex_.wait_until(changed_, until);
  }
  is_woken_ = false;
}

InsideLink::Taken InsideLink::take() {
  std::uint64_t rung = 0;
  [[maybe_unused]] const ssize_t read = ::read(fd(), &rung, sizeof(rung));
  const MutexLock lock(mutex_);
  return {connection_, std::exchange(to_broker_, {})};
}

bool InsideLink::give(std::uint64_t connection, Message&& message) {
  const MutexLock lock(mutex_);
  if (connection != connection_) {
    return false;
  }
  // A heartbeat after another message says nothing new.
  if (!std::holds_alternative<Heartbeat>(message) || to_consumer_.empty()) {
    to_consumer_.push_back(std::move(message));
  }
  return true;
}

void InsideLink::wake() {
  {
    const MutexLock lock(mutex_);
    is_woken_ = true;
  }
  changed_.notify_one();
}

}  // namespace turnstile
