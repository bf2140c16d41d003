#include "bench/jetstream.h"

#include <nats/nats.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <fstream>
#include <functional>
#include <memory>
#include <optional>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "producers/csv/reader.h"
#include "proto/rows.h"
#include "store/target.h"

namespace turnstile::bench {
namespace {

constexpr const char* kStream = "ROWS";
constexpr const char* kSubject = "rows";
constexpr const char* kDone = "done";
constexpr std::uint32_t kRowsPerMessage = 1000;
constexpr std::int64_t kWaitMs = 60'000;
// Most messages in flight: enough that neither side waits for the other's acknowledgement.
constexpr std::int64_t kMessagesOfOneRow = 16'384;
constexpr std::int64_t kMessagesOfManyRows = 128;
// The bounds of one transaction in Turnstile's consumer.
constexpr std::uint32_t kConsumerGroupRows = 20'000;
// Messages with fewer rows are merged into one batch before they are applied.
constexpr std::uint32_t kFewRows = 100;

void must(natsStatus status, const char* doing) {
  if (status != NATS_OK) {
    throw Failure(fmt::format("NATS: {}: {}", doing, natsStatus_GetText(status)));
  }
}

template <auto Destroy>
struct Destroyer {
  template <typename T>
  void operator()(T* object) const {
    Destroy(object);
  }
};
using Options = std::unique_ptr<natsOptions, Destroyer<natsOptions_Destroy>>;
using Connection = std::unique_ptr<natsConnection, Destroyer<natsConnection_Destroy>>;
using Context = std::unique_ptr<jsCtx, Destroyer<jsCtx_Destroy>>;
using Subscription = std::unique_ptr<natsSubscription, Destroyer<natsSubscription_Destroy>>;
using Message = std::shared_ptr<natsMsg>;

std::string find_server() {
  for (const char* directory : {"/usr/sbin", "/usr/local/bin", "/usr/bin", "/usr/local/sbin"}) {
    std::string path = fmt::format("{}/nats-server", directory);
    if (::access(path.c_str(), X_OK) == 0) {
      return path;
    }
  }
  return {};
}

class Server {
 public:
  explicit Server(const std::filesystem::path& directory)
      : process_(Process::start({find_server(), "-a", "127.0.0.1", "-p", "-1", "-js", "-sd",
                                 directory / "jetstream", "--ports_file_dir", directory},
                                directory / "nats-server")) {
    wait_until("nats-server was ready", std::chrono::milliseconds(20), [&] {
      for (const auto& entry : std::filesystem::directory_iterator(directory)) {
        if (entry.path().extension() == ".ports") {
          std::ifstream file(entry.path());
          const auto ports = nlohmann::json::parse(file, nullptr, false);
          if (ports.is_object() && ports.contains("nats")) {
            url_ = ports["nats"].at(0);
          }
        }
      }
      return !url_.empty();
    });
  }

  [[nodiscard]] const std::string& url() const { return url_; }
  void stop() { process_.end(); }

 private:
  Process process_;
  std::string url_;
};

enum class Send { gathered, immediately };

class Client {
 public:
  Client(const std::string& url, Send send, std::int64_t on_their_way) {
    natsOptions* options = nullptr;
    must(natsOptions_Create(&options), "making options");
    const Options owned(options);
    must(natsOptions_SetURL(options, url.c_str()), "setting the address");
    must(natsOptions_SetSendAsap(options, send == Send::immediately), "setting options");
    natsConnection* connection = nullptr;
    must(natsConnection_Connect(&connection, options), "connecting");
    connection_.reset(connection);
    jsOptions with;
    must(jsOptions_Init(&with), "making options");
    with.PublishAsync.MaxPending = on_their_way;
    with.PublishAsync.StallWait = kWaitMs;
    jsCtx* context = nullptr;
    must(natsConnection_JetStream(&context, connection, &with), "using JetStream");
    context_.reset(context);
  }

  void add_stream() {
    jsStreamConfig config;
    must(jsStreamConfig_Init(&config), "making a stream");
    std::array<const char*, 1> subjects{kSubject};
    config.Name = kStream;
    config.Subjects = subjects.data();
    config.SubjectsLen = 1;
    config.Storage = js_FileStorage;
    must(js_AddStream(nullptr, context_.get(), &config, nullptr, nullptr), "making a stream");
  }

  Subscription subscribe_to_rows(std::int64_t on_their_way) {
    jsSubOptions options;
    must(jsSubOptions_Init(&options), "making options");
    options.Stream = kStream;
    options.ManualAck = true;
    options.Config.AckPolicy = js_AckAll;
    options.Config.MaxAckPending = on_their_way;
    natsSubscription* subscription = nullptr;
    must(js_SubscribeSync(&subscription, context_.get(), kSubject, nullptr, &options, nullptr),
         "subscribing");
    Subscription owned(subscription);
    must(natsSubscription_SetPendingLimits(subscription, -1, -1), "setting limits");
    return owned;
  }

