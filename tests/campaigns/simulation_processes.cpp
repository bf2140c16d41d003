#include "tests/campaigns/simulation_processes.h"

#include <algorithm>
#include <array>
#include <utility>

#include <fmt/format.h>

namespace turnstile::simulation {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t kTurnMessages = 64;
constexpr auto kIdle = 250ms;
// More than this of a process's lives end by themselves in a run that goes on for ever.
constexpr std::uint64_t kMostRogueWords = 40;

Bytes rows_of(const std::string& producer, std::uint64_t first, std::uint64_t rows) {
  RowsEncoder encoder;
  for (std::uint64_t i = first; i < first + rows; ++i) {
    const std::array<ValueRef, 2> row{static_cast<std::int64_t>(i),
                                      static_cast<std::int64_t>(content_of(producer, i))};
    encoder.add(std::span<const ValueRef>(row));
  }
  return encoder.take();
}

Batch batch_of_rows(const std::string& producer, std::uint64_t first, std::uint64_t rows) {
  Batch batch;
  batch.header.producer = {producer};
  batch.header.first = {first};
  batch.header.rows = static_cast<std::uint32_t>(rows);
  batch.header.table = "t";
  batch.header.columns = {"n", "c"};
  batch.rows_frame = rows_of(producer, first, rows);
  return batch;
}

struct TextOf {
  std::string operator()(const Hello& m) const {
    return fmt::format("HELLO {} epoch {} known {}", m.producer.text, m.epoch.value, m.known.value);
  }
  std::string operator()(const Heartbeat& /*m*/) const { return "HEARTBEAT"; }
  std::string operator()(const Bye& /*m*/) const { return "BYE"; }
  std::string operator()(const Batch& m) const {
    return fmt::format("BATCH {} {}..{} epoch {}", m.header.producer.text, m.header.first.value,
                       m.header.last().value, m.header.epoch.value);
  }
  std::string operator()(const Results& m) const {
    std::string text = fmt::format("RESULTS lease {}", m.lease.value);
    for (const auto& result : m.results) {
      text +=
          fmt::format(" [{} {} through {} dead {}]", result.ticket.value,
                      static_cast<int>(result.outcome), result.through.value, result.dead_count);
    }
    return text;
  }
  std::string operator()(const ProgressAnswer& m) const {
    return fmt::format("PROGRESS {} through {} dead {}", m.request, m.progress.through.value,
                       m.progress.dead_count);
  }
  std::string operator()(const Welcome& m) const {
    return fmt::format("WELCOME epoch {} through {}{}", m.epoch.value, m.through.value,
                       m.through_is_sure ? "" : " unsure");
  }
  std::string operator()(const Stored& m) const {
    return fmt::format("STORED {}", m.through.value);
  }
  std::string operator()(const Applied& m) const {
    return fmt::format("APPLIED {} dead {}", m.through.value, m.dead_count);
  }
  std::string operator()(const Refusal& m) const {
    return fmt::format("REFUSAL {} sequence {}: {}", static_cast<int>(m.code), m.sequence.value,
                       m.text);
  }
  std::string operator()(const LeaseState& m) const {
    return fmt::format("LEASE {} {}", m.lease.value, m.granted ? "granted" : "not yours");
  }
  std::string operator()(const Delivery& m) const {
    const auto header = decode_batch_header(m.header_frame.view());
    return fmt::format("DELIVERY {} of {} {}..{}", m.ticket.value,
                       header ? header->producer.text : "?", header ? header->first.value : 0,
                       header ? header->last().value : 0);
  }
  std::string operator()(const AskProgress& m) const {
    return fmt::format("ASK_PROGRESS {} {} since {}", m.request, m.producer.text, m.since.value);
  }
  template <typename Other>
  std::string operator()(const Other& /*m*/) const {
    return "another message";
  }
};

// On disk only with the next one.
class LateJournal final : public SimulatedJournal {
 public:
  using SimulatedJournal::SimulatedJournal;

