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

// Bounds of one turn of the loop: what is drained before answers and syncs get their turn.
constexpr std::size_t kTurnMessages = 1000;
constexpr std::size_t kTurnBytes = std::size_t{8} * 1024 * 1024;
// ... of messages that bring no row further: whoever sends many waits, and others' rows do not.
constexpr std::uint64_t kTurnTalk = 16;
constexpr auto kRejectedLogInterval = 10s;
constexpr auto kLingerAtEnd = 200ms;

// What is held for connections, each of which may have begun a message of the greatest size, is
// looked after as a whole: twice the window's memory, since as much may be on its way in, each
// connection's least credit twice over, and the program with its journal's cache. Beyond it
// connections are closed: those first that said nothing while it grew.
constexpr auto kGuardInterval = 100ms;
constexpr auto kLookAtPath = 1s;
constexpr auto kSilence = 250ms;
constexpr std::size_t kProgramBytes = std::size_t{96} * 1024 * 1024;
constexpr std::size_t kConnectionBytes = std::size_t{512} * 1024;
constexpr std::size_t kConnectionsCounted = 1000;

constexpr std::size_t kMiB = std::size_t{1024} * 1024;

// As what a message counts that brings no row further. A name costs a sync and asks the target.
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

// A producer's hello to which only the target knows the answer, or a question to it.
bool asks_target(const Message& message) {
  if (const auto* hello = std::get_if<Hello>(&message)) {
    return hello->role == Role::producer && (hello->named || hello->epoch.value > 0);
  }
  return std::holds_alternative<CheckTable>(message) || std::holds_alternative<AskDead>(message);
}

// Whatever a message takes to be understood, its connection is the one to pay for it.
Result<Message> decoded(ZmtpConnection::Incoming&& incoming) {
  if (incoming.has_parts) {
    return fail(Errc::corrupt, "message has more than one part");
  }
  try {
    return unpacked(std::move(incoming.body)).and_then(decode);
  } catch (const std::bad_alloc&) {
    return fail(Errc::full, "there is no memory for a message");
  }
}

template <std::size_t kSize>
std::array<unsigned char, kSize> random_bytes() {
  std::array<unsigned char, kSize> bytes{};
  if (::getrandom(bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size())) {
    throw std::runtime_error("the system gives no random bytes");
  }
  return bytes;
}

// Leaves as many numbers behind it as any start can use.
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

// Promise 10: the socket's directory is the user's own. One that is missing is made so.
Result<void> prepare_directory(const std::filesystem::path& directory) {
  std::error_code code;
  if (!std::filesystem::exists(directory, code)) {
    if (directory.has_parent_path() && !std::filesystem::exists(directory.parent_path(), code)) {
      return fail(Errc::unreachable, "there is no folder " + directory.parent_path().string(),
                  "Make it, or give --broker another path.");
    }
    if (::mkdir(directory.c_str(), 0700) != 0 && errno != EEXIST) {
      return fail(Errc::unreachable,
                  "cannot make the folder " + directory.string() + ": " + std::strerror(errno),
                  "Give --broker a path in a folder of your own.");
    }
  }
  return {};
}

}  // namespace

Result<std::unique_ptr<Broker>> Broker::start(BrokerOptions options) {
  options.core.broker_id = random_id();
  options.core.leases_behind = random_lease();
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
    if (auto safe = check_folder_for_listening(path.string()); !safe) {
      return safe;
    }
    // A socket's path is taken over from whoever listens there, without a word.
    auto lock = FileLock::take(path.string() + ".lock", "the socket " + path.string());
    if (!lock) {
      return tl::make_unexpected(lock.error());
    }
    socket_lock_.push_back(std::move(*lock));
  }
  static_cast<void>(resident_bytes());  // opens what it reads
  auto connections = Listener::make(2 * options_.core.window.memory_bytes);
  if (!connections) {
    return tl::make_unexpected(connections.error());
  }
  connections_ = std::move(*connections);
  auto listening = connections_->listen(endpoint);
  options_.endpoint = connections_->endpoint();
  return listening;
}

