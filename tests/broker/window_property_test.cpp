// The window between toy producers, a toy journal, a toy consumer and a toy target, driven by
// chance. An independent account of each one's state checks the window after each step.
#include <algorithm>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

#include "broker/window.h"
#include "tests/broker/batches.h"

namespace turnstile::broker {
namespace {

using namespace std::chrono_literals;
using Verdict = Window::Verdict;

constexpr std::size_t kMemory = std::size_t{24} * 1024;
constexpr std::size_t kCredit = std::size_t{6} * 1024;
constexpr std::size_t kLoad = std::size_t{2} * 1024;
constexpr std::string_view kRogue = "rogue";  // breaks the protocol; the others keep to it

struct ToyProducer {
  std::uint64_t cursor = 1;  // what it sends next
  std::uint64_t sent = 0;    // the highest row it ever sent
  std::uint64_t known = 0;   // acknowledged as applied
  std::uint64_t acked = 0;   // acknowledged as stored or applied
};

struct ToyBatch {
  std::string producer;
  std::uint64_t first = 0;
  std::uint64_t last = 0;
  std::size_t bytes = 0;
  bool operator==(const ToyBatch&) const = default;
};

struct InMemory {
  ToyBatch batch;
  std::optional<std::uint64_t> offset;
};

class World {
 public:
  explicit World(std::uint32_t seed) : random_(seed) {
    for (const std::string_view name :
         {std::string_view("a"), std::string_view("b"), std::string_view("c"), kRogue}) {
      producers_[std::string(name)];
    }
  }

  void step() {
    now_ += std::chrono::milliseconds(pick(0, 30));
    const auto chance = pick(0, 999);
    if (chance < 450) {
      send(any_producer());
    } else if (chance < 490) {
      reconnect(any_producer());
    } else if (chance < 700) {
      hand_over();
      consume();
    } else if (chance < 740) {
      attached_ ? detach() : attach();
    } else if (chance < 940) {
      store();
    } else if (chance < 985) {
      trim();
    } else if (chance < 995) {
      repeat_an_old_answer();
    } else {
      crash();
    }
    check();
  }

  // Nothing fails any more and no producer is new: they send only what was not acknowledged.
  void settle_down() {
    faults_ = false;
    attach();
    for (int round = 0; round < 20'000 && !(all_applied() && all_removed()); ++round) {
      for (auto& [name, producer] : producers_) {
        if (name != kRogue && producer.cursor <= producer.sent) {
          send(name);
        }
      }
      hand_over();
      consume();
      now_ += 30ms;
      store();
      check();
    }
    for (const auto& [name, producer] : producers_) {
      if (name != kRogue) {
        EXPECT_EQ(target_[name], producer.sent) << "of " << name;
        EXPECT_EQ(producer.known, producer.sent) << "of " << name;
      }
    }
    trim();
    std::erase_if(journal_, [](const auto& entry) { return entry.second.producer == kRogue; });
    EXPECT_TRUE(journal_.empty());
  }

 private:
  std::uint64_t pick(std::uint64_t from, std::uint64_t to) {
    return std::uniform_int_distribution<std::uint64_t>(from, to)(random_);
  }
  std::string any_producer() {
    return std::next(producers_.begin(), static_cast<std::ptrdiff_t>(pick(0, 3)))->first;
  }

  // ---- producers

  void send(const std::string& name) {
    ToyProducer& producer = producers_[name];
    std::uint64_t first = producer.cursor;
    if (name == kRogue) {
      first = pick(1, 200);
    } else if (faults_ && pick(0, 9) == 0) {
      first = pick(producer.acked + 1, producer.cursor);  // again, with other batch boundaries
    }
    const std::uint64_t last = faults_ || name == kRogue
                                   ? first + pick(0, 12)
                                   : std::min(first + pick(0, 12), producer.sent);
    const std::size_t bytes = pick(1, 10) == 1 ? pick(1, 2 * kCredit) : pick(1, 400);
    Batch batch = batch_of(name, first, last, bytes);
    const std::size_t all_bytes = batch.header_frame.size() + batch.rows_frame.size();
    const ProducerId id{name};
    switch (window_.offer(std::move(batch), now_)) {
      case Verdict::taken:
        memory_.push_back({{name, first, last, all_bytes}, std::nullopt});
        break;
      case Verdict::held:
      case Verdict::skipped:
        break;
      case Verdict::stored:
        told_stored(name, window_.stored_through(id).value);
        break;
      case Verdict::go_back:
        producer.sent = std::max(producer.sent, last);
        producer.cursor = std::max(window_.expected(id).value, producer.acked + 1);
        return;
      case Verdict::hole:
        EXPECT_EQ(name, kRogue) << "skipped no number";
        return;
    }
    producer.sent = std::max(producer.sent, last);
    producer.cursor = std::max(last, producer.acked) + 1;
  }

