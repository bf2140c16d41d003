#include "broker/broker.h"

#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "link/frames.h"

namespace turnstile::broker {
namespace {

using namespace std::chrono_literals;

// Bounds of one turn of the loop: what is drained before answers and syncs get their turn.
constexpr std::size_t kTurnMessages = 1000;
constexpr std::size_t kTurnBytes = std::size_t{8} * 1024 * 1024;
// Of each connection, in ZeroMQ's own queues.
constexpr int kReceiveQueue = 64;
constexpr int kSendQueue = 8192;
constexpr auto kRejectedLogInterval = 10s;

std::string random_id() {
  std::array<unsigned char, 16> bytes{};
  if (::getrandom(bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size())) {
    throw std::runtime_error("the system gives no random bytes");
  }
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

// Promise 10: the socket's directory is the user's own. One that is missing is made so; one that
// others may write in is refused, since they could put a socket of theirs in its place.
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
  struct stat info {};
  if (::stat(directory.c_str(), &info) != 0 || !S_ISDIR(info.st_mode)) {
    return fail(Errc::unreachable, directory.string() + " is not a folder",
                "Give --broker another path.");
  }
  const bool others_write =
      (info.st_mode & (S_IWGRP | S_IWOTH)) != 0 && (info.st_mode & S_ISVTX) == 0;
  if (others_write) {
    return fail(Errc::unreachable, "others may write in the socket's folder " + directory.string(),
                "chmod 700 " + directory.string() + ", or give --broker a folder of your own.");
  }
  return {};
}

}  // namespace

Result<std::unique_ptr<Broker>> Broker::start(BrokerOptions options) {
  options.core.broker_id = random_id();
  options.core.endpoint = options.endpoint;
  options.core.wall_clock_ms = wall_clock_ms;
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
  constexpr std::string_view kIpc = "ipc://";
  const bool ipc = endpoint.starts_with(kIpc);
  if (ipc) {
    const std::filesystem::path path(endpoint.substr(kIpc.size()));
    if (auto ready = prepare_directory(path.has_parent_path() ? path.parent_path() : "."); !ready) {
      return ready;
    }
    // ZeroMQ takes a socket's path over from whoever listens there, without a word.
    auto lock = FileLock::take(path.string() + ".lock", "the socket " + path.string());
    if (!lock) {
      return tl::make_unexpected(lock.error());
    }
    socket_lock_.push_back(std::move(*lock));
  }
  if (!options_.context) {
    options_.context = std::make_shared<zmq::context_t>(1);
  }
  router_ = zmq::socket_t(*options_.context, zmq::socket_type::router);
  router_.set(zmq::sockopt::router_mandatory, true);  // a lost answer is known, not dropped
  router_.set(zmq::sockopt::linger, 200);
  router_.set(zmq::sockopt::rcvhwm, kReceiveQueue);
  router_.set(zmq::sockopt::sndhwm, kSendQueue);
  router_.set(zmq::sockopt::maxmsgsize, largest_message_bytes());
  if (endpoint.starts_with("tcp://")) {
    router_.set(zmq::sockopt::heartbeat_ivl, 2000);
    router_.set(zmq::sockopt::heartbeat_timeout, 10000);
  }
  const mode_t mask = ::umask(0077);
  try {
    router_.bind(endpoint);
  } catch (const zmq::error_t& e) {
    ::umask(mask);
    return fail(Errc::unreachable, "cannot listen on " + endpoint + ": " + e.what(),
                "Is another program listening there? Give --broker another endpoint.");
  }
  ::umask(mask);
  options_.endpoint = router_.get(zmq::sockopt::last_endpoint);
  return {};
}

Result<void> Broker::run(int stop_fd) {
  std::array<zmq::pollitem_t, 2> items{zmq::pollitem_t{router_, 0, ZMQ_POLLIN, 0},
                                       zmq::pollitem_t{nullptr, stop_fd, ZMQ_POLLIN, 0}};
  while (true) {
    const auto before = std::chrono::steady_clock::now();
    const auto until = core_->deadline(before);
    // Rounded up, so that a deadline has passed when the wait ends.
    const auto wait = std::chrono::ceil<std::chrono::milliseconds>(
        std::max(until - before, std::chrono::steady_clock::duration::zero()));
    try {
      zmq::poll(items, wait);
    } catch (const zmq::error_t& e) {
      if (e.num() != EINTR) {
        return fail(Errc::io, std::string("waiting for messages failed: ") + e.what());
      }
    }
    if ((items[1].revents & ZMQ_POLLIN) != 0) {
      break;
    }
    const auto now = std::chrono::steady_clock::now();
    receive_what_is_there(now);
    core_->advance(now);
    send_outbox();  // before a sync: cut-through waits for no disk
    core_->store(std::chrono::steady_clock::now());
    send_outbox();
  }
  core_->finish(std::chrono::steady_clock::now());
  send_outbox();
  return {};
}

std::size_t Broker::receive_what_is_there(TimePoint now) {
  std::size_t bytes = 0;
  std::size_t messages = 0;
  while (messages < kTurnMessages && bytes < kTurnBytes) {
    zmq::message_t part;
    if (!router_.recv(part, zmq::recv_flags::dontwait)) {
      break;
    }
    ++messages;
    const Route route(part.to_string());
    std::size_t parts = 0;  // behind the route; ours have one
    zmq::message_t body;
    while (router_.get(zmq::sockopt::rcvmore) && router_.recv(part)) {
      bytes += part.size();
      if (++parts == 1) {
        body = std::move(part);
      }
      part = zmq::message_t();
    }
    if (parts == 1 && body.empty()) {
      core_->receive(route, Heartbeat{}, now);  // the probe of a new connection
      continue;
    }
    auto message = parts == 1
                       ? unpacked(std::move(body)).and_then(decode)
                       : Result<Message>(fail(Errc::corrupt, "message has more than one part"));
    if (message) {
      core_->receive(route, std::move(*message), now);
    } else {
      log_rejected(message.error(), now);
      core_->reject(route, message.error(), now);
    }
  }
  return messages;
}

// At a bounded rate: a hostile client must not fill the log.
void Broker::log_rejected(const Error& why, TimePoint now) {
  ++rejected_since_log_;
  if (now >= next_rejected_log_) {
    spdlog::warn("{} message(s) refused, the last because: {}", rejected_since_log_, why.what);
    rejected_since_log_ = 0;
    next_rejected_log_ = now + kRejectedLogInterval;
  }
}

void Broker::send_outbox() {
  for (Outgoing& outgoing : core_->take_outbox()) {
    try {
      zmq::message_t route(outgoing.route.data(), outgoing.route.size());
      zmq::message_t message = packed(encode(outgoing.message));
      const bool taken =
          router_.send(route, zmq::send_flags::sndmore | zmq::send_flags::dontwait).has_value() &&
          router_.send(message, zmq::send_flags::dontwait).has_value();
      if (!taken) {
        core_->unreachable(outgoing.route);  // it reads nothing: it starts over when it does
      }
    } catch (const zmq::error_t&) {
      core_->unreachable(outgoing.route);
    }
  }
}

}  // namespace turnstile::broker
