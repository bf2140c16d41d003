// Resend against a toy broker that loses, repeats, refuses and forgets at random. A failure prints
// the seed that reproduces it.
#include <algorithm>
#include <cstdint>
#include <deque>
#include <random>
#include <string>
#include <variant>

#include <gtest/gtest.h>

#include "client/resend.h"

namespace turnstile {
namespace {

using std::chrono::milliseconds;

constexpr std::uint64_t kCredit = 400;
constexpr std::uint64_t kAllRows = 400;

bool is_dead(std::uint64_t sequence) {
  return sequence % 17 == 0;
}

class Dice {
 public:
  explicit Dice(std::uint64_t seed) : random_(seed) {}
  std::uint64_t up_to(std::uint64_t n) { return 1 + random_() % n; }
  bool one_in(std::uint64_t n) { return up_to(n) == 1; }

 private:
  std::mt19937_64 random_;
};

// Keeps batches in memory, stores and applies them; a restart clears its memory. All numbers are
// sequences through which something holds.
class ToyBroker {
 public:
  explicit ToyBroker(Dice& dice) : dice_(dice) {}

  void restart() { memory_ = stored_; }

  Welcome greet() {
    dropping_from_ = 0;
    Welcome welcome;
    welcome.epoch = {1};
    welcome.through = {stored_};
    welcome.credit_bytes = kCredit;
    return welcome;
  }

  void take(std::uint64_t first, std::uint64_t last, std::deque<Message>& answers) {
    if (dropping_from_ != 0 && first != dropping_from_) {
      return;
    }
    dropping_from_ = 0;
    if (dice_.one_in(8)) {
      // One refusal; later batches are dropped silently until that batch comes again.
      dropping_from_ = first;
      answers.push_back(Refusal{RefusalCode::busy, Sequence{first}, "full"});
      return;
    }
    EXPECT_LE(first, memory_ + 1) << "rows are missing before " << first;
    memory_ = std::max(memory_, last);
  }

  void work(std::deque<Message>& answers) {
    if (dice_.one_in(3) && stored_ < memory_) {
      stored_ = memory_;
      answer(Stored{Sequence{stored_}}, answers);
    }
    if (dice_.one_in(4) && applied_ < stored_) {
      const std::uint64_t before = applied_;
      applied_ += dice_.up_to(stored_ - applied_);
      tell_applied(before, answers);
    }
  }

  void tell_applied(std::uint64_t since, std::deque<Message>& answers) {
    Applied applied;
    applied.through = {applied_};
    for (std::uint64_t s = since + 1; s <= applied_; ++s) {
      if (is_dead(s)) {
        ++applied.dead_count;
        applied.dead.push_back({{s}, "no"});
      }
    }
    answer(applied, answers);
  }

  [[nodiscard]] std::uint64_t stored() const { return stored_; }
  [[nodiscard]] std::uint64_t applied() const { return applied_; }

 private:
  void answer(const Message& message, std::deque<Message>& answers) {
    answers.push_back(message);
    if (dice_.one_in(5)) {
      answers.push_back(message);
    }
  }

  Dice& dice_;
  std::uint64_t dropping_from_ = 0;  // 0: drops nothing
  std::uint64_t memory_ = 0;
  std::uint64_t stored_ = 0;
  std::uint64_t applied_ = 0;
};

// One producer, the connection, and the broker.
class World {
 public:
  explicit World(std::uint64_t seed) : dice_(seed), broker_(dice_), resend_(seed) {
    resend_.welcomed(broker_.greet());
  }

  // Steps until all rows are applied; false if that never happens.
  bool run() {
    constexpr int kSteps = 200'000;
    for (int step = 0; step < kSteps && resend_.applied_through().value < kAllRows; ++step) {
      now_ += milliseconds(dice_.up_to(20));
      add_rows();
      send();
      deliver();
      broker_.work(answers_);
      take_answer();
      if (dice_.one_in(60)) {
        break_connection();
      }
      // Promise 1, seen from the producer: unstored rows are still held.
      EXPECT_LE(resend_.stored_through().value, broker_.stored());
      EXPECT_LE(resend_.applied_through().value, broker_.applied());
    }
    return resend_.applied_through().value == kAllRows;
  }