 private:
  Result<void> commit(Transaction&& transaction) override {
    apply(std::exchange(late_, std::move(transaction)));
    return {};
  }
  Transaction late_;
};

class ForgetfulTarget final : public SimulatedTarget {
 public:
  ForgetfulTarget(World& world, store::TargetOptions options)
      : SimulatedTarget(world.target, world, std::move(options)), dice_(world.dice) {}

 private:
  void save(const std::string& producer, TargetDisk::Producer&& record) override {
    if (!dice_.percent(20)) {
      SimulatedTarget::save(producer, std::move(record));
    }
  }
  Dice& dice_;
};

class LateTarget final : public SimulatedTarget {
 public:
  using SimulatedTarget::SimulatedTarget;
  Result<void> begin() override {
    for (auto& [producer, record] : std::exchange(late_, {})) {
      SimulatedTarget::save(producer, std::move(record));
    }
    return SimulatedTarget::begin();
  }

 private:
  void save(const std::string& producer, TargetDisk::Producer&& record) override {
    late_[producer] = std::move(record);
  }
  std::map<std::string, TargetDisk::Producer> late_;
};

class UnfencedTarget final : public SimulatedTarget {
 public:
  using SimulatedTarget::SimulatedTarget;

 private:
  [[nodiscard]] bool is_fenced() const override { return false; }
};

class RepeatingTarget final : public SimulatedTarget {
 public:
  using SimulatedTarget::SimulatedTarget;

 private:
  [[nodiscard]] std::uint64_t known_rows(const BatchHeader& header,
                                         std::uint64_t through) const override {
    const std::uint64_t known = SimulatedTarget::known_rows(header, through);
    return known < header.rows ? 0 : known;
  }
};

class SkippingTarget final : public SimulatedTarget {
 public:
  using SimulatedTarget::SimulatedTarget;

 private:
  [[nodiscard]] std::uint64_t known_rows(const BatchHeader& header,
                                         std::uint64_t through) const override {
    return SimulatedTarget::known_rows(header, through) > 0 ? header.rows : 0;
  }
};

}  // namespace

std::string text_of(const Message& message) {
  return std::visit(TextOf{}, message);
}

// ---- broker

void BrokerProcess::start() {
  const bool late = world_.plan.planted == Planted::journal_syncs_late;
  journal_ =
      late ? std::make_unique<LateJournal>(world_.journal, world_, world_.setting.journal_limit)
           : std::make_unique<SimulatedJournal>(world_.journal, world_,
                                                world_.setting.journal_limit);
  broker::CoreOptions options;
  options.window = world_.setting.window;
  options.lease = world_.setting.lease;
  options.credit_bytes = world_.setting.credit_bytes;
  options.max_sessions = world_.setting.max_sessions;
  options.broker_id = "b" + std::to_string(++starts_);
  constexpr std::uint64_t kLeasesAStart = 1'000'000;
  options.leases_after = Lease{starts_ * kLeasesAStart};
  options.wall_clock_ms = [this] { return static_cast<std::uint64_t>(world_.wall_clock_ms); };
  core_ = std::make_unique<broker::Core>(std::move(options), *journal_, world_.now());
  world_.audit.broker_started();
  if (auto started = core_->start(); !started) {
    die();
    world_.ended(*this, world_.now() + 200ms);
    return;
  }
  world_.wire.broker_started();
  deadline_ = world_.now();
  taken_ = 0;
}