  void told_stored(const std::string& name, std::uint64_t through) {
    if (name != kRogue) {
      EXPECT_LE(through, durable(name)) << "promise 1: acknowledged as stored too early, " << name;
    }
    window_.acknowledge({name}, {through});
    ToyProducer& producer = producers_[name];
    producer.acked = std::max(producer.acked, through);
    producer.cursor = std::max(producer.cursor, producer.acked + 1);
  }

  void told_applied(const std::string& name, std::uint64_t through) {
    EXPECT_LE(through, target_[name]) << "promise 1: acknowledged as applied too early, " << name;
    ToyProducer& producer = producers_[name];
    producer.known = std::max(producer.known, through);
    told_stored(name, through);
  }

  void reconnect(const std::string& name) {
    const ProducerId id{name};
    ToyProducer& producer = producers_[name];
    window_.forget(id);
    window_.session_begins(id, {producer.known});
    if (attached_ && pick(0, 1) == 0) {
      window_.note_applied(id, {target_[name]});
      told_applied(name, target_[name]);
    }
    told_stored(name, std::max(window_.stored_through(id), window_.applied_through(id)).value);
    producer.cursor = producer.acked + 1;
  }

  // ---- consumer and target

  void attach() {
    if (attached_) {
      return;
    }
    attached_ = true;
    if (!window_.stopped_producers().empty()) {
      trim();
      open_journal();
    }
    window_.consumer_attached(now_);
    for (auto& [name, producer] : producers_) {
      window_.note_applied({name}, {target_[name]});
      told_applied(name, target_[name]);
    }
  }

  void detach() {
    attached_ = false;
    forget_handed();
    window_.consumer_gone();
  }

  void forget_handed() {
    for (const auto& [ticket, batch] : handed_) {
      old_tickets_.push_back(ticket);
    }
    handed_.clear();
  }

  void hand_over() {
    bool more = true;
    while (more) {
      more = false;
      while (const Held* held = window_.deliver_next(now_)) {
        ASSERT_TRUE(attached_);
        handed_.emplace_back(held->ticket, ToyBatch{held->producer.text, held->first.value,
                                                    held->last.value, held->bytes()});
      }
      if (const auto from = window_.wants_load()) {
        load(from->value);
        more = true;
      }
    }
  }

  void load(std::uint64_t from) {
    std::vector<Held> batches;
    std::size_t bytes = 0;
    std::uint64_t through = window_.cold().last.value;
    for (auto it = journal_.lower_bound(from); it != journal_.end() && it->first <= through; ++it) {
      EXPECT_FALSE(removed_.contains(it->first)) << "read again although it was applied";
      const ToyBatch& stored = it->second;
      Batch batch = batch_of(stored.producer, stored.first, stored.last, 0);
      batch.rows_frame = Bytes(std::string(stored.bytes - batch.header_frame.size(), 'r'));
      if (!window_.stopped_producers().contains({stored.producer})) {
        memory_.push_back({stored, it->first});
      }
      batches.push_back({{stored.producer},
                         {stored.first},
                         {stored.last},
                         batch.header_frame,
                         batch.rows_frame,
                         Offset{it->first},
                         now_,
                         {}});
      bytes += stored.bytes;
      if (bytes >= kLoad) {
        through = it->first;
      }
    }
    window_.loaded(std::move(batches), {through});
  }