  [[nodiscard]] std::uint64_t dead() const { return dead_; }
  [[nodiscard]] const Resend& resend() const { return resend_; }

 private:
  struct OnItsWay {
    std::uint64_t first;
    std::uint64_t last;
    std::size_t bytes;
  };

  void add_rows() {
    if (!dice_.one_in(2) || resend_.last().value == kAllRows) {
      return;
    }
    Batch batch;
    batch.header.producer = {"p"};
    batch.header.first = resend_.next_sequence();
    batch.header.rows = static_cast<std::uint32_t>(
        dice_.up_to(std::min<std::uint64_t>(9, kAllRows - resend_.last().value)));
    batch.header.table = "t";
    batch.header.columns = {"a"};
    batch.rows_frame = Bytes(std::string(dice_.up_to(200), 'r'));
    resend_.add(std::move(batch));
  }

  void send() {
    while (const Batch* batch = resend_.next_to_send(now_)) {
      if (dice_.one_in(10)) {
        return;  // the connection is full
      }
      const OnItsWay sent{batch->header.first.value, batch->header.last().value,
                          batch->rows_frame.size()};
      to_broker_.push_back(sent);
      unanswered_.push_back(sent);
      resend_.sent();
      std::uint64_t bytes = 0;
      for (const auto& one : unanswered_) {
        bytes += one.bytes;
      }
      EXPECT_TRUE(bytes <= kCredit || unanswered_.size() == 1)
          << bytes << " bytes above the credit";
    }
  }

  void deliver() {
    if (!to_broker_.empty() && dice_.one_in(2)) {
      broker_.take(to_broker_.front().first, to_broker_.front().last, answers_);
      to_broker_.pop_front();
    }
  }

  void take_answer() {
    if (answers_.empty() || !dice_.one_in(2)) {
      return;
    }
    const Message message = std::move(answers_.front());
    answers_.pop_front();
    if (const auto* stored = std::get_if<Stored>(&message)) {
      resend_.stored(stored->through);
      std::erase_if(unanswered_,
                    [&](const auto& one) { return one.last <= stored->through.value; });
    } else if (const auto* applied = std::get_if<Applied>(&message)) {
      const auto reported = resend_.applied(*applied);
      dead_ += reported.count;
      EXPECT_EQ(reported.count, reported.listed.size());
      std::erase_if(unanswered_,
                    [&](const auto& one) { return one.last <= applied->through.value; });
    } else if (const auto* refusal = std::get_if<Refusal>(&message)) {
      resend_.busy(refusal->sequence, now_);
      std::erase_if(unanswered_,
                    [&](const auto& one) { return one.first >= refusal->sequence.value; });
    }
  }

  void break_connection() {
    to_broker_.clear();
    answers_.clear();
    unanswered_.clear();
    if (dice_.one_in(2)) {
      broker_.restart();
    }
    resend_.disconnected();
    EXPECT_EQ(resend_.next_to_send(now_), nullptr);
    resend_.welcomed(broker_.greet());
    broker_.tell_applied(resend_.applied_through().value, answers_);
  }

  Dice dice_;
  ToyBroker broker_;
  Resend resend_;
  Resend::TimePoint now_{};
  std::deque<OnItsWay> to_broker_;
  std::deque<OnItsWay> unanswered_;
  std::deque<Message> answers_;
  std::uint64_t dead_ = 0;
};

TEST(ResendPropertyTest, EveryRowIsAppliedOnceAndInOrderWhateverIsLost) {
  constexpr std::uint64_t kSeeds = 500;
  for (std::uint64_t seed = 1; seed <= kSeeds; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    World world(seed);
    ASSERT_TRUE(world.run()) << "stuck at " << world.resend().applied_through().value;
    ASSERT_EQ(world.dead(), kAllRows / 17);
    ASSERT_EQ(world.resend().held_bytes(), 0U);
    ASSERT_FALSE(world.resend().is_busy());
    ASSERT_FALSE(HasFailure());
  }
}

}  // namespace
}  // namespace turnstile