// As Broker::run() does it.
void BrokerProcess::turn() {
  const TimePoint now = world_.now();
  for (std::size_t i = 0; i < kTurnMessages; ++i) {
    auto arrived = world_.wire.take(now);
    if (!arrived) {
      break;
    }
    const ConnectionId connection = arrived->first;
    auto& message = arrived->second;
    ++taken_;
    world_.trace(*this, [&] { return text_of(connection) + " > " + text_of(message); });
    world_.audit.broker_takes(connection, message);
    if (const auto* batch = std::get_if<Batch>(&message);
        batch != nullptr && world_.plan.planted == Planted::broker_answers_early) {
      const Stored stored{batch->header.last()};
      world_.audit.broker_sends(connection, stored);
      world_.wire.send_to(connection, stored, now);
    }
    core_->receive(connection, std::move(message), now);
  }
  core_->advance(now);
  send_outbox();
  core_->store(world_.now());
  send_outbox();
  world_.audit.broker_rests(core_->window().memory_bytes());
  deadline_ = core_->deadline(world_.now());
}

void BrokerProcess::send_outbox() {
  std::size_t told = 0;
  for (auto& outgoing : core_->take_outbox()) {
    const ConnectionId connection = outgoing.connection;
    auto& message = outgoing.message;
    told += std::holds_alternative<Delivery>(message) ? 0 : 1;
    if (auto* state = std::get_if<LeaseState>(&message);
        state != nullptr && world_.plan.planted == Planted::two_leases && !state->granted) {
      state->granted = true;
      ++state->lease.value;
    }
    world_.audit.broker_sends(connection, message);
    world_.trace(*this, [&] { return text_of(connection) + " < " + text_of(message); });
    if (!world_.wire.send_to(connection, std::move(message), world_.now())) {
      world_.trace(*this, [&] { return text_of(connection) + " cannot be reached"; });
      world_.audit.broker_cannot_reach(connection);
      core_->unreachable(connection);
    }
    if (dies_after_sends > 0 && --dies_after_sends == 0) {
      throw ProcessDied{};
    }
  }
  // Promise 6: what is to be sent follows from what came and from who is there.
  if (told > 4 * taken_ + 8 * Wire::kClients) {
    world_.violated("promise 6: the outbox has " + std::to_string(told) + " messages");
  }
  taken_ = 0;
}

void BrokerProcess::die() {
  world_.wire.broker_gone(world_.now());
  core_.reset();
  journal_.reset();
}

void BrokerProcess::stop() {
  core_->finish(world_.now());
  send_outbox();
  die();
}

TimePoint BrokerProcess::due() const {
  return std::min(deadline_, world_.wire.next_for_broker());
}

// ---- clients

ClientProcess::ClientProcess(World& world, std::string name, std::size_t client)
    : Process(world, std::move(name), client), link_(world.wire, client, world.clock()) {
  link_.on_send = [this](const Message& message) {
    world_.trace(*this, [&] { return "sends " + text_of(message); });
    sent(message);
    if (dies_after_sends > 0 && --dies_after_sends == 0) {
      throw ProcessDied{};
    }
  };
  link_.on_receive = [this](const Message& message) {
    world_.trace(*this, [&] { return "takes " + text_of(message); });
    took(message);
  };
}

void ClientProcess::start() {
  world_.wire.open(client_, world_.now());
  begin();
}

void ClientProcess::die() {
  forget();
  world_.wire.close(client_, world_.now());
}

// ---- consumer

void ConsumerProcess::begin() {
  consumer::ConsumerOptions options;
  options.target.path = "target.db";
  options.target.busy_timeout = world_.setting.busy_timeout;
  options.group_rows = static_cast<std::uint32_t>(world_.dice.between(1, 20));
  options.group_bytes = world_.dice.between(50, 2000);
  options.clock = [this] { return world_.now(); };
  options.open_target =
      [this](store::TargetOptions target) -> Result<std::unique_ptr<store::WritableTarget>> {
    if (world_.now() < world_.target.unreachable_until) {
      return fail(Errc::unreachable, "the target cannot be opened");
    }
    switch (world_.plan.planted) {
      case Planted::target_forgets_progress:
        return std::make_unique<ForgetfulTarget>(world_, std::move(target));
      case Planted::target_syncs_late:
        return std::make_unique<LateTarget>(world_.target, world_, std::move(target));
      case Planted::known_rows_again:
        return std::make_unique<RepeatingTarget>(world_.target, world_, std::move(target));
      case Planted::partly_known_skipped:
        return std::make_unique<SkippingTarget>(world_.target, world_, std::move(target));
      case Planted::no_fence:
        return std::make_unique<UnfencedTarget>(world_.target, world_, std::move(target));
      default:
        return std::make_unique<SimulatedTarget>(world_.target, world_, std::move(target));
    }
  };
  audit_ = {};
  consumer_ = std::make_unique<consumer::Consumer>(link_, std::move(options), [] { return false; });
  wake_ = world_.now();
}

