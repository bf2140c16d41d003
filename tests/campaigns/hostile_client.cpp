#include "tests/campaigns/hostile_client.h"

#include <algorithm>
#include <array>
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <random>
#include <stdexcept>
#include <utility>

#include "link/frames.h"
#include "proto/rows.h"
#include "tests/support/raw_peer.h"

namespace turnstile::campaign {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

constexpr std::array<std::string_view, 6> kColumns{"id",           "name", "unit_name",
                                                   "nutrient_nbr", "rank", "time"};

Bytes rows_frame(std::uint64_t first_id, std::uint32_t rows) {
  RowsEncoder encoder;
  for (std::uint32_t i = 0; i < rows; ++i) {
    const std::array<ValueRef, kColumns.size()> row{static_cast<std::int64_t>(first_id + i),
                                                    "Vitamin",
                                                    "MG",
                                                    std::int64_t{1},
                                                    std::int64_t{2},
                                                    "10:45"};
    encoder.add(row);
  }
  return encoder.take();
}

Batch batch_of(const std::string& id, Epoch epoch, std::uint64_t first, std::uint32_t rows,
               Bytes frame) {
  Batch batch;
  batch.header.producer = {id};
  batch.header.epoch = epoch;
  batch.header.first = {first};
  batch.header.rows = rows;
  batch.header.table = "nutrients";
  batch.header.columns.assign(kColumns.begin(), kColumns.end());
  batch.header_frame = encode_batch_header(batch.header);
  batch.rows_frame = std::move(frame);
  return batch;
}

Hello hello_of(Role role, const std::string& id, bool named = false) {
  Hello hello;
  hello.role = role;
  hello.producer = {id};
  hello.named = named;
  return hello;
}

std::string random_id(std::mt19937_64& random) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string id(32, '0');
  for (char& digit : id) {
    digit = kDigits[random() % kDigits.size()];
  }
  return id;
}

}  // namespace

// What the attacks share: the thread's side.
struct Attacker::State {
  // An honest producer of the same seed has another id.
  static constexpr std::uint64_t kAttackers = 0xA77AC;

  State(Attacker& owner, std::string broker, std::uint64_t seed, std::uint64_t most_messages)
      : attacker(owner),
        endpoint(std::move(broker)),
        random(seed ^ kAttackers),
        most(most_messages) {}

  Attacker& attacker;
  std::string endpoint;
  std::mt19937_64 random;
  std::uint64_t most;
  std::unique_ptr<ZmqDealer> link;
  std::mutex mutex;
  std::condition_variable changed;
  bool done = false;

  [[nodiscard]] bool goes_on() const { return !attacker.stop_ && attacker.sent_ < most; }
  void count(std::size_t size) {
    ++attacker.sent_;
    attacker.bytes_ += size;
  }

  // Greets as `hello` and waits for the answer; again where none comes, as to a connection that the
  // broker cut meanwhile.
  std::optional<Welcome> greet(const Hello& hello) {
    if (!link) {
      link = std::move(*ZmqDealer::connect(endpoint));
    }
    constexpr auto kPatience = 500ms;
    auto say_at = Clock::now();
    while (!attacker.stop_) {
      if (Clock::now() >= say_at && link->send(hello)) {
        say_at = Clock::now() + kPatience;
      }
      if (auto message = link->receive(20ms)) {
        if (const auto* welcome = std::get_if<Welcome>(&*message)) {
          return *welcome;
        }
        const auto* refusal = std::get_if<Refusal>(&*message);
        if (refusal != nullptr && refusal->code == RefusalCode::busy) {
          say_at = Clock::now();
        }
      }
    }
    return std::nullopt;
  }
  // Takes in what came, so that it is not its own queue that stops it.
  void send(const Message& message, std::size_t size) {
    while (!attacker.stop_ && !link->send(message)) {
      link->receive(5ms);
    }
    count(size);
    for (int i = 0; i < 16 && link->receive(0ms); ++i) {
    }
  }