  Subscription subscribe(const char* subject) {
    natsSubscription* subscription = nullptr;
    must(natsConnection_SubscribeSync(&subscription, connection_.get(), subject), "subscribing");
    Subscription owned(subscription);
    must(natsConnection_Flush(connection_.get()), "subscribing");
    return owned;
  }

  // The number of rows, then the rows frame.
  void publish_rows(RowsEncoder& rows) {
    const std::uint32_t count = rows.rows();
    const Bytes frame = rows.take();
    payload_.assign(sizeof(count), '\0');
    std::memcpy(payload_.data(), &count, sizeof(count));
    payload_ += frame.view();
    must(js_PublishAsync(context_.get(), kSubject, payload_.data(),
                         static_cast<int>(payload_.size()), nullptr),
         "publishing");
  }

  void wait_for_acknowledgements() {
    jsPubOptions options;
    must(jsPubOptions_Init(&options), "making options");
    options.MaxWait = kWaitMs;
    must(js_PublishAsyncComplete(context_.get(), &options), "waiting for acknowledgements");
  }

  void publish(const char* subject) {
    must(natsConnection_PublishString(connection_.get(), subject, ""), "publishing");
  }

 private:
  Connection connection_;
  Context context_;
  std::string payload_;
};

Message next_message(const Subscription& subscription) {
  natsMsg* message = nullptr;
  must(natsSubscription_NextMsg(&message, subscription.get(), kWaitMs), "waiting for a message");
  return {message, natsMsg_Destroy};
}

// Empty if there is no message.
Message message_at_hand(const Subscription& subscription) {
  std::uint64_t waiting = 0;
  must(natsSubscription_QueuedMsgs(subscription.get(), &waiting), "looking for messages");
  return waiting == 0 ? Message() : next_message(subscription);
}

// Turnstile's code, from decoding the rows frame.
class Applying {
 public:
  explicit Applying(const std::filesystem::path& directory) {
    store::TargetOptions options;
    options.path = jetstream_target(directory);
    target_ = value_of(store::Target::open(std::move(options)));
    static_cast<void>(value_of(target_->take_over()));
    const auto answer = value_of(target_->check_table(kTable, column_names()));
    if (answer.state != TableState::ready) {
      throw Failure(answer.detail);
    }
    header_.producer = {"jetstream"};
    header_.epoch = {1};
    header_.table = kTable;
    header_.columns = column_names();
  }

  void begin() { check(target_->begin()); }

  // Returns the number of rows.
  std::uint32_t add(const Message& message) {
    const std::string_view payload(natsMsg_GetData(message.get()),
                                   static_cast<std::size_t>(natsMsg_GetDataLength(message.get())));
    std::uint32_t rows = 0;
    std::memcpy(&rows, payload.data(), sizeof(rows));
    const std::string_view frame = payload.substr(sizeof(rows));
    if (rows >= kFewRows) {
      apply_gathered();
      apply(rows, Bytes(message, frame));
      return rows;
    }
    check(decode_rows(frame, rows, decoded_));
    for (std::size_t i = 0; i < rows; ++i) {
      gathered_.add(decoded_.row(i));
    }
    if (gathered_.rows() >= kRowsPerMessage) {
      apply_gathered();
    }
    return rows;
  }

  void commit() {
    apply_gathered();
    check(target_->commit());
  }

 private:
  void apply_gathered() {
    if (gathered_.rows() > 0) {
      const std::uint32_t rows = gathered_.rows();
      apply(rows, gathered_.take());
    }
  }

  void apply(std::uint32_t rows, const Bytes& frame) {
    header_.first = next(through_);
    header_.rows = rows;
    const auto outcome = value_of(target_->apply(header_, frame));
    through_ = outcome.through;
    if (outcome.outcome != Outcome::applied || outcome.rows_applied != rows) {
      throw Failure("a message was not applied");
    }
  }