void ConsumerProcess::forget() {
  consumer_.reset();
}

void ConsumerProcess::turn() {
  const TimePoint before = world_.now();
  if (const auto served = consumer_->serve(500ms); !served) {
    world_.trace(*this, [&] { return "ends: " + served.error().what; });
    if (served.error().code != Errc::fenced) {
      world_.violated("a consumer gives up: " + served.error().what);
    }
    die();
    world_.ended(*this, world_.now() + world_.dice.between(100ms, 2s));
    return;
  }
  wake_ = std::max(world_.now(), before + link_.asked_wait());
}

void ConsumerProcess::stop() {
  static_cast<void>(consumer_->finish());
  die();
}

TimePoint ConsumerProcess::due() const {
  return std::min(wake_, world_.wire.next_for(client_));
}

void ConsumerProcess::took(const Message& message) {
  world_.audit.consumer_takes(audit_, message);
}

void ConsumerProcess::sent(const Message& message) {
  world_.audit.consumer_sends(audit_, message);
}

// ---- producer

ProducerProcess::ProducerProcess(World& world, std::string producer, std::size_t client,
                                 Input input)
    : ClientProcess(world, producer + "#" + std::to_string(client), client),
      id_(std::move(producer)),
      input_(input) {
  is_awaited = true;
  link_.loses = [this](const Message& message) {
    return std::holds_alternative<Batch>(message) && std::exchange(loses_next_, false);
  };
}

void ProducerProcess::begin() {
  ++lives_;
  if (!input_.is_named && lives_ > 1) {
    // A random id dies with its process; the next is somebody else, with rows of its own.
    id_ = "r" + std::to_string(client_) + "." + std::to_string(lives_);
    input_.rows = world_.is_healed() ? 0 : world_.dice.below(8);
  }
  audit_ = {};
  audit_.name = id_;
  last_ = 0;
  welcomes_ = 0;
  loses_next_ = false;
  SessionOptions options;
  options.producer = {id_};
  options.named = input_.is_named;
  options.source = input_.is_named ? "s" : "";
  options.clock = [this] { return world_.now(); };
  options.seed = world_.dice.roll();
  options.on_dead = [this](const Resend::NewDead& dead) {
    world_.audit.producer_is_told_dead(audit_, dead.listed, dead.count);
  };
  session_ = std::make_unique<Session>(link_, std::move(options));
  wake_ = world_.now();
}

void ProducerProcess::forget() {
  session_.reset();
}

bool ProducerProcess::has_room() const {
  return session_->resend().held_bytes() <= input_.max_unacked_bytes;
}

void ProducerProcess::add_batch() {
  const std::uint64_t next = session_->resend().next_sequence().value;
  const std::uint64_t rows = std::min(input_.batch_rows, last_ - next + 1);
  Batch batch = batch_of_rows(id_, next, world_.dice.between(1, rows));
  batch.header.source = input_.is_named ? "s" : "";
  session_->resend().add(std::move(batch));
}

