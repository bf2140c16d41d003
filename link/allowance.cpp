#include "link/allowance.h"

#include <algorithm>
#include <cstdint>

namespace turnstile {
namespace {

constexpr std::size_t kMaxErrors = 1000;
constexpr auto kQuestionEvery = std::chrono::milliseconds(50);

}  // namespace

bool Allowance::may_err() {
  return ++errors_ < kMaxErrors;
}

Allowance::Asking Allowance::may_ask(std::chrono::steady_clock::time_point now) {
  if (questions_left_ == kQuestions) {
    asked_ = now;
  }
  const auto more = (now - asked_) / kQuestionEvery;
  asked_ += more * kQuestionEvery;
  questions_left_ = static_cast<int>(std::min<std::int64_t>(kQuestions, questions_left_ + more));
  if (questions_left_ == 0) {
    return ++put_off_ < kMaxErrors ? Asking::later : Asking::too_often;
  }
  --questions_left_;
  put_off_ = 0;
  return Asking::now;
}

}  // namespace turnstile