  std::unique_ptr<store::Target> target_;
  BatchHeader header_;
  Sequence through_;
  RowsEncoder gathered_;
  DecodedRows decoded_;
};

struct Consuming {
  std::string url;
  std::filesystem::path directory;
  std::uint64_t rows;
  std::int64_t on_their_way;
  bool reports_commits = false;  // publishes each committed group on kDone
};

void consume(const Consuming& with, Gate& gate) {
  Client client(with.url, with.reports_commits ? Send::immediately : Send::gathered,
                with.on_their_way);
  client.add_stream();
  const auto subscription = client.subscribe_to_rows(with.on_their_way);
  Applying applying(with.directory);
  gate.pass();
  for (std::uint64_t done = 0; done < with.rows;) {
    Message last = next_message(subscription);
    applying.begin();
    std::uint32_t group = applying.add(last);
    while (group < kConsumerGroupRows) {
      Message more = message_at_hand(subscription);
      if (more == nullptr) {
        break;
      }
      group += applying.add(more);
      last = std::move(more);
    }
    applying.commit();
    if (with.reports_commits) {
      client.publish(kDone);
    }
    must(natsMsg_Ack(last.get(), nullptr), "acknowledging");
    done += group;
  }
}

// Starts server and consumer, and runs `publish` in its own process. `publish` returns its start as
// now_seconds(). Returns the seconds from there to the last commit.
double run_with_consumer(Consuming with, const std::function<double(const std::string&)>& publish) {
  Server server(with.directory);
  with.url = server.url();
  const Shared<double> began(1);
  const Shared<double> ended(1);
  Gate gate;
  auto consumer = Process::run("the JetStream consumer", [&] {
    consume(with, gate);
    ended[0] = now_seconds();
  });
  gate.open(1);
  Process::run("the JetStream publisher", [&] { began[0] = publish(server.url()); }).finish();
  consumer.finish();
  server.stop();
  return ended[0] - began[0];
}

}  // namespace

std::string jetstream_problem() {
  return find_server().empty() ? "nats-server is not installed: compose/setup --bench" : "";
}

std::string jetstream_version() {
  const auto directory = std::filesystem::temp_directory_path();
  const auto log = directory / fmt::format("turnstile-bench-nats-{}", ::getpid());
  auto server = Process::start({find_server(), "--version"}, log);
  server.finish();
  const std::string text = server.output();  // nats-server: v2.9.10
  std::filesystem::remove(log.string() + ".out");
  std::filesystem::remove(log.string() + ".err");
  const auto version = text.find(": v");
  return version == std::string::npos
             ? text
             : "nats-server " + text.substr(version + 3, text.find('\n') - version - 3);
}

double jetstream_each(const std::filesystem::path& directory, const std::filesystem::path& csv,
                      std::uint64_t rows) {
  return run_with_consumer({.url = {},
                            .directory = directory,
                            .rows = rows,
                            .on_their_way = kMessagesOfOneRow,
                            .reports_commits = false},
                           [&](const std::string& url) {
                             const MemoryRows memory(csv);
                             Client client(url, Send::gathered, kMessagesOfOneRow);
                             RowsEncoder encoder;
                             const double began = now_seconds();
                             for (std::size_t i = 0; i < memory.size(); ++i) {
                               encoder.add(memory.row(i));
                               client.publish_rows(encoder);
                             }
                             client.wait_for_acknowledgements();
                             return began;
                           });
}

double jetstream_csv(const std::filesystem::path& directory, const std::filesystem::path& csv,
                     std::uint64_t rows) {
  return run_with_consumer({.url = {},
                            .directory = directory,
                            .rows = rows,
                            .on_their_way = kMessagesOfManyRows,
                            .reports_commits = false},
                           [&](const std::string& url) {
                             const double began = now_seconds();
                             turnstile::csv::CsvOptions options;
                             options.path = csv;
                             const auto source = value_of(turnstile::csv::open_csv(options));
                             Client client(url, Send::gathered, kMessagesOfManyRows);
                             RowsEncoder encoder;
                             while (auto item = value_of(source->next())) {
                               encoder.add(std::get<turnstile::csv::Record>(*item).fields);
                               if (encoder.rows() == kRowsPerMessage) {
                                 client.publish_rows(encoder);
                               }
                             }
                             if (encoder.rows() > 0) {
                               client.publish_rows(encoder);
                             }
                             client.wait_for_acknowledgements();
                             return began;
                           });
}

std::vector<double> jetstream_waiting(const std::filesystem::path& directory, Sample& sample,
                                      std::uint64_t rows) {
  const Shared<double> latencies(rows);
  run_with_consumer({.url = {},
                     .directory = directory,
                     .rows = rows,
                     .on_their_way = kMessagesOfManyRows,
                     .reports_commits = true},
                    [&](const std::string& url) {
                      Client client(url, Send::immediately, kMessagesOfManyRows);
                      const auto done = client.subscribe(kDone);
                      RowsEncoder encoder;
                      double before = now_seconds();
                      for (std::uint64_t id = 1; id <= rows; ++id) {
                        encoder.add(sample.row(id));
                        client.publish_rows(encoder);
                        static_cast<void>(next_message(done));
                        const double now = now_seconds();
                        latencies[id - 1] = now - before;
                        before = now;
                      }
                      return before;
                    });
  return {latencies.all().begin(), latencies.all().end()};
}

std::filesystem::path jetstream_target(const std::filesystem::path& directory) {
  return directory / "shared.db";
}

}  // namespace turnstile::bench
