#include "broker/broker.h"

#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <new>
#include <utility>

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "base/counted.h"
#include "base/process_limits.h"
#include "link/endpoint.h"
#include "link/frames.h"

namespace turnstile::broker {
namespace {

using namespace std::chrono_literals;

// Bounds of one turn of the loop: what it reads before answers and syncs.
constexpr std::size_t kTurnMessages = 1000;
constexpr std::size_t kTurnBytes = std::size_t{8} * 1024 * 1024;
// Messages that make no progress: a client that sends many of them waits, and others' rows do not.
constexpr std::uint64_t kTurnTalk = 16;
constexpr auto kRejectedLogInterval = 10s;
constexpr auto kLingerAtEnd = 200ms;

// One bound for the memory of all connections, since each may have a partial message of the
// largest size: twice the window's memory, since as much may be arriving, twice each connection's
// least credit, and the program with its journal's cache. Above it the broker closes connections,
// first those that said nothing while the memory grew.
constexpr auto kGuardInterval = 100ms;
constexpr auto kLookAtPath = 1s;
constexpr auto kSilence = 250ms;
constexpr std::size_t kProgramBytes = std::size_t{96} * 1024 * 1024;
constexpr std::size_t kConnectionBytes = std::size_t{512} * 1024;
constexpr std::size_t kConnectionsCounted = 1000;

constexpr std::size_t kMiB = std::size_t{1024} * 1024;

// How much a message counts as talk that makes no progress. A name costs a sync and a question to
// the target.
std::uint64_t weight(const Message& message) {
  constexpr std::uint64_t kName = 4;
  if (std::holds_alternative<Batch>(message) || std::holds_alternative<Results>(message) ||
      std::holds_alternative<ProgressAnswer>(message) ||
      std::holds_alternative<TableAnswer>(message)) {
    return 0;
  }
  const auto* hello = std::get_if<Hello>(&message);
  return hello != nullptr && hello->named ? kName : 1;
}

// True for a question to the target, and a producer's HELLO that needs one.
bool asks_target(const Message& message) {
  if (const auto* hello = std::get_if<Hello>(&message)) {
    return hello->role == Role::producer && (hello->named || hello->epoch.value > 0);
  }
  return std::holds_alternative<CheckTable>(message) || std::holds_alternative<AskDead>(message);
}

// A message that takes too much memory costs its own connection, no other.
Result<Message> decoded(ZmtpConnection::Incoming&& incoming) {
  if (incoming.has_parts) {
    return fail(Errc::corrupt, "message has more than one part");
  }
  try {
    return unpacked(std::move(incoming.body)).and_then(decode);
  } catch (const std::bad_alloc&) {
    return fail(Errc::full, "no memory for a message");
  }
}

template <std::size_t kSize>
std::array<unsigned char, kSize> random_bytes() {
  std::array<unsigned char, kSize> bytes{};
  if (::getrandom(bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size())) {
    throw std::runtime_error("cannot get random bytes");
  }
  return bytes;
}

// Leaves as many numbers after it as any start can use.
Lease random_lease() {
  constexpr unsigned kFree = 24;
  constexpr std::size_t kBytes = 4;
  std::uint64_t number = 0;
  for (const unsigned char byte : random_bytes<kBytes>()) {
    number = number << 8U | byte;
  }
  return Lease{number << kFree};
}

std::string random_id() {
  const auto bytes = random_bytes<16>();
  std::string text;
  for (const unsigned char byte : bytes) {
    text += fmt::format("{:02x}", byte);
  }
  return text;
}

std::uint64_t wall_clock_ms() {
  const auto since_epoch = std::chrono::system_clock::now().time_since_epoch();
  return static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::milliseconds>(since_epoch).count());
}

// Promise 10: the socket's directory is the user's own. Makes a missing directory so.
Result<void> prepare_directory(const std::filesystem::path& directory) {
  std::error_code code;
  if (!std::filesystem::exists(directory, code)) {
    if (directory.has_parent_path() && !std::filesystem::exists(directory.parent_path(), code)) {
      return fail(Errc::unreachable, "there is no directory " + directory.parent_path().string(),
                  "Make it, or give --broker another path.");
    }
    if (::mkdir(directory.c_str(), 0700) != 0 && errno != EEXIST) {
      return fail(Errc::unreachable,
                  "cannot make the directory " + directory.string() + ": " + std::strerror(errno),
                  "Give --broker a path in a directory of your own.");
    }
  }
  return {};
}

}  // namespace