  void wrong_counts() {
    while (goes_on()) {
      wrong_counts_under(random_id(random), random() % 2'000);
    }
  }

  void wrong_counts_under(const std::string& id, std::uint64_t batches) {
    const auto welcome = greet(hello_of(Role::producer, id));
    std::uint64_t first = 1;
    for (std::uint64_t i = 0; welcome && i < batches && goes_on(); ++i) {
      const auto rows = static_cast<std::uint32_t>(random() % 50 + 1);
      const auto frame = random() % 3 == 0
                             ? Bytes(std::string(random() % 200, '\xDD'))
                             : rows_frame(1, static_cast<std::uint32_t>(random() % 50));
      send(batch_of(id, welcome->epoch, first, rows, frame), frame.size());
      first += rows;
    }
  }

  void sequence_jumps() {
    const std::string id = random_id(random);
    const auto welcome = greet(hello_of(Role::producer, id));
    const Bytes frame = rows_frame(900'000'000, 2);
    while (welcome && goes_on()) {
      const std::array<std::uint64_t, 5> firsts{1, random() % 100 + 1, random() % 1'000'000 + 1,
                                                limits::kSequence / 2, limits::kSequence - 5};
      const Epoch epoch{random() % 4 == 0 ? random() % limits::kEpoch : welcome->epoch.value};
      send(batch_of(id, epoch, firsts.at(random() % firsts.size()), 2, frame), frame.size());
    }
  }

  void others_batches() {
    const auto welcome = greet(hello_of(Role::producer, random_id(random)));
    const Bytes frame = rows_frame(900'000'000, 2);
    while (welcome && goes_on()) {
      send(batch_of(random() % 2 == 0 ? "honest" : random_id(random), {random() % 3}, 1, 2, frame),
           frame.size());
    }
  }

  void false_consumer() {
    greet(hello_of(random() % 2 == 0 ? Role::tool : Role::producer, random_id(random)));
    while (goes_on()) {
      const std::uint64_t guess = random() % 200;
      Results results;
      results.lease = {guess % 3};
      for (std::uint64_t i = 0; i < 50; ++i) {
        results.results.push_back({{guess + i}, Outcome::applied, {limits::kSequence}, 0, {}});
      }
      Progress progress;
      progress.known = true;
      progress.through = {limits::kSequence};
      const std::array<Message, 5> lies{results, ProgressAnswer{guess, progress},
                                        TableAnswer{guess, TableState::missing_table, "no"},
                                        LeaseState{true, {guess}, 1ms}, Applied{{guess}, 0, {}}};
      send(lies.at(random() % lies.size()), 100);
    }
  }

  void many_names() {
    link = std::move(*ZmqDealer::connect(endpoint));
    while (goes_on()) {
      send(hello_of(Role::producer, random_id(random), true), 60);
    }
  }

  void many_ids() {
    while (goes_on()) {
      const std::string id = random_id(random);
      const auto welcome = greet(hello_of(Role::producer, id));
      if (welcome) {
        send(batch_of(id, welcome->epoch, 1, 1,
                      rows_frame(1'000'000'000 + random() % 1'000'000'000, 1)),
             60);
      }
    }
  }

  void many_connections() {
    zmq::context_t context;
    while (goes_on()) {
      zmq::socket_t socket(context, zmq::socket_type::dealer);
      socket.set(zmq::sockopt::linger, 0);
      socket.set(zmq::sockopt::rcvtimeo, 200);
      socket.set(zmq::sockopt::routing_id, random_id(random));
      socket.connect(endpoint);
      socket.send(packed(encode(hello_of(Role::producer, random_id(random)))),
                  zmq::send_flags::none);
      zmq::message_t answer;
      static_cast<void>(socket.recv(answer));
      count(60);
    }
  }

  // A socket that takes one message and then none; another when the broker has had enough of it.
  void never_reads(const std::function<zmq::message_t()>& next) {
    zmq::context_t context;
    while (goes_on()) {
      zmq::socket_t socket(context, zmq::socket_type::dealer);
      socket.set(zmq::sockopt::linger, 0);
      socket.set(zmq::sockopt::rcvhwm, 1);
      socket.set(zmq::sockopt::rcvbuf, 4096);
      socket.set(zmq::sockopt::sndtimeo, 100);
      socket.connect(endpoint);
      socket.send(packed(encode(hello_of(Role::tool, "deaf"))), zmq::send_flags::none);
      bool taken = true;
      while (goes_on() && taken) {
        zmq::message_t message = next();
        const std::size_t size = message.size();
        taken = socket.send(message, zmq::send_flags::none).has_value();
        if (taken) {
          count(size);
        }
      }
    }
  }

  void endless_message() {
    const std::string part(std::size_t{512} * 1024, 'e');
    while (goes_on()) {
      test::RawPeer peer(endpoint);
      while (goes_on() && peer.send_frame(part, true)) {
        count(part.size());
      }
    }
  }

  void huge_frames() {
    std::string body(static_cast<std::size_t>(largest_message_bytes()) - 100, 'h');
    while (goes_on()) {
      test::RawPeer peer(endpoint);
      const auto kind = random() % 3;
      if (kind == 0) {  // 2^62 bytes are announced, and some come
        peer.send(std::string("\x02\x40\0\0\0\0\0\0\0", 9));
        peer.send(std::string(100'000, 'x'));
      } else if (kind == 1) {
        peer.send_frame(body + body, false);
      } else {
        peer.send_frame(body, false);
      }
      count(body.size());
    }
  }

  zmq::message_t garbage_message() {
    std::string bytes(random() % 300, '\0');
    for (char& byte : bytes) {
      byte = static_cast<char>(random());
    }
    if (random() % 2 == 0) {
      return packed({Bytes(bytes), Bytes(bytes)});
    }
    return zmq::message_t(bytes.data(), bytes.size());
  }

  void garbage() {
    zmq::context_t context;
    zmq::socket_t socket(context, zmq::socket_type::dealer);
    socket.set(zmq::sockopt::linger, 0);
    socket.set(zmq::sockopt::sndtimeo, 100);
    socket.connect(endpoint);
    while (goes_on()) {
      zmq::message_t message = garbage_message();
      const std::size_t size = message.size();
      if (socket.send(message, zmq::send_flags::none)) {
        count(size);
      }
      zmq::message_t answer;
      while (socket.recv(answer, zmq::recv_flags::dontwait)) {
      }
    }
  }

  void half_frames() {
    constexpr std::size_t kAtOnce = 100;
    const std::string body(static_cast<std::size_t>(largest_message_bytes()) - 1, 'h');
    std::string head("\x02\0\0\0\0\0\0\0\0", 9);
    for (std::size_t i = 0; i < 8; ++i) {
      head[8 - i] = static_cast<char>((body.size() + 1) >> (8 * i));
    }
    std::deque<test::RawPeer> peers;
    while (goes_on()) {
      test::RawPeer& peer = peers.emplace_back(endpoint);
      peer.send(head);
      peer.send(body);
      count(body.size());
      if (peers.size() > kAtOnce) {
        peers.pop_front();
      }
    }
  }

  void pings() {
    std::string many;
    for (int i = 0; i < 7'000; ++i) {
      many += std::string("\4\7\4PING\0\0", 9);
    }
    while (goes_on()) {
      test::RawPeer peer(endpoint);
      while (goes_on() && peer.send(many)) {
        count(many.size());
      }
    }
  }

  void run(Attack attack) {
    switch (attack) {
      case Attack::wrong_counts:
        return wrong_counts();
      case Attack::sequence_jumps:
        return sequence_jumps();
      case Attack::others_batches:
        return others_batches();
      case Attack::false_consumer:
        return false_consumer();
      case Attack::many_names:
        return many_names();
      case Attack::many_ids:
        return many_ids();
      case Attack::many_connections:
        return many_connections();
      case Attack::never_reads:
        return never_reads([this] {
          return packed(random() % 4 == 0 ? encode(Heartbeat{}) : encode(AskStatus{random()}));
        });
      case Attack::never_reads_answers:
        return never_reads([this] { return garbage_message(); });
      case Attack::endless_message:
        return endless_message();
      case Attack::huge_frames:
        return huge_frames();
      case Attack::garbage:
        return garbage();
      case Attack::half_frames:
        return half_frames();
      case Attack::pings:
        return pings();
    }
  }
};

const char* name_of(Attack attack) {
  constexpr std::array<const char*, kAttacks> kNames{"wrong_counts",
                                                     "sequence_jumps",
                                                     "others_batches",
                                                     "false_consumer",
                                                     "many_names",
                                                     "many_ids",
                                                     "many_connections",
                                                     "never_reads",
                                                     "never_reads_answers",
                                                     "endless_message",
                                                     "huge_frames",
                                                     "garbage",
                                                     "pings",
                                                     "half_frames"};
  return kNames.at(static_cast<std::size_t>(attack));
}

Attacker::Attacker(Attack attack, std::string endpoint, std::uint64_t seed, std::uint64_t most)
    : state_(std::make_shared<State>(*this, std::move(endpoint), seed, most)),
      thread_([state = state_, attack] {
        state->run(attack);
        const std::lock_guard lock(state->mutex);
        state->done = true;
        state->changed.notify_all();
      }) {}

Attacker::~Attacker() {
  stop_ = true;
  thread_.join();
}

bool Attacker::wait(std::chrono::milliseconds patience) {
  std::unique_lock lock(state_->mutex);
  return state_->changed.wait_for(lock, patience, [this] { return state_->done; });
}

HonestProducer::HonestProducer(const std::string& endpoint, std::uint64_t seed)
    : link_(std::move(*ZmqDealer::connect(endpoint))), first_id_((seed % 1000 + 1) * 1'000'000) {
  std::mt19937_64 random(seed);
  id_ = random_id(random);
}

bool HonestProducer::greet(Clock::time_point until) {
  Hello hello = hello_of(Role::producer, id_);
  hello.epoch = epoch_;
  hello.known = {last_};
  bool said = false;
  while (Clock::now() < until) {
    said = said || link_->send(hello);
    const auto message = link_->receive(20ms);
    if (message && std::holds_alternative<Welcome>(*message)) {
      epoch_ = std::get<Welcome>(*message).epoch;
      return true;
    }
    if (message && std::holds_alternative<Refusal>(*message)) {
      said = std::get<Refusal>(*message).code == RefusalCode::hello_first && said;
    }
  }
  return false;
}

std::optional<std::chrono::microseconds> HonestProducer::send(std::uint32_t rows,
                                                              std::chrono::milliseconds patience) {
  const auto begun = Clock::now();
  const auto until = begun + patience;
  const Bytes frame = rows_frame(first_id_ + last_, rows);
  bool sent = false;
  while (Clock::now() < until) {
    if (!welcomed_) {
      welcomed_ = greet(until);
      sent = false;
      continue;
    }
    sent = sent || link_->send(batch_of(id_, epoch_, last_ + 1, rows, frame));
    const auto message = link_->receive(sent ? 200ms : 1ms);
    if (!message) {
      continue;
    }
    if (const auto* applied = std::get_if<Applied>(&*message)) {
      if (applied->through.value >= last_ + rows) {
        last_ += rows;
        return std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - begun);
      }
    } else if (const auto* refusal = std::get_if<Refusal>(&*message)) {
      welcomed_ = welcomed_ && refusal->code != RefusalCode::hello_first;
      sent = sent && refusal->code != RefusalCode::busy;
    }
  }
  return std::nullopt;
}

}  // namespace turnstile::campaign
