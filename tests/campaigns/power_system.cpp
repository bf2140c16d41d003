#include "tests/campaigns/power_system.h"

#include <algorithm>
#include <filesystem>

#include "consumer/consumer.h"
#include "store/sqlite.h"
#include "tests/campaigns/power_rows.h"

namespace turnstile::test::power {
namespace {

using namespace std::chrono_literals;

constexpr std::uint64_t kWallClockMs = 1'700'000'000'000;
constexpr std::size_t kHeldBytes = 40'000;  // of a producer that waits
constexpr int kDrainTurns = 4000;

// Tells when lines were written.
class LateRecordFile final : public store::TextFile {
 public:
  LateRecordFile(std::unique_ptr<store::TextFile> file, std::function<void()> written)
      : file_(std::move(file)), written_(std::move(written)) {}
  Result<std::uint64_t> size() override { return file_->size(); }
  Result<std::size_t> write_some(std::uint64_t offset, std::string_view bytes) override {
    auto written = file_->write_some(offset, bytes);
    written_();
    return written;
  }
  Result<void> truncate(std::uint64_t length) override { return file_->truncate(length); }
  Result<void> sync() override { return file_->sync(); }

 private:
  std::unique_ptr<store::TextFile> file_;
  std::function<void()> written_;
};

}  // namespace

// ---- links

class SimulatedSystem::ProducerLink final : public Link {
 public:
  ProducerLink(SimulatedSystem& system, SimProducer& producer)
      : system_(system), producer_(producer) {}
  bool send(const Message& message) override {
    return system_.to_broker(producer_.connection, message);
  }
  std::optional<Message> receive(std::chrono::milliseconds /*wait*/) override {
    if (producer_.mail.empty()) {
      return std::nullopt;
    }
    Message message = std::move(producer_.mail.front());
    producer_.mail.pop_front();
    return message;
  }

 private:
  SimulatedSystem& system_;
  SimProducer& producer_;
};

class SimulatedSystem::ConsumerLink final : public Link {
 public:
  explicit ConsumerLink(SimulatedSystem& system) : system_(system) {}
  bool send(const Message& message) override {
    if (system_.consumer_ended_ && system_.consumer_end_ == End::killed) {
      return false;
    }
    const bool taken = system_.to_broker(*system_.consumer_connection_, message);
    if (taken && std::holds_alternative<Results>(message)) {
      system_.took_over_ = true;
      // Rows are applied only once the text log is whole; without failures it is at once.
      if (!system_.failures_expected_ || !std::get<Results>(message).results.empty()) {
        system_.is_strange_ = false;
      }
      system_.consumer_stage_ = Stage::running;
    }
    return taken;
  }
  std::optional<Message> receive(std::chrono::milliseconds wait) override {
    if (wait > 0ms || system_.once_in(8)) {
      --system_.turns_left_;
      system_.turn();
      if (system_.turns_left_ <= 0) {
        system_.end_consumer();
      }
    }
    return system_.to_consumer();
  }

