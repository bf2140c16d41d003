// Connects a consumer with the broker of its own process (`turnstile serve`): messages are handed
// over without encoding, and neither end waits for the other.
//
// Two threads: one uses the broker's end; the consumer's end belongs to the thread that has the
// consumer.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

#include "base/descriptor.h"
#include "base/mutex.h"
#include "link/link.h"
#include "proto/messages.h"

namespace turnstile {

class InsideLink final : public Link {
 public:
  // Throws std::system_error when no descriptor is free.
  InsideLink();

  // ---- the consumer's end

  bool send(const Message& message) override;
  std::optional<Message> receive(std::chrono::milliseconds wait) override;
  void reconnect() override;
  // Until a message is there, wake() was called since the last wait(), or the time is over.
  void wait(std::chrono::milliseconds most);

  // ---- the broker's end

  // Readable when take() has something.
  [[nodiscard]] int fd() const { return fd_.get(); }
  struct Taken {
    std::uint64_t connection = 0;  // counts reconnects
    std::vector<Message> messages;
  };
  // What the consumer has sent on its current connection.
  Taken take();
  // Does not wake the consumer: wake() does. False: that connection is over.
  bool give(std::uint64_t connection, Message&& message);
  void wake();

 private:
  void ring() const;

  const Descriptor fd_;
  Mutex mutex_;
  std::condition_variable changed_;
  std::uint64_t connection_ TURNSTILE_GUARDED_BY(mutex_) = 1;
  std::deque<Message> to_consumer_ TURNSTILE_GUARDED_BY(mutex_);
  std::vector<Message> to_broker_ TURNSTILE_GUARDED_BY(mutex_);
  bool is_woken_ TURNSTILE_GUARDED_BY(mutex_) = false;
};

}  // namespace turnstile
