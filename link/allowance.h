// What one connection may do of all that others wait for.
#pragma once

#include <chrono>
#include <cstddef>

namespace turnstile {

class Allowance {
 public:
  // A message of this connection could not be read, or was not its to send. False: it was one too
  // many.
  bool may_err();

  enum class Asking { now, later, too_often };
  // Something that the target is to be asked for this connection. Too often: it was told so, and
  // goes on.
  Asking may_ask(std::chrono::steady_clock::time_point now);

 private:
  std::size_t errors_ = 0;
  int questions_left_ = kQuestions;  // at asked_
  std::chrono::steady_clock::time_point asked_{};
  std::size_t put_off_ = 0;  // questions since one was asked

  // At once, and then one in a while.
  static constexpr int kQuestions = 16;
};

}  // namespace turnstile