Result<std::unique_ptr<Broker>> Broker::start(BrokerOptions options) {
  options.core.broker_id = random_id();
  options.core.leases_after = random_lease();
  options.core.endpoint = options.endpoint;
  options.core.wall_clock_ms = wall_clock_ms;
  if (auto enough = allow_all_descriptors(); !enough) {
    return tl::make_unexpected(enough.error());
  }
  options.core.own_user = ::geteuid();
  auto broker = std::unique_ptr<Broker>(new Broker(std::move(options)));
  auto journal = Journal::open(broker->options_.journal);
  if (!journal) {
    return tl::make_unexpected(journal.error());
  }
  broker->journal_ = std::make_unique<Journal>(std::move(*journal));
  broker->core_ = std::make_unique<Core>(broker->options_.core, *broker->journal_,
                                         std::chrono::steady_clock::now());
  if (auto started = broker->core_->start(); !started) {
    return tl::make_unexpected(started.error());
  }
  if (auto listening = broker->listen(); !listening) {
    return tl::make_unexpected(listening.error());
  }
  return broker;
}

Result<void> Broker::listen() {
  const std::string& endpoint = options_.endpoint;
  const bool ipc = endpoint.starts_with(kIpc);
  if (ipc) {
    const std::filesystem::path path(endpoint.substr(kIpc.size()));
    if (auto ready = prepare_directory(path.has_parent_path() ? path.parent_path() : "."); !ready) {
      return ready;
    }
    if (auto safe = check_directory_for_listening(path.string()); !safe) {
      return safe;
    }
    // Binding would silently take the path over from another broker.
    auto lock = FileLock::take(path.string() + ".lock", "the socket " + path.string());
    if (!lock) {
      return tl::make_unexpected(lock.error());
    }
    socket_lock_.push_back(std::move(*lock));
  }
  static_cast<void>(resident_bytes());  // opens the files that it reads
  auto listener = Listener::make(2 * options_.core.window.memory_bytes);
  if (!listener) {
    return tl::make_unexpected(listener.error());
  }
  listener_ = std::move(*listener);
  auto listening = listener_->listen(endpoint);
  options_.endpoint = listener_->endpoint();
  return listening;
}

Result<void> Broker::run(int stop_fd, std::optional<Inside> inside) {
  inside_ = std::move(inside);
  if (inside_) {
    if (auto watched = listener_->watch_extra_fd(inside_->link->fd()); !watched) {
      return watched;
    }
  }
  while (true) {
    const auto before = std::chrono::steady_clock::now();
    const auto until = std::min(core_->deadline(before), next_guard_);
    // Rounded up, so that the deadline has passed when the wait ends.
    const auto stops =
        listener_->wait(stop_fd, std::chrono::ceil<std::chrono::milliseconds>(std::max(
                                     until - before, std::chrono::steady_clock::duration::zero())));
    if (!stops) {
      return tl::make_unexpected(stops.error());
    }
    const auto now = std::chrono::steady_clock::now();
    receive_messages(now);  // also at the stop: settles a consumer's last results
    if (*stops) {
      break;
    }
    core_->advance(now);
    send_outbox();  // before a sync: cut-through waits for no disk
    wake_inside();
    core_->store(std::chrono::steady_clock::now());
    send_outbox();
    wake_inside();
    if (inside_ && inside_->must_end()) {
      inside_->link->wake();
    }
    guard(now);
  }
  core_->finish(std::chrono::steady_clock::now());
  send_outbox();
  inside_.reset();
  listener_->linger(kLingerAtEnd);
  return {};
}

