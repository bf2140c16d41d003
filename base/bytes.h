// An immutable, shared run of bytes: a frame that is passed on without being copied. Its
// memory may belong to a ZeroMQ message, a string or an encoder's buffer.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>

namespace turnstile {

class Bytes {
 public:
  Bytes() = default;
  explicit Bytes(std::string text) {
    auto owned = std::make_shared<const std::string>(std::move(text));
    view_ = *owned;
    owner_ = std::move(owned);
  }
  Bytes(std::shared_ptr<const void> owner, std::string_view view)
      : owner_(std::move(owner)), view_(view) {}

  [[nodiscard]] std::string_view view() const { return view_; }
  [[nodiscard]] std::size_t size() const { return view_.size(); }
  [[nodiscard]] bool empty() const { return view_.empty(); }

 private:
  std::shared_ptr<const void> owner_;
  std::string_view view_;
};

}  // namespace turnstile