  // Applies some of its batches, in order, and answers in any order. May die in between.
  void consume() {
    std::vector<BatchResult> results;
    for (auto n = pick(0, handed_.size()); n > 0; --n) {
      const auto [ticket, batch] = handed_.front();
      handed_.erase(handed_.begin());
      std::uint64_t& through = target_[batch.producer];
      if (batch.first > through + 1) {
        EXPECT_EQ(batch.producer, kRogue) << "a hole before " << batch.first;
        results.push_back({ticket, Outcome::hole, {through}, 0, {}});
      } else {
        through = std::max(through, batch.last);
        results.push_back({ticket, Outcome::applied, {through}, dead_of(batch), {}});
      }
    }
    if (faults_) {
      if (pick(0, 19) == 0) {
        detach();
        return;
      }
      if (pick(0, 3) == 0) {
        std::shuffle(results.begin(), results.end(), random_);
      }
    }
    for (const auto& result : results) {
      settle(result);
    }
  }

  // For a while the target refuses all rows of one producer, and some rows of another.
  std::uint32_t dead_of(const ToyBatch& batch) {
    const bool all = (batch.producer == "a" && batch.last / 300 % 2 == 0) ||
                     (batch.producer == "b" && pick(0, 3) == 0);
    return all ? static_cast<std::uint32_t>(batch.last - batch.first + 1) : 0;
  }

  void settle(const BatchResult& result) {
    const auto settled = window_.settle(result, now_);
    if (!settled) {
      return;  // this account does not follow the rogue's batches after a refused one
    }
    const std::string& name = settled->producer.text;
    // A batch may be there twice: stored by a commit that seemed to fail, and as sent.
    const auto is_it = [&](const InMemory& m) {
      const bool in_its_place = settled->remove ? m.offset == settled->remove->value
                                                : m.offset.has_value() == settled->stopped;
      return in_its_place && m.batch.producer == name && m.batch.first == settled->first.value &&
             m.batch.last - m.batch.first + 1 == settled->rows && m.batch.bytes == settled->bytes;
    };
    const auto found = std::find_if(memory_.begin(), memory_.end(), is_it);
    ASSERT_NE(found, memory_.end()) << "an answer for a batch that was not taken, of " << name;
    memory_.erase(found);
    if (settled->applied) {
      if (settled->remove) {
        EXPECT_TRUE(removed_.insert(settled->remove->value).second);
      }
      told_applied(name, result.through.value);
    } else if (!settled->stopped) {
      std::erase_if(memory_,
                    [&](const InMemory& m) { return m.batch.producer == name && !m.offset; });
    }
  }

  void repeat_an_old_answer() {
    if (!old_tickets_.empty()) {
      EXPECT_FALSE(window_.settle(applied_result(old_tickets_.back(), 1'000'000), now_));
      old_tickets_.pop_back();
    }
  }

  // ---- journal

  void store() {
    if (!window_.should_store(now_)) {
      return;
    }
    const auto waiting = window_.to_store(pick(0, std::uint64_t{8} * 1024));
    ASSERT_FALSE(waiting.empty());
    const bool fails = faults_ && pick(0, 14) == 0;
    const bool survives = !fails || pick(0, 1) == 0;
    std::vector<Offset> offsets;
    std::vector<ToyBatch> stored;
    for (const Held* held : waiting) {
      stored.push_back({held->producer.text, held->first.value, held->last.value, held->bytes()});
      EXPECT_FALSE(held->offset);
      offsets.push_back({++last_offset_});
      if (survives) {
        journal_[last_offset_] = {held->producer.text, held->first.value, held->last.value,
                                  held->bytes()};
      }
    }
    if (fails) {
      open_journal();
      return;
    }
    for (std::size_t i = 0; i < stored.size(); ++i) {
      const auto found = std::find_if(memory_.begin(), memory_.end(), [&](const InMemory& m) {
        return !m.offset && m.batch == stored[i];
      });
      ASSERT_NE(found, memory_.end()) << "a batch that was not taken";
      found->offset = offsets[i].value;
    }
    for (const auto& id : window_.mark_stored(offsets, now_)) {
      told_stored(id.text, window_.stored_through(id).value);
    }
    drop_cold();
  }

  void drop_cold() {
    const Cold& cold = window_.cold();
    std::erase_if(memory_, [&](const InMemory& m) {
      return m.offset && *m.offset >= cold.next.value && *m.offset <= cold.last.value;
    });
  }

