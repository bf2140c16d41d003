#include "tests/campaigns/simulation_world.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "tests/campaigns/simulation_processes.h"

namespace turnstile::simulation {
namespace {

using namespace std::chrono_literals;

struct Violation {
  std::string what;
};

constexpr std::size_t kTraceLines = 1000;
// Frames of one stack that wait within each other.
constexpr int kDeepest = 3;
constexpr std::uint64_t kMostSteps = 300'000;
// Promise 6: when nothing fails any more, everything arrives. The longest single waits of the
// program are 15 s (a silent session), 12 s (the wire's own, to notice a cut) and 6 s.
constexpr auto kPatience = 60s;

Setting draw_setting(const Plan& plan, Dice& dice) {
  Setting setting;
  const std::uint64_t longest_us[] = {200, 2000, 2000, 20'000};
  setting.wire.longest = microseconds(dice.of(longest_us));
  if (dice.percent(30)) {
    setting.wire.slow_per_mille = dice.between(1, 30);
    setting.wire.slowest = milliseconds(dice.between(20, 4000));
  }
  if (dice.percent(20)) {
    setting.wire.queue_up = dice.between(2, 20);
  }
  if (plan.is_harsh) {
    const std::uint64_t per_mille[] = {0, 5, 30, 100};
    setting.wire.drop = dice.of(per_mille);
    setting.wire.twice = dice.of(per_mille);
    setting.wire.overtake = dice.of(per_mille);
    setting.wire.slow_per_mille = std::max<std::uint64_t>(setting.wire.slow_per_mille, 20);
    setting.wire.slowest = std::max<microseconds>(setting.wire.slowest, 200ms);
  }
  const std::size_t credit[] = {700, 2000, 6000};
  setting.window.consumer_credit_bytes = dice.of(credit);
  setting.window.memory_bytes =
      setting.window.consumer_credit_bytes + dice.between(1000, dice.percent(50) ? 3000 : 40'000);
  const std::uint64_t producer_credit[] = {100, 500, 2000, 100'000};
  setting.credit_bytes = dice.of(producer_credit);
  setting.journal_limit = dice.percent(25) ? dice.between(200, 1500) : 1'000'000;
  setting.max_sessions = dice.percent(10) ? 6 : 100;
  setting.lease = milliseconds(dice.percent(50) ? 5000 : dice.between(1200, 5000));
  const milliseconds busy_timeout[] = {0ms, 300ms, 5s};
  setting.busy_timeout = dice.of(busy_timeout);
  setting.slow_syncs_percent = dice.percent(30) ? dice.between(1, 20) : 0;
  setting.load = milliseconds(dice.between(300, dice.percent(80) ? 4000 : 20'000));
  return setting;
}

}  // namespace

World::World(const Plan& p)
    : plan(p),
      dice(p.seed * 2 + (p.is_harsh ? 1 : 0)),
      setting(draw_setting(plan, dice)),
      wire(dice, setting.wire),
      audit(*this, journal, target,
            {setting.window.memory_bytes, setting.window.consumer_credit_bytes, setting.lease}) {
  target.on_commit = [this](std::uint64_t generation, const std::vector<CommittedRow>& rows) {
    audit.committed(generation, rows);
  };
  draw_processes();
}

World::~World() {
  for (auto& process : processes_) {
    if (process->is_up) {
      process->die();
    }
  }
}

// ---- what chance chooses for the whole run

void World::draw_processes() {
  const auto add = [this](auto process) {
    process->start_at = now_ + dice.between(0us, dice.percent(80) ? 5ms : 500ms);
    processes_.push_back(std::move(process));
  };
  auto broker = std::make_unique<BrokerProcess>(*this, "broker", 0);
  broker_ = broker.get();
  add(std::move(broker));
  const std::uint64_t consumers = dice.percent(50) ? 2 : 1;
  for (std::uint64_t i = 0; i < consumers; ++i) {
    add(std::make_unique<ConsumerProcess>(*this, "consumer" + std::to_string(i), next_client_++));
  }
  const std::uint64_t producers = dice.between(1, 3);
  for (std::uint64_t i = 0; i < producers; ++i) {
    Input input;
    input.is_named = dice.percent(60);
    input.rows = dice.between(1, 25);
    input.batch_rows = dice.between(1, 4);
    input.max_unacked_bytes = dice.between(300, 4000);
    input.wants_applied = dice.percent(80);
    const milliseconds paces[] = {1ms, 20ms, 200ms};
    input.pace = dice.of(paces);
    const std::size_t client = next_client_++;
    const std::string name =
        input.is_named ? "p" + std::to_string(i) : "r" + std::to_string(client) + ".1";
    add(std::make_unique<ProducerProcess>(*this, name, client, input));
    if (input.is_named && dice.percent(15)) {
      add(std::make_unique<ProducerProcess>(*this, name, next_client_++, input));
      processes_.back()->start_at = now_ + dice.between(0ms, setting.load);
    }
  }
  if (dice.percent(15)) {
    add(std::make_unique<RogueProcess>(*this, "rogue", next_client_++));
  }
  const std::uint64_t troubles = dice.below(dice.percent(70) ? 6 : 16);
  for (std::uint64_t i = 0; i < troubles; ++i) {
    troubles_at_.push_back(now_ + dice.between(0ms, setting.load));
  }
  std::sort(troubles_at_.begin(), troubles_at_.end());
}

// ---- time

void World::run() {
  run_until(now_ + setting.load);
  heal();
  const TimePoint patience = now_ + kPatience;
  while (!is_drained()) {
    if (now_ >= patience) {
      violated("promise 6: something waits for ever");
    }
    run_until(now_ + 100ms);
  }
  check_journal_is_empty();
  audit.end();
}

void World::run_until(TimePoint end) {
  while (true) {
    if (++steps_ > kMostSteps) {
      violated("promise 6: the processes are busy for ever");
    }
    TimePoint at = end;
    Process* next = next_process(at);
    if (!is_healed_ && !troubles_at_.empty() && troubles_at_.front() <= at) {
      now_ = std::max(now_, troubles_at_.front());
      troubles_at_.pop_front();
      trouble();
      continue;
    }
    now_ = std::max(now_, at);
    wire.advance(now_);
    if (next == nullptr) {
      if (at >= end) {
        return;
      }
      continue;
    }
    run_turn(*next);
  }
}

// Who runs next, and when; at the latest at `at`. Nobody: somebody connects, or nothing happens.
Process* World::next_process(TimePoint& at) {
  Process* next = nullptr;
  at = std::min(at, std::max(now_, wire.next_connect()));
  for (auto& process : processes_) {
    if (process->is_inside) {
      continue;
    }
    const TimePoint due =
        process->is_up ? std::max(process->due(), process->stopped_until) : process->start_at;
    if (due != kNever && std::max(due, now_) < at) {
      at = std::max(due, now_);
      next = process.get();
    }
  }
  return next;
}

void World::run_turn(Process& process) {
  Process* const caller = std::exchange(current_, &process);
  process.is_inside = true;
  try {
    if (process.is_up) {
      process.turn();
    } else {
      trace(process, [] { return std::string("starts"); });
      process.start_at = kNever;
      process.is_up = true;
      process.start();
    }
  } catch (const ProcessDied&) {
    kill(process);
  }
  process.is_inside = false;
  current_ = caller;
}

void World::pass(Duration duration) {
  if (duration <= Duration::zero() || depth_ >= kDeepest) {
    return;
  }
  Process& who = *current_;
  ++depth_;
  run_until(now_ + duration);
  while (who.stopped_until > now_ && !who.is_doomed) {
    run_until(who.stopped_until);
  }
  --depth_;
  current_ = &who;
  if (who.is_doomed) {
    throw ProcessDied{};
  }
}

Duration World::sync_time() {
  if (!dice.percent(setting.slow_syncs_percent) || is_healed_) {
    return Duration::zero();
  }
  return dice.percent(80) ? dice.between(1ms, 50ms) : dice.between(50ms, 3s);
}

void World::violated(const std::string& what) {
  throw Violation{what};
}

void World::ended(Process& process, TimePoint again) {
  process.is_up = false;
  process.start_at = again;
  process.stopped_until = {};
  process.dies_after_sends = 0;
}

// ---- troubles

void World::kill(Process& process) {
  trace(process, [] { return std::string("dies"); });
  process.is_doomed = false;
  if (process.is_up) {
    process.die();
  }
  const auto away =
      is_healed_ || dice.percent(70) ? dice.between(1ms, 200ms) : dice.between(200ms, 8s);
  ended(process, process.is_over ? kNever : now_ + away);
}

void World::trouble() {
  ++troubles_;
  if (dice.percent(70)) {
    trouble_for_process(*processes_[dice.below(processes_.size())]);
  } else {
    trouble_for_disks();
  }
}

void World::trouble_for_process(Process& process) {
  if (!process.is_up) {
    return;
  }
  switch (dice.below(6)) {
    case 0:
      if (process.is_inside) {
        process.is_doomed = true;
      } else {
        kill(process);
      }
      break;
    case 1:
      process.dies_after_sends = dice.between(1, 6);
      break;
    case 2: {
      const milliseconds longest[] = {50ms, 1500ms, 7s, 20s};
      process.stopped_until = now_ + dice.between(1ms, dice.of(longest));
      trace(process, [&] {
        return fmt::format("is stopped for {} ms", (process.stopped_until - now_) / 1ms);
      });
      break;
    }
    case 3:
      if (!process.is_inside) {
        trace(process, [] { return std::string("is asked to stop"); });
        Process* const caller = std::exchange(current_, &process);
        process.is_inside = true;
        try {
          process.stop();
        } catch (const ProcessDied&) {
          process.die();
        }
        process.is_inside = false;
        current_ = caller;
        ended(process, now_ + dice.between(1ms, 3s));
      }
      break;
    default:
      if (&process == broker_) {
        wall_clock_ms += static_cast<std::int64_t>(dice.below(20'000'000)) - 10'000'000;
      } else {
        trace(process, [] { return std::string("its connection is cut"); });
        wire.cut(process.client(), now_);
      }
  }
}

void World::trouble_for_disks() {
  const Fate fates[] = {Fate::full, Fate::lost, Fate::kept, Fate::dies_before, Fate::dies_after};
  const milliseconds longest[] = {100ms, 1500ms, 8s};
  const TimePoint until = now_ + dice.between(1ms, dice.of(longest));
  const auto kind = dice.below(7);
  if (plan.traced) {
    const char* const names[] = {"the journal's syncs fail",    "the target's syncs fail",
                                 "the journal cannot be read",  "the target cannot be opened",
                                 "the text log's disk is full", "the machine sleeps",
                                 "the target is locked"};
    add_trace("world", names[kind]);
  }
  switch (kind) {
    case 0:
      journal.syncs = {dice.of(fates), dice.between(1, 4)};
      break;
    case 1:
      target.syncs = {dice.of(fates), dice.between(1, 4)};
      break;
    case 2:
      journal.unreadable_until = until;
      break;
    case 3:
      target.unreachable_until = until;
      break;
    case 4:
      target.text_full_until = until;
      break;
    case 5: {
      // The machine sleeps: all clocks go on, nobody runs.
      for (auto& process : processes_) {
        process->stopped_until = std::max(process->stopped_until, until);
      }
      wall_clock_ms += static_cast<std::int64_t>(dice.below(100'000));
      break;
    }
    default:
      target.locked_until = until;
  }
}

void World::heal() {
  is_healed_ = true;
  troubles_at_.clear();
  setting.wire.drop = setting.wire.twice = setting.wire.overtake = 0;
  setting.wire.slow_per_mille = 0;
  journal.syncs = target.syncs = {};
  journal.unreadable_until = target.unreachable_until = {};
  target.locked_until = target.text_full_until = {};
  if (plan.traced) {
    add_trace("world", "nothing fails any more");
  }
  for (auto& process : processes_) {
    process->stopped_until = std::min(process->stopped_until, now_);
    process->dies_after_sends = 0;
    if (!process->is_up && process->start_at != kNever) {
      process->start_at = std::min(process->start_at, now_ + 500ms);
    }
    if (plan.is_harsh && process->is_up && process.get() != broker_) {
      // What was lost one by one on a connection that stands comes only with a new one.
      wire.cut(process->client(), now_);
    }
  }
}

// ---- the end

bool World::is_drained() const {
  return audit.is_settled() &&
         std::all_of(processes_.begin(), processes_.end(),
                     [](const auto& process) { return process->is_over || !process->is_awaited; });
}

// Beside what must stay, applied batches leave the journal only when there are many.
void World::check_journal_is_empty() {
  const TimePoint patience = now_ + kPatience;
  const auto is_rogue = [](const auto& entry) { return entry.second.producer.starts_with(kRogue); };
  while (!journal.batches.empty() &&
         std::none_of(journal.batches.begin(), journal.batches.end(), is_rogue)) {
    if (now_ >= patience) {
      const auto& [offset, batch] = *journal.batches.begin();
      violated(fmt::format("promise 6: the journal keeps rows {}..{} of {} at offset {}",
                           batch.first, batch.last, batch.producer, offset));
    }
    run_until(now_ + 100ms);
  }
}

void World::add_trace(const std::string& who, const std::string& text) {
  if (text.ends_with("HEARTBEAT")) {
    return;  // most of what passes, and says nothing
  }
  const auto since = std::chrono::duration_cast<microseconds>(now_.time_since_epoch() - 1h);
  trace_.push_back(
      fmt::format("{:>10.3f} ms {:<11} {}", static_cast<double>(since.count()) / 1000, who, text));
  if (trace_.size() > kTraceLines) {
    trace_.pop_front();
  }
}

Verdict simulate(const Plan& plan) {
  World world(plan);
  Verdict verdict;
  try {
    world.run();
  } catch (const Violation& violation) {
    verdict.violation = violation.what;
  }
  verdict.trace = world.take_trace();
  verdict.steps = world.steps();
  verdict.rows = world.audit.rows_committed();
  verdict.troubles = world.troubles();
  return verdict;
}

}  // namespace turnstile::simulation
