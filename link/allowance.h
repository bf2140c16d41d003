// Limits what one connection may do while others wait.
#pragma once

#include <chrono>
#include <cstddef>

namespace turnstile {

class Allowance {
 public:
  // Call this for a message that could not be read or that this peer may not send. False: too many.
  bool may_err();

  enum class Asking { now, later, too_often };
  // Call this before asking the target a question for this connection. Too often: the client was
  // refused many times and still asks.
  Asking may_ask(std::chrono::steady_clock::time_point now);

 private:
  std::size_t errors_ = 0;
  int questions_left_ = kQuestions;  // as of asked_
  std::chrono::steady_clock::time_point asked_{};
  std::size_t put_off_ = 0;  // refused questions since the last allowed one

  // In a burst; after that one every kQuestionEvery.
  static constexpr int kQuestions = 16;
};

}  // namespace turnstile