void ProducerProcess::turn() {
  session_->serve(0ms);
  if (session_->failure()) {
    return failed(*session_->failure());
  }
  if (!session_->welcome()) {
    wake_ = world_.now() + kIdle;
    return;
  }
  const Resend& resend = session_->resend();
  if (last_ == 0) {
    last_ = std::max(input_.rows, resend.begun_after().value);
  }
  // In bursts, as far as what is held is bounded (promise 6).
  const bool has_more = resend.last().value < last_;
  if (has_more && has_room() && !world_.dice.percent(30)) {
    do {
      add_batch();
    } while (resend.last().value < last_ && has_room() && world_.dice.percent(40));
    session_->serve(0ms);
    if (session_->failure()) {
      return failed(*session_->failure());
    }
  }
  const auto through = input_.wants_applied ? resend.applied_through() : resend.stored_through();
  if (through.value >= last_) {
    if (input_.wants_applied) {
      world_.audit.producer_done(audit_, resend.begun_after().value, last_, !world_.plan.is_harsh);
    }
    world_.trace(*this, [] { return std::string("is done"); });
    is_over = true;
    session_->bye();
    die();
    world_.ended(*this, kNever);
    return;
  }
  wake_ =
      world_.now() +
      (resend.last().value < last_ && has_room() ? world_.dice.between(0us, input_.pace) : kIdle);
  if (const auto paused = resend.paused_until()) {
    wake_ = std::clamp(*paused, world_.now(), wake_);
  }
}

void ProducerProcess::failed(const Error& error) {
  world_.trace(*this, [&] { return "ends: " + error.what; });
  const bool fenced = error.code == Errc::fenced && input_.is_named;
  if (!fenced && !world_.plan.is_harsh) {
    world_.violated(id_ + " did as it should, and is refused: " + error.what);
  }
  die();
  // Somebody newer goes on for a fenced one. Others are started again by who reads their error.
  is_over = fenced || !input_.is_named;
  world_.ended(*this, is_over ? kNever : world_.now() + world_.dice.between(100ms, 3s));
}

TimePoint ProducerProcess::due() const {
  return std::min(wake_, world_.wire.next_for(client_));
}

void ProducerProcess::took(const Message& message) {
  world_.audit.producer_takes(audit_, message);
  if (std::holds_alternative<Welcome>(message) && ++welcomes_ > 1) {
    loses_next_ = world_.plan.planted == Planted::lost_resend;
  }
}

void ProducerProcess::sent(const Message& /*message*/) {}

// ---- rogue

void RogueProcess::took(const Message& message) {
  if (const auto* welcome = std::get_if<Welcome>(&message)) {
    epoch_ = welcome->epoch;
  }
}

void RogueProcess::turn() {
  while (link_.receive(0ms)) {
  }
  if (world_.now() >= wake_) {
    wake_ = world_.now() + world_.dice.between(1ms, 400ms);
    if (!world_.is_healed() && words_++ < kMostRogueWords) {
      say_something();
    }
  }
}

void RogueProcess::say_something() {
  auto& dice = world_.dice;
  const std::string id = std::string(kRogue);
  switch (dice.below(8)) {
    case 0:
    case 1: {
      Hello hello;
      hello.role = Role::producer;
      hello.producer = {id};
      hello.epoch = epoch_;
      hello.known = {dice.below(3)};
      link_.send(hello);
      break;
    }
    case 2:
    case 3:
    case 4: {
      Batch batch = batch_of_rows(id, dice.between(1, 12), dice.between(1, 4));
      batch.header.epoch = epoch_;
      if (dice.percent(10)) {
        batch.header.producer = {"p0"};
      }
      batch.header_frame = encode_batch_header(batch.header);
      link_.send(batch);
      break;
    }
    case 5:
      link_.send(
          Results{Lease{dice.below(4)},
                  {{Ticket{dice.below(50)}, turnstile::Outcome::applied, {dice.below(9)}, 0, {}}},
                  {}});
      break;
    case 6:
      link_.send(ProgressAnswer{dice.below(10), {}});
      break;
    default:
      link_.send(CheckTable{dice.roll(), "t", {"n"}});
      break;
  }
}

TimePoint RogueProcess::due() const {
  return std::min(wake_, world_.wire.next_for(client_));
}

}  // namespace turnstile::simulation