  void trim() {
    for (const auto offset : removed_) {
      journal_.erase(offset);
    }
    removed_.clear();
  }

  // The consumer keeps its batches and answers them; their tickets are void.
  void open_journal() {
    removed_.clear();
    Cold range;
    if (!journal_.empty()) {
      range = {{journal_.begin()->first}, {journal_.rbegin()->first}};
    }
    std::map<std::string, Window::Kept> kept;
    for (const auto& [offset, batch] : journal_) {
      Window::Kept& k = kept[batch.producer];
      k.producer = {batch.producer};
      k.last = std::max(k.last, Sequence{batch.last});
      ++k.batches;
    }
    std::vector<Window::Kept> list;
    list.reserve(kept.size());
    for (const auto& [name, k] : kept) {
      list.push_back(k);
    }
    window_.journal_opened(range, list);
    std::erase_if(memory_, [](const InMemory& m) { return m.offset.has_value(); });
  }

  void crash() {
    window_ = Window(WindowOptions{kMemory, kCredit, 100ms});
    memory_.clear();
    attached_ = false;
    forget_handed();
    old_tickets_.clear();
    open_journal();
    for (auto& [name, producer] : producers_) {
      reconnect(name);
    }
  }

  // ---- the account

  // How far the target, and then the journal in its order, have this producer's rows.
  std::uint64_t durable(const std::string& name) {
    std::uint64_t through = target_[name];
    for (const auto& [offset, batch] : journal_) {
      if (batch.producer == name) {
        EXPECT_LE(batch.first, through + 1) << "a hole in the journal before offset " << offset;
        through = std::max(through, batch.last);
      }
    }
    return through;
  }

  bool all_applied() {
    return std::all_of(producers_.begin(), producers_.end(), [&](const auto& entry) {
      return entry.first == kRogue ||
             (target_[entry.first] == entry.second.sent && entry.second.known == entry.second.sent);
    });
  }

  bool all_removed() {
    return std::all_of(journal_.begin(), journal_.end(), [&](const auto& entry) {
      return entry.second.producer == kRogue || removed_.contains(entry.first);
    });
  }

  void check() {
    std::size_t bytes = 0;
    for (const InMemory& m : memory_) {
      bytes += m.batch.bytes + kHeldOverhead;
    }
    EXPECT_EQ(window_.memory_bytes(), bytes);
    EXPECT_EQ(window_.batches_in_memory(), memory_.size());
    // The bound, what is delivered and loaded on top of it, and the last batch of each.
    EXPECT_LE(bytes, kMemory + kCredit + kLoad + 3 * (2 * kCredit + 2 * kHeldOverhead));
    for (const auto& [name, producer] : producers_) {
      if (name != kRogue) {
        EXPECT_LE(producer.acked, durable(name)) << "promised rows are lost, of " << name;
        EXPECT_FALSE(window_.stopped_producers().contains({name}));
      }
    }
  }

  std::mt19937 random_;
  TimePoint now_ = kStart;
  Window window_{WindowOptions{kMemory, kCredit, 100ms}};
  std::map<std::string, ToyProducer> producers_;
  std::map<std::string, std::uint64_t> target_;  // applied through
  std::map<std::uint64_t, ToyBatch> journal_;
  std::set<std::uint64_t> removed_;  // applied, still in the journal
  std::uint64_t last_offset_ = 0;
  std::vector<InMemory> memory_;  // what the window should hold, in order of arrival
  bool attached_ = false;
  bool faults_ = true;
  std::vector<std::pair<Ticket, ToyBatch>> handed_;
  std::vector<Ticket> old_tickets_;
};

class WindowProperty : public testing::TestWithParam<std::uint32_t> {};

TEST_P(WindowProperty, NothingPromisedIsLostAndAllRowsAreFinallyApplied) {
  World world(GetParam());
  for (int i = 0; i < 4000; ++i) {
    world.step();
    if (HasFailure()) {
      FAIL() << "in step " << i;
    }
  }
  world.settle_down();
}

INSTANTIATE_TEST_SUITE_P(Seeds, WindowProperty, testing::Range(1U, 17U));

}  // namespace
}  // namespace turnstile::broker