void Broker::receive_messages(TimePoint now) {
  receive_from_inside(now);
  std::size_t bytes = 0;
  std::size_t messages = 0;
  std::uint64_t talk = 0;
  const std::uint64_t wasted = core_->wasted_messages();
  while (messages < kTurnMessages && bytes < kTurnBytes &&
         talk + core_->wasted_messages() - wasted < kTurnTalk) {
    auto received = listener_->receive();
    if (!received) {
      break;
    }
    auto& [connection, incoming] = *received;
    ++messages;
    bytes += incoming.body.size();
    if (incoming.is_too_large) {
      refuse_too_large(connection, now);
      continue;
    }
    if (!incoming.has_parts && incoming.body.empty()) {
      ++talk;
      core_->receive(connection, Heartbeat{}, now);  // the probe of a new connection
      continue;
    }
    auto message = decoded(std::move(incoming));
    talk += message ? weight(*message) : 0;
    take_in(connection, std::move(message), now);
  }
}

// A new id for each reconnect. The listener's ids never have this bit.
ConnectionId Broker::inside_connection() const {
  constexpr std::uint64_t kInside = std::uint64_t{1} << 63U;
  return {kInside | inside_reconnects_};
}

void Broker::receive_from_inside(TimePoint now) {
  if (!inside_) {
    return;
  }
  auto taken = inside_->link->take();
  if (taken.connection != inside_reconnects_) {
    core_->unreachable(inside_connection());
    inside_reconnects_ = taken.connection;
    core_->receive(inside_connection(), Heartbeat{}, now);  // the probe of a new connection
  }
  for (Message& message : taken.messages) {
    core_->receive(inside_connection(), std::move(message), now);
  }
}

bool Broker::give_inside(Outgoing&& outgoing) {
  has_given_inside_ = true;
  return inside_->link->give(inside_reconnects_, std::move(outgoing.message));
}

void Broker::wake_inside() {
  if (std::exchange(has_given_inside_, false)) {
    inside_->link->wake();
  }
}

void Broker::take_in(ConnectionId connection, Result<Message>&& message, TimePoint now) {
  Allowance* const allowance = listener_->allowance(connection);
  if (allowance == nullptr) {
    return;  // disconnected meanwhile
  }
  const std::uint64_t errors = core_->client_errors();
  const auto asking =
      message && asks_target(*message) ? allowance->may_ask(now) : Allowance::Asking::now;
  if (asking != Allowance::Asking::now) {
    core_->put_off(connection, *message, now);
  } else if (message && std::holds_alternative<Hello>(*message)) {
    listener_->note_hello(connection);
    core_->receive(connection, std::move(*message), now, listener_->user(connection));
  } else if (message) {
    core_->receive(connection, std::move(*message), now);
  } else {
    log_rejected(message.error(), now);
    if (message.error().code == Errc::full) {
      core_->unreachable(connection);  // the client reconnects and sends again
      listener_->disconnect(connection);
      return;
    }
    core_->reject(connection, message.error(), now);
  }
  const bool errs = core_->client_errors() > errors && !allowance->may_err();
  if (errs || asking == Allowance::Asking::too_often) {
    core_->unreachable(connection);
    listener_->disconnect(connection);
  }
}

// Without an answer the client would send the message again for ever.
void Broker::refuse_too_large(ConnectionId connection, TimePoint now) {
  const Error why{Errc::corrupt,
                  "a message is above the limit of " + std::to_string(largest_message_bytes()) +
                      " bytes; this connection is closed",
                  ""};
  log_rejected(why, now);
  core_->reject(connection, why, now);
  send_outbox();
  core_->unreachable(connection);
  listener_->disconnect_soon(connection, now);
}