Result<void> Broker::run(int stop_fd, std::optional<Inside> inside) {
  inside_ = std::move(inside);
  if (inside_) {
    if (auto watched = connections_->watch_also(inside_->link->fd()); !watched) {
      return watched;
    }
  }
  while (true) {
    const auto before = std::chrono::steady_clock::now();
    const auto until = std::min(core_->deadline(before), next_guard_);
    // Rounded up, so that a deadline has passed when the wait ends.
    const auto stops = connections_->wait(
        stop_fd, std::chrono::ceil<std::chrono::milliseconds>(
                     std::max(until - before, std::chrono::steady_clock::duration::zero())));
    if (!stops) {
      return tl::make_unexpected(stops.error());
    }
    const auto now = std::chrono::steady_clock::now();
    receive_what_is_there(now);  // at the stop too: what a consumer did last is settled
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
  connections_->linger(kLingerAtEnd);
  return {};
}

void Broker::receive_what_is_there(TimePoint now) {
  receive_from_inside(now);
  std::size_t bytes = 0;
  std::size_t messages = 0;
  std::uint64_t talk = 0;
  const std::uint64_t fruitless = core_->fruitless();
  while (messages < kTurnMessages && bytes < kTurnBytes &&
         talk + core_->fruitless() - fruitless < kTurnTalk) {
    auto received = connections_->receive();
    if (!received) {
      break;
    }
    auto& [route, incoming] = *received;
    ++messages;
    bytes += incoming.body.size();
    if (incoming.is_too_large) {
      refuse_too_large(route, now);
      continue;
    }
    if (!incoming.has_parts && incoming.body.empty()) {
      ++talk;
      core_->receive(route, Heartbeat{}, now);  // the probe of a new connection
      continue;
    }
    auto message = decoded(std::move(incoming));
    talk += message ? weight(*message) : 0;
    take_in(route, std::move(message), now);
  }
}

// Each connection has its own route, as those over sockets do.
Route Broker::inside_route() const {
  return "this process " + std::to_string(inside_connection_);
}

void Broker::receive_from_inside(TimePoint now) {
  if (!inside_) {
    return;
  }
  auto taken = inside_->link->take();
  if (taken.connection != inside_connection_) {
    core_->unreachable(inside_route());
    inside_connection_ = taken.connection;
    core_->receive(inside_route(), Heartbeat{}, now);  // the probe of a new connection
  }
  for (Message& message : taken.messages) {
    core_->receive(inside_route(), std::move(message), now);
  }
}

bool Broker::give_inside(Outgoing&& outgoing) {
  has_given_inside_ = true;
  return inside_->link->give(inside_connection_, std::move(outgoing.message));
}

void Broker::wake_inside() {
  if (std::exchange(has_given_inside_, false)) {
    inside_->link->wake();
  }
}

void Broker::take_in(const Route& route, Result<Message>&& message, TimePoint now) {
  Allowance* const allowance = connections_->allowance(route);
  if (allowance == nullptr) {
    return;  // cut meanwhile
  }
  const std::uint64_t errors = core_->client_errors();
  const auto asking =
      message && asks_target(*message) ? allowance->may_ask(now) : Allowance::Asking::now;
  if (asking != Allowance::Asking::now) {
    core_->put_off(route, *message, now);
  } else if (message && std::holds_alternative<Hello>(*message)) {
    connections_->greeted(route);
    core_->receive(route, std::move(*message), now, connections_->user(route));
  } else if (message) {
    core_->receive(route, std::move(*message), now);
  } else {
    log_rejected(message.error(), now);
    if (message.error().code == Errc::full) {
      core_->unreachable(route);  // it connects and sends again
      connections_->cut(route);
      return;
    }
    core_->reject(route, message.error(), now);
  }
  const bool errs = core_->client_errors() > errors && !allowance->may_err();
  if (errs || asking == Allowance::Asking::too_often) {
    core_->unreachable(route);
    connections_->cut(route);
  }
}

// Without an answer its client would send it again for ever.
void Broker::refuse_too_large(const Route& route, TimePoint now) {
  const Error why{Errc::corrupt,
                  "a message is above the limit of " + std::to_string(largest_message_bytes()) +
                      " bytes; this connection is closed",
                  ""};
  log_rejected(why, now);
  core_->reject(route, why, now);
  send_outbox();
  core_->unreachable(route);
  connections_->cut_soon(route, now);
}

// At a bounded rate: a hostile client must not fill the log.
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
  const Route inside = inside_ ? inside_route() : Route();
  for (Outgoing& outgoing : core_->take_outbox()) {
    const Route route = outgoing.route;
    // What a consumer may have unread is bounded by its credit.
    const bool is_sent =
        inside_ && route == inside
            ? give_inside(std::move(outgoing))
            : connections_->send(route, encode(outgoing.message), core_->consumer() != route);
    if (!is_sent) {
      core_->unreachable(route);
    }
  }
  connections_->flush();
}

void Broker::guard(TimePoint now) {
  if (now < next_guard_) {
    return;
  }
  next_guard_ = now + kGuardInterval;
  guard_memory(now);
  guard_path(now);
  connections_->tick(now);
  if (now >= next_descriptor_log_ && connections_->lacks_descriptors()) {
    spdlog::error(
        "no file descriptor is left for one more connection: raise the limit (ulimit -n, "
        "LimitNOFILE=) and start anew, or close connections");
    next_descriptor_log_ = now + kRejectedLogInterval;
  }
}

// A cleaner of temporary files may take the socket, its lock and its folder.
void Broker::guard_path(TimePoint now) {
  if (now < next_look_at_path_) {
    return;
  }
  next_look_at_path_ = now + kLookAtPath;
  const auto path = connections_->path();
  std::string problem;
  if (path == Listener::Path::taken) {
    problem = "another file is at the path of " + options_.endpoint +
              ": no new client finds this broker; remove that file, or start this broker elsewhere";
  } else if (path == Listener::Path::gone) {
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
      .and_then([&] { return connections_->listen_again(); });
}

void Broker::guard_memory(TimePoint now) {
  const std::size_t limit =
      2 * options_.core.window.memory_bytes + kProgramBytes + core_->sessions() * kConnectionBytes;
  if (resident_bytes() <= limit || heap_bytes() <= limit) {
    if (looks_above_limit_ > 0) {
      release_free_memory();
    }
    looks_above_limit_ = 0;
    return;
  }
  // A connection in the middle of a message without end has said nothing else meanwhile.
  const auto is_silent = [&](const Route* route) {
    const auto heard = route == nullptr ? std::nullopt : core_->heard(*route);
    return !heard || now - *heard > kSilence;
  };
  const int look = ++looks_above_limit_;
  const std::size_t closed = connections_->cut_where([&](const Route* route) {
    const bool consumer = route != nullptr && core_->consumer() == *route;
    return look > 2 || (is_silent(route) && (look > 1 || !consumer));
  });
  if (now >= next_guard_log_) {
    spdlog::warn("{} MiB of memory are in use, above the bound of {} MiB: {} closed",
                 heap_bytes() / kMiB, limit / kMiB, counted(closed, "connection"));
    next_guard_log_ = now + kRejectedLogInterval;
  }
}

}  // namespace turnstile::broker