 private:
  SimulatedSystem& system_;
};

// ---- the whole

SimulatedSystem::SimulatedSystem(std::uint64_t seed, Plant plant)
    : random_(seed),
      plant_(plant),
      paths_{(folder_ / "j/journal.db").string(), (folder_ / "t/shared.db").string(),
             (folder_ / "x/out9.txt").string()},
      disk_(once_in(2) ? 512 : 4096),
      broker_vfs_(disk_),
      consumer_vfs_(disk_),
      stranger_vfs_(disk_),
      checkpoint_pages_(static_cast<int>(pick(6, 60))) {
  std::filesystem::create_directory(folder_ / "j");
  journal_options_.path = paths_.journal;
  journal_options_.vfs = broker_vfs_.name();
  journal_options_.limit_bytes = once_in(4) ? 60'000 : 1'000'000;
  journal_options_.checkpoint_pages = static_cast<int>(pick(6, 60));
  journal_options_.shrink_above_pages = pick(4, 30);
  core_options_.broker_id = "b0";
  core_options_.credit_bytes = pick(2'000, 40'000);
  core_options_.window.memory_bytes = pick(20'000, 200'000);
  core_options_.window.consumer_credit_bytes = pick(5'000, 15'000);
  core_options_.wall_clock_ms = [] { return kWallClockMs; };
  for (const char* name : {"anna", "bert", "cleo"}) {
    auto producer = std::make_unique<SimProducer>();
    producer->id = name;
    producer->named = producer->id != "anna";
    account_.told[producer->id];
    begin_life(*producer);
    producers_.push_back(std::move(producer));
  }
}

SimulatedSystem::~SimulatedSystem() {
  disk_.switch_off();
  stop_broker(End::killed);
}

std::uint64_t SimulatedSystem::pick(std::uint64_t from, std::uint64_t to) {
  return std::uniform_int_distribution<std::uint64_t>(from, to)(random_);
}

// ---- producers

void SimulatedSystem::begin_life(SimProducer& producer) {
  producer.connection = {++connections_};
  producer.mail.clear();
  producer.link = std::make_unique<ProducerLink>(*this, producer);
  SessionOptions options;
  options.producer = {producer.id};
  options.named = producer.named;
  options.clock = [this] { return now_; };
  options.seed = pick(1, 1'000'000);
  producer.session = std::make_unique<Session>(*producer.link, std::move(options));
}

void SimulatedSystem::restart_producers() {
  for (auto& producer : producers_) {
    if (producer->named && once_in(2)) {
      begin_life(*producer);
    }
  }
}

void SimulatedSystem::act(SimProducer& producer) {
  Session& session = *producer.session;
  session.serve(0ms);
  if (session.failure()) {
    problem(producer.id + " gave up: " + session.failure()->what);
    return;
  }
  if (!producing_ || !session.welcome()) {
    return;
  }
  Resend& resend = session.resend();
  for (std::uint64_t batches = pick(0, 3); batches > 0 && resend.held_bytes() < kHeldBytes;
       --batches) {
    resend.add(batch_from(producer.id, resend.next_sequence().value,
                          static_cast<std::uint32_t>(pick(1, 25))));
  }
  session.serve(0ms);
}

void SimulatedSystem::tell(SimProducer& producer, const Message& message) {
  Told& told = account_.told[producer.id];
  if (const auto* stored = std::get_if<Stored>(&message)) {
    told.stored = std::max(told.stored, stored->through.value);
  } else if (const auto* applied = std::get_if<Applied>(&message)) {
    told.applied = std::max(told.applied, applied->through.value);
    told.stored = std::max(told.stored, told.applied);
    for (const DeadRow& dead : applied->dead) {
      if (!is_bad(producer.id, dead.sequence.value)) {
        problem(producer.id + ": told that row " + std::to_string(dead.sequence.value) +
                " is dead: " + dead.reason);
      }
    }
  } else if (const auto* welcome = std::get_if<Welcome>(&message)) {
    told.stored = std::max(told.stored, welcome->through.value);
    if (welcome->through_is_sure && welcome->through.value < told.applied) {
      problem(producer.id + ": welcomed at " + std::to_string(welcome->through.value) +
              " after it was told applied up to " + std::to_string(told.applied));
    }
  }
  producer.mail.push_back(message);
}

// ---- broker

void SimulatedSystem::start_broker() {
  if (disk_.is_off()) {
    return;
  }
  broker_stage_ = Stage::opening;
  now_ += 2s;  // producers say hello again after so long
  auto journal = broker::Journal::open(journal_options_);
  if (journal) {
    journal_ = std::make_unique<broker::Journal>(std::move(*journal));
    auto core = std::make_unique<broker::Core>(core_options_, *journal_, now_);
    if (auto started = core->start(); started) {
      core_ = std::move(core);
    } else if (!disk_.is_off() && !failures_expected_) {
      problem("the broker does not start: " + started.error().what);
    }
    if (core_ == nullptr) {
      journal_.reset();
    }
  } else if (!disk_.is_off() && !failures_expected_) {
    problem("the journal cannot be opened: " + journal.error().what);
  }
  broker_stage_ = Stage::running;
  // Each new connection begins with a probe.
  for (const auto& producer : producers_) {
    to_broker(producer->connection, Heartbeat{});
  }
  if (consumer_connection_) {
    to_broker(*consumer_connection_, Heartbeat{});
  }
}

void SimulatedSystem::stop_broker(End end) {
  broker_stage_ = Stage::closing;
  if (end == End::killed) {
    broker_vfs_.kill();
  } else if (core_ != nullptr && !disk_.is_off()) {
    core_->finish(now_);
    flush();
  }
  core_.reset();
  journal_.reset();
  inbox_.clear();
  consumer_mail_.clear();
}

bool SimulatedSystem::to_broker(ConnectionId connection, const Message& message) {
  if (core_ == nullptr || disk_.is_off()) {
    return false;
  }
  inbox_.emplace_back(connection, message);
  return true;
}

void SimulatedSystem::turn() {
  if (disk_.is_off()) {
    return;
  }
  now_ += once_in(12) ? 150ms : std::chrono::milliseconds(pick(0, 20));
  for (auto& producer : producers_) {
    if (once_in(2)) {
      act(*producer);
    }
  }
  if (core_ == nullptr) {
    return;
  }
  while (!inbox_.empty() && !disk_.is_off()) {
    auto [connection, message] = std::move(inbox_.front());
    inbox_.pop_front();
    const auto* batch = std::get_if<Batch>(&message);
    if (plant_ == Plant::stored_before_commit && batch != nullptr) {
      for (auto& producer : producers_) {
        if (producer->connection == connection) {
          tell(*producer, Stored{batch->header.last()});
        }
      }
    }
    core_->receive(connection, std::move(message), now_);
  }
  if (disk_.is_off()) {
    return;
  }
  core_->advance(now_);
  flush();
  core_->store(now_);
  flush();
}

void SimulatedSystem::flush() {
  for (broker::Outgoing& outgoing : core_->take_outbox()) {
    if (disk_.is_off()) {
      return;
    }
    if (consumer_connection_ == outgoing.connection) {
      consumer_mail_.push_back(std::move(outgoing.message));
      continue;
    }
    const auto found = std::find_if(producers_.begin(), producers_.end(), [&](const auto& p) {
      return p->connection == outgoing.connection;
    });
    if (found == producers_.end()) {
      core_->unreachable(outgoing.connection);
    } else {
      tell(**found, outgoing.message);
    }
  }
}

// ---- consumer

store::OpenTextFile SimulatedSystem::text_files() {
  auto open = consumer_vfs_.text_files();
  if (plant_ != Plant::record_after_commit) {
    return open;
  }
  return [this, open](const std::filesystem::path& path) {
    return open(path).map([this](std::unique_ptr<store::TextFile> file) {
      return std::unique_ptr<store::TextFile>(
          std::make_unique<LateRecordFile>(std::move(file), [this] { record_late(); }));
    });
  };
}

store::TargetOptions SimulatedSystem::target_options() {
  store::TargetOptions options;
  options.path = paths_.target;
  options.text_path = paths_.text;
  options.text_rotated = store::TextRotated::whole_table;  // what the check expects
  options.text_table = std::string(kLogged);
  options.busy_timeout = 0ms;
  options.vfs = consumer_vfs_.name();
  options.now_ms = [this] {
    return static_cast<std::int64_t>(kWallClockMs) +
           std::chrono::duration_cast<std::chrono::milliseconds>(now_.time_since_epoch()).count();
  };
  options.open_text_file = text_files();
  options.checkpoint_pages = checkpoint_pages_;
  return options;
}

std::optional<Message> SimulatedSystem::to_consumer() {
  if (consumer_ended_ || disk_.is_off() || consumer_mail_.empty() || once_in(10)) {
    return std::nullopt;
  }
  Message message = std::move(consumer_mail_.front());
  consumer_mail_.pop_front();
  if (std::holds_alternative<LeaseState>(message)) {
    consumer_stage_ = Stage::opening;  // it opens the target, for the first time or anew
  }
  if (plant_ == Plant::applied_before_commit) {
    if (const auto* state = std::get_if<LeaseState>(&message)) {
      lease_ = state->lease;
    } else if (const auto* delivery = std::get_if<Delivery>(&message)) {
      const auto header = decode_batch_header(delivery->header_frame.view());
      Results early{lease_, {{delivery->ticket, Outcome::applied, header->last(), 0, {}}}, {}};
      to_broker(*consumer_connection_, early);
    }
  }
  return message;
}

Result<void> SimulatedSystem::run(consumer::Consumer& consumer) {
  while (!disk_.is_off() && !consumer_ended_) {
    if (auto served = consumer.serve(0ms); !served) {
      return served;
    }
  }
  return consumer.finish();
}

void SimulatedSystem::end_consumer() {
  if (!consumer_ended_) {
    consumer_ended_ = true;
    if (consumer_stage_ == Stage::running) {
      consumer_stage_ = Stage::closing;
    }
    if (consumer_end_ == End::killed) {
      consumer_vfs_.kill();
    }
  }
}

void SimulatedSystem::run_consumer(int turns, End end) {
  if (disk_.is_off()) {
    return;
  }
  consumer_connection_ = ConnectionId{++connections_};
  consumer_mail_.clear();
  turns_left_ = turns;
  consumer_end_ = end;
  consumer_ended_ = false;
  took_over_ = false;
  account_.text_is_settled = false;
  consumer_stage_ = Stage::opening;
  to_broker(*consumer_connection_, Heartbeat{});  // the probe of a new connection
  {
    ConsumerLink link(*this);
    consumer::ConsumerOptions options;
    options.target = target_options();
    options.clock = [this] { return now_; };
    consumer::Consumer consumer(link, std::move(options),
                                [this] { return disk_.is_off() || consumer_ended_; });
    const auto ended = run(consumer);
    const bool may_say_so = failures_expected_ && !ended && ended.error().code != Errc::fenced &&
                            ended.error().code != Errc::bad_input;
    if (!ended && !disk_.is_off() && end == End::clean && !may_say_so) {
      problem("the consumer ended: " + ended.error().what);
    }
  }
  if (!disk_.is_off() && took_over_) {
    account_.text_is_settled = end == End::clean && !is_strange_ && !failures_expected_;
    if (plant_ == Plant::record_after_commit) {
      plant_late_record();
    }
  }
  consumer_connection_.reset();
}

void SimulatedSystem::as_stranger(const std::string& sql) {
  const Stage before = std::exchange(consumer_stage_, Stage::of_a_stranger);
  {
    auto db =
        sqlite::Connection::open(paths_.target, sqlite::Access::read_write, stranger_vfs_.name());
    if (db) {
      static_cast<void>(db->execute(sql));
    }
  }
  consumer_stage_ = before;
}

// From the next consumer on, the record does not move with the rows.
void SimulatedSystem::plant_late_record() {
  as_stranger(
      "CREATE TRIGGER IF NOT EXISTS late BEFORE INSERT ON turnstile_text_log "
      "BEGIN SELECT RAISE(IGNORE); END");
}

void SimulatedSystem::record_late() {
  const std::string table(kLogged);
  as_stranger(
      "UPDATE turnstile_text_log SET length=" + std::to_string(disk_.content(paths_.text).size()) +
      ", last_rowid=(SELECT max(rowid) FROM " + table + ")");
}

// ---- others

bool SimulatedSystem::begin_disturbance() {
  if (disk_.is_off() || is_strange_) {
    return false;
  }
  is_strange_ = true;
  account_.text_is_settled = false;
  return true;
}

void SimulatedSystem::disturb() {
  const std::uint64_t way = pick(0, 2);
  if (way == 0) {
    disturb_target();
    return;
  }
  if (!begin_disturbance()) {
    return;
  }
  const auto process = PowerDisk::new_process();
  if (way == 1) {
    static_cast<void>(disk_.remove(process, paths_.text));
    return;
  }
  PowerDisk::Handle handle;
  if (disk_.open(process, paths_.text, false, false, handle) == 0) {
    static_cast<void>(disk_.truncate(handle, pick(0, disk_.content(paths_.text).size())));
  }
}

void SimulatedSystem::disturb_target() {
  if (!disk_.exists(paths_.target) || !begin_disturbance()) {
    return;
  }
  // Without the table, or the power, it comes to nothing.
  const std::string table(kLogged);
  as_stranger(once_in(2) ? "INSERT INTO " + table + " VALUES('stranger', " +
                               std::to_string(++strangers_rows_) + ", 'here')"
                         : "DELETE FROM " + table + " WHERE rowid=(SELECT max(rowid) FROM " +
                               table + ") AND producer='stranger'");
}

void SimulatedSystem::after_cut() {
  inbox_.clear();
  consumer_mail_.clear();
  account_.text_is_settled = false;
  for (auto& producer : producers_) {
    producer->mail.clear();
  }
  if (once_in(2)) {
    restart_producers();
  }
}

bool SimulatedSystem::is_quiet() const {
  return std::all_of(producers_.begin(), producers_.end(), [](const auto& producer) {
    const Session& session = *producer->session;
    return session.welcome() && !session.resend().has_held() &&
           session.resend().applied_through() == session.resend().last();
  });
}

void SimulatedSystem::drain() {
  producing_ = false;
  for (int turns = 0; turns < kDrainTurns && !is_quiet() && problems_.empty(); turns += 100) {
    if (core_ == nullptr) {
      start_broker();
    }
    run_consumer(100, End::clean);
    now_ += 2s;
  }
  if (!is_quiet() && problems_.empty()) {
    problem("not every row was applied although everything works");
    return;
  }
  stop_broker(End::clean);
  account_.is_drained = true;
  for (const auto& producer : producers_) {
    account_.sent[producer->id] = producer->session->resend().last().value;
  }
  check_disk();
  account_.is_drained = false;
  producing_ = true;
}

void SimulatedSystem::check_disk() {
  account_.text_is_disturbed = is_strange_;
  const auto copy = disk_.snapshot();
  for (auto& found : check(*copy, paths_, account_)) {
    problem(std::move(found));
  }
}

}  // namespace turnstile::test::power