// Limited, so that a hostile client cannot fill the log.
void Broker::log_rejected(const Error& why, TimePoint now) {
  ++rejected_since_log_;
  if (now >= next_rejected_log_) {
    spdlog::warn("{} refused, the last because: {}", counted(rejected_since_log_, "message"),
                 why.what);
    rejected_since_log_ = 0;
    next_rejected_log_ = now + kRejectedLogInterval;
  }
}

void Broker::send_outbox() {
  for (Outgoing& outgoing : core_->take_outbox()) {
    const ConnectionId to = outgoing.connection;
    // Credit bounds what a consumer has not read.
    const bool is_sent =
        inside_ && to == inside_connection()
            ? give_inside(std::move(outgoing))
            : listener_->send(to, encode(outgoing.message), core_->consumer() != to);
    if (!is_sent) {
      core_->unreachable(to);
    }
  }
  listener_->flush();
}

void Broker::guard(TimePoint now) {
  if (now < next_guard_) {
    return;
  }
  next_guard_ = now + kGuardInterval;
  guard_memory(now);
  guard_path(now);
  listener_->tick(now);
  if (now >= next_descriptor_log_ && listener_->lacks_descriptors()) {
    spdlog::error(
        "no file descriptor is free for another connection: raise the limit (ulimit -n, "
        "LimitNOFILE=) and restart, or close connections");
    next_descriptor_log_ = now + kRejectedLogInterval;
  }
}

// A cleaner of temporary files may delete the socket, its lock and its directory.
void Broker::guard_path(TimePoint now) {
  if (now < next_look_at_path_) {
    return;
  }
  next_look_at_path_ = now + kLookAtPath;
  const auto path = listener_->path();
  std::string problem;
  if (path == ListenSocket::Path::taken) {
    problem = "another file is at the path of " + options_.endpoint +
              ": no new client finds this broker; remove that file, or start this broker elsewhere";
  } else if (path == ListenSocket::Path::gone) {
    auto listening = listen_again();
    if (listening) {
      spdlog::warn("the socket of {} was removed; this broker listens there again",
                   options_.endpoint);
    } else {
      problem = "the socket of " + options_.endpoint + " was removed: " + listening.error().what;
    }
  }
  if (!problem.empty() && problem != path_problem_) {
    spdlog::error("{}", problem);
  }
  path_problem_ = std::move(problem);
}

Result<void> Broker::listen_again() {
  const std::filesystem::path path(options_.endpoint.substr(kIpc.size()));
  return prepare_directory(path.has_parent_path() ? path.parent_path() : ".")
      .and_then([&] { return socket_lock_.front().keep(); })
      .and_then([&] { return listener_->listen_again(); });
}

void Broker::guard_memory(TimePoint now) {
  const std::size_t limit =
      2 * options_.core.window.memory_bytes + kProgramBytes + core_->sessions() * kConnectionBytes;
  if (resident_bytes() <= limit || heap_bytes() <= limit) {
    if (checks_above_limit_ > 0) {
      release_free_memory();
    }
    checks_above_limit_ = 0;
    return;
  }
  // A connection in the middle of an endless message sends no other message.
  const auto is_silent = [&](std::optional<ConnectionId> id) {
    const auto heard = id ? core_->heard(*id) : std::nullopt;
    return !heard || now - *heard > kSilence;
  };
  const int check = ++checks_above_limit_;
  const std::size_t closed = listener_->disconnect_where([&](std::optional<ConnectionId> id) {
    const bool consumer = id && core_->consumer() == id;
    return check > 2 || (is_silent(id) && (check > 1 || !consumer));
  });
  if (now >= next_guard_log_) {
    spdlog::warn("{} MiB of memory are in use, above the bound of {} MiB: {} closed",
                 heap_bytes() / kMiB, limit / kMiB, counted(closed, "connection"));
    next_guard_log_ = now + kRejectedLogInterval;
  }
}

}  // namespace turnstile::broker
