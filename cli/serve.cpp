#include "cli/serve.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <memory>
#include <new>
#include <system_error>
#include <thread>
#include <utility>

#include <CLI/CLI.hpp>
#include <spdlog/spdlog.h>

#include "base/counted.h"
#include "base/descriptor.h"
#include "base/signals.h"
#include "broker/command.h"
#include "consumer/command.h"
#include "flags/banner.h"
#include "flags/options.h"
#include "link/inside_link.h"

namespace turnstile {
namespace {

using namespace std::chrono_literals;

struct ServeCommand {
  BrokerFlags broker;
  ConsumerFlags consumer;
  LogOptions log;
};

// Readable once it was rung.
class Bell {
 public:
  Bell() : fd_(::eventfd(0, EFD_CLOEXEC)) {
    if (!fd_) {
      throw std::system_error(errno, std::generic_category(), "eventfd");
    }
  }

  void ring() const {
    const std::uint64_t one = 1;
    // Rung once or twice in its life, far from the counter's end.
    [[maybe_unused]] const ssize_t written = ::write(fd_.get(), &one, sizeof(one));
  }
  [[nodiscard]] int fd() const { return fd_.get(); }

 private:
  Descriptor fd_;
};

// The consumer on a thread of its own, with its own connection to the target. It ends before the
// broker, which still settles what the consumer applied last.
class ConsumerThread {
 public:
  ConsumerThread(InsideLink& link, const ConsumerFlags& flags, const StopSignal& stop)
      : link_(link), stop_(stop), thread_([this, flags] { run(flags); }) {}
  ConsumerThread(const ConsumerThread&) = delete;
  ConsumerThread& operator=(const ConsumerThread&) = delete;
  ~ConsumerThread() { end(); }

  // Readable when it has ended, asked to or not.
  [[nodiscard]] int ended_fd() const { return ended_.fd(); }
  // Asks it to end, waits until it has, and says how it went.
  Result<void> end() {
    unwanted_ = true;
    link_.wake();
    if (thread_.joinable()) {
      thread_.join();
    }
    return outcome_;
  }

  [[nodiscard]] bool must_end() const { return unwanted_ || stop_.requested(); }

 private:
  void run(const ConsumerFlags& flags) {
    try {
      outcome_ = consume(flags);
    } catch (const std::exception& problem) {
      outcome_ = tl::make_unexpected(failure(problem));
    }
    ended_.ring();  // its last results are on their way
  }

  static Error failure(const std::exception& problem) {
    if (dynamic_cast<const std::bad_alloc*>(&problem) != nullptr) {
      return {Errc::io, "there is no more memory",
              "give this process more (ulimit -v, MemoryMax=) or less to hold (--memory)"};
    }
    return {Errc::io, std::string("the consumer failed: ") + problem.what(), ""};
  }

  Result<void> consume(const ConsumerFlags& flags) {
    std::unique_ptr<consumer::Consumer> consumer;
    std::chrono::milliseconds patience{0};
    while (!must_end()) {
      link_.wait(patience);
      if (consumer == nullptr) {
        consumer = std::make_unique<consumer::Consumer>(link_, consumer_options(flags),
                                                        [this] { return must_end(); });
      }
      auto served = consumer->serve(0ms);
      patience = consumer->patience();
      if (served) {
        continue;
      }
      if (served.error().code != Errc::fenced) {
        return served;
      }
      // This process was stopped for longer than its lease; now it is a standby.
      spdlog::warn("{}", served.error().what);
      consumer.reset();
      link_.reconnect();
      patience = 0ms;
    }
    return consumer == nullptr ? Result<void>() : consumer->finish();
  }

  InsideLink& link_;
  const StopSignal& stop_;
  std::atomic<bool> unwanted_ = false;
  Bell ended_;
  Result<void> outcome_;  // the thread's until it has ended
  std::thread thread_;    // last: it uses the members above
};

int serve_both(const ServeCommand& command) {
  const HangupSignal hangup;
  auto files = broker_files(command.broker);
  files.push_back(plain_role("--log-file", command.log.file));
  const auto ready = check_consumer_files(command.consumer, std::move(files)).and_then([&] {
    return set_up_logging_to_file(command.log);
  });
  if (!ready) {
    print_error(ready.error());
    return exit_code_for(ready.error());
  }
  const StopSignal stop;
  auto broker = broker::Broker::start(broker_options(command.broker));
  if (!broker) {
    print_error(broker.error());
    return exit_code_for(broker.error());
  }
  const ConsumerFlags& consumer_flags = command.consumer;
  log_banner("broker and consumer",
             {{"listens on", (*broker)->endpoint()},
              {"journal", (*broker)->journal().path().string()},
              {"batches in the journal", std::to_string((*broker)->journal().batches())},
              {"target", consumer_flags.db},
              {"text log", consumer_flags.text.empty() ? "none" : consumer_flags.text}});
  log_broker_notes(**broker);
  InsideLink link;
  ConsumerThread consumer(link, consumer_flags, stop);
  const auto served =
      (*broker)->run(consumer.ended_fd(),
                     broker::Broker::Inside{&link, [&consumer] { return consumer.must_end(); }});
  const auto consumed = consumer.end();
  for (const Result<void>* ended : {&served, &consumed}) {
    if (!*ended) {
      print_error(ended->error());
      return exit_code_for(ended->error());
    }
  }
  spdlog::info("stopped; the journal holds {}",
               counted((*broker)->journal().batches(), "batch", "batches"));
  return static_cast<int>(ExitCode::done);
}

}  // namespace

void add_serve_command(CLI::App& app, int& exit_code) {
  auto command = std::make_shared<ServeCommand>();
  CLI::App* serve = app.add_subcommand(
      "serve", "Broker and consumer in one process: the everyday way on one machine");
  add_broker_flags(*serve, command->broker);
  add_consumer_flags(*serve, command->consumer);
  add_mode_option(*serve);
  add_log_options(*serve, command->log);
  add_log_file_option(*serve, command->log);
  add_config_option(*serve);
  serve->callback([command, &exit_code] { exit_code = serve_both(*command); });
}

}  // namespace turnstile
