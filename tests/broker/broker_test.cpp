// The broker on a real socket, in its own thread, with real clients.
#include "broker/broker.h"

#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <memory>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "link/frames.h"
#include "link/zmq_dealer.h"
#include "tests/broker/batches.h"
#include "tests/broker/folder.h"
#include "tests/support/raw_peer.h"

namespace turnstile::broker {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

constexpr auto kPatience = 30s;

class Running {
 public:
  explicit Running(BrokerOptions options) : stop_(::eventfd(0, EFD_CLOEXEC)) {
    auto broker = Broker::start(std::move(options));
    if (!broker) {
      throw std::runtime_error(broker.error().what);
    }
    broker_ = std::move(*broker);
    thread_ = std::thread([this] { outcome_ = broker_->run(stop_); });
  }
  Running(const Running&) = delete;
  Running& operator=(const Running&) = delete;
  ~Running() {
    stop();
    ::close(stop_);
  }
  // What run() returned.
  Result<void> stop() {
    const std::uint64_t one = 1;
    EXPECT_EQ(::write(stop_, &one, sizeof(one)), ssize_t{sizeof(one)});
    if (thread_.joinable()) {
      thread_.join();
    }
    return outcome_;
  }

 private:
  int stop_;
  std::unique_ptr<Broker> broker_;
  std::thread thread_;
  Result<void> outcome_;
};

constexpr const char* kId = "00112233445566778899aabbccddeeff";

class BrokerTest : public testing::Test {
 protected:
  BrokerOptions options(const std::string& journal = "journal.db") const {
    BrokerOptions out;
    out.endpoint = endpoint_;
    out.journal.path = directory_ / journal;
    return out;
  }
  std::unique_ptr<ZmqDealer> client() const {
    auto link = ZmqDealer::connect(endpoint_);
    if (!link) {
      throw std::runtime_error(link.error().what);
    }
    return std::move(*link);
  }
  static void send(Link& link, const Message& message) {
    const auto until = std::chrono::steady_clock::now() + kPatience;
    while (!link.send(message)) {
      ASSERT_LT(std::chrono::steady_clock::now(), until) << "the broker does not take the message";
      link.receive(10ms);
    }
  }
  // The next message of this kind; ignores others.
  template <typename T>
  static T expect(Link& link) {
    const auto until = std::chrono::steady_clock::now() + kPatience;
    while (std::chrono::steady_clock::now() < until) {
      auto message = link.receive(100ms);
      if (message && std::holds_alternative<T>(*message)) {
        return std::get<T>(std::move(*message));
      }
    }
    ADD_FAILURE() << "the message did not come";
    return {};
  }
  static Hello hello(Role role, const std::string& id) {
    Hello out;
    out.role = role;
    out.producer = {id};
    return out;
  }

  TempDirectory directory_;
  std::string endpoint_ = "ipc://" + (directory_ / "broker.sock").string();
};

TEST_F(BrokerTest, RowsGoFromProducerToConsumerAndTheAnswerBack) {
  const Running broker(options());
  const auto consumer = client();
  send(*consumer, hello(Role::consumer, "/t.db"));
  const auto state = expect<LeaseState>(*consumer);
  ASSERT_TRUE(state.granted);
  const auto producer = client();
  send(*producer, hello(Role::producer, kId));
  EXPECT_TRUE(expect<Welcome>(*producer).consumer_attached);
  const Batch batch = batch_of(kId, 1, 3, 100'000);
  send(*producer, batch);
  const auto delivery = expect<Delivery>(*consumer);
  EXPECT_EQ(delivery.rows_frame.view(), batch.rows_frame.view());
  send(*consumer, Results{state.lease, {applied_result(delivery.ticket, 3)}, {}});
  EXPECT_EQ(expect<Applied>(*producer).through, Sequence{3});
}

TEST_F(BrokerTest, StoredRowsOutliveTheBrokerAndItsSocket) {
  const auto producer = client();
  {
    Running broker(options());
    send(*producer, hello(Role::producer, kId));
    expect<Welcome>(*producer);
    send(*producer, batch_of(kId, 1, 3));
    EXPECT_EQ(expect<Stored>(*producer).through, Sequence{3});
    EXPECT_TRUE(broker.stop());
  }
  const Running broker(options());
  EXPECT_EQ(expect<Refusal>(*producer).code, RefusalCode::hello_first);
  Hello again = hello(Role::producer, kId);
  again.epoch = {1};
  send(*producer, again);
  EXPECT_EQ(expect<Welcome>(*producer).through, Sequence{3});
}

TEST_F(BrokerTest, StoppingStoresWhatTheConsumerHasNotAnswered) {
  {
    Running broker(options());
    const auto consumer = client();
    send(*consumer, hello(Role::consumer, "/t.db"));
    expect<LeaseState>(*consumer);
    const auto producer = client();
    send(*producer, hello(Role::producer, kId));
    expect<Welcome>(*producer);
    send(*producer, batch_of(kId, 1, 3));
    expect<Delivery>(*consumer);
    EXPECT_TRUE(broker.stop());
  }
  const auto journal = Journal::open({directory_ / "journal.db", 1 << 20, {}});
  ASSERT_TRUE(journal);
  EXPECT_EQ(journal->rows(), 3U);
}

TEST_F(BrokerTest, GarbageIsRefusedAndTheBrokerKeepsRunning) {
  const Running broker(options());
  zmq::context_t context;
  zmq::socket_t socket(context, zmq::socket_type::dealer);
  socket.set(zmq::sockopt::linger, 0);
  socket.set(zmq::sockopt::rcvtimeo, 30'000);
  socket.connect(endpoint_);
  std::mt19937 random(7);
  const Frames valid = encode(batch_of(kId, 1, 3));
  const auto answers = [&] {
    zmq::message_t answer;
    if (!socket.recv(answer)) {
      return std::optional<RefusalCode>{};
    }
    const auto message = unpacked(std::move(answer)).and_then(decode);
    const auto* refusal = message ? std::get_if<Refusal>(&*message) : nullptr;
    return refusal != nullptr ? std::optional(refusal->code) : std::nullopt;
  };
  for (int i = 0; i < 400; ++i) {
    std::vector<std::string> frames;
    for (auto n = random() % 6 + 1; n > 0; --n) {
      frames.emplace_back(valid[random() % valid.size()].view());
      std::string& frame = frames.back();
      if (random() % 2 == 0) {
        frame.resize(random() % (frame.size() + 1));
      }
      for (auto flips = random() % 4; flips > 0 && !frame.empty(); --flips) {
        frame[random() % frame.size()] = static_cast<char>(random());
      }
    }
    if (random() % 2 == 0) {
      Frames wrapped;
      for (const std::string& frame : frames) {
        wrapped.emplace_back(frame);
      }
      socket.send(packed(wrapped), zmq::send_flags::none);
    } else {
      for (std::size_t f = 0; f < frames.size(); ++f) {
        socket.send(zmq::buffer(frames[f]),
                    f + 1 < frames.size() ? zmq::send_flags::sndmore : zmq::send_flags::none);
      }
    }
    // Repeated readable messages get few answers. This one cannot be read.
    socket.send(zmq::str_buffer("garbage"), zmq::send_flags::none);
    auto answer = answers();
    while (answer == RefusalCode::hello_first) {
      answer = answers();
    }
    ASSERT_TRUE(answer) << "no refusal for message " << i;
  }
  const auto tool = client();
  send(*tool, hello(Role::tool, ""));
  expect<Welcome>(*tool);
  send(*tool, AskStatus{1});
  EXPECT_THAT(std::string(expect<Status>(*tool).report.view()), HasSubstr("messages_rejected"));
}

TEST_F(BrokerTest, AClientThatReadsNothingDelaysNoOther) {
  const Running broker(options());
  const auto deaf = client();
  send(*deaf, hello(Role::tool, ""));
  for (int i = 0; i < 20'000; ++i) {
    deaf->send(Heartbeat{});
  }
  const auto producer = client();
  send(*producer, hello(Role::producer, kId));
  expect<Welcome>(*producer);
  send(*producer, batch_of(kId, 1, 3));
  EXPECT_EQ(expect<Stored>(*producer).through, Sequence{3});
}

TEST_F(BrokerTest, AClientThatKeepsSendingBadMessagesIsDisconnectedAndOthersStay) {
  const Running broker(options());
  const auto producer = client();
  send(*producer, hello(Role::producer, kId));
  expect<Welcome>(*producer);
  zmq::context_t context;
  zmq::socket_t socket(context, zmq::socket_type::dealer);
  socket.set(zmq::sockopt::linger, 0);
  socket.set(zmq::sockopt::rcvtimeo, 30'000);
  socket.connect(endpoint_);
  const auto answer = [&] {
    zmq::message_t message;
    EXPECT_TRUE(socket.recv(message));
    return unpacked(std::move(message)).and_then(decode);
  };
  socket.send(packed(encode(hello(Role::tool, "t"))), zmq::send_flags::none);
  auto message = answer();
  ASSERT_TRUE(message && std::holds_alternative<Welcome>(*message));
  for (int i = 0; i < 2000; ++i) {
    socket.send(zmq::str_buffer("garbage"), zmq::send_flags::none);
  }
  // The socket reconnects, and the broker does not know the new connection.
  const auto is_unknown = [&] {
    const auto* refusal = message ? std::get_if<Refusal>(&*message) : nullptr;
    return refusal != nullptr && refusal->code == RefusalCode::hello_first;
  };
  const auto until = std::chrono::steady_clock::now() + kPatience;
  socket.set(zmq::sockopt::rcvtimeo, 100);
  while (!is_unknown() && std::chrono::steady_clock::now() < until) {
    socket.send(packed(encode(Heartbeat{})), zmq::send_flags::none);
    zmq::message_t part;
    message = socket.recv(part) ? unpacked(std::move(part)).and_then(decode)
                                : Result<Message>(Heartbeat{});
  }
  EXPECT_TRUE(is_unknown());
  send(*producer, batch_of(kId, 1, 3));
  EXPECT_EQ(expect<Stored>(*producer).through, Sequence{3});
}

TEST_F(BrokerTest, AClientThatReadsNothingIsDisconnectedBeforeItsAnswersFillMemory) {
  const Running broker(options());
  // Many producers make a large report.
  std::vector<std::unique_ptr<ZmqDealer>> producers;
  for (int i = 0; i < 100; ++i) {
    producers.push_back(client());
    send(*producers.back(), hello(Role::producer, std::string(29, 'a') + std::to_string(100 + i)));
    expect<Welcome>(*producers.back());
  }
  zmq::context_t context;
  zmq::socket_t deaf(context, zmq::socket_type::dealer);
  deaf.set(zmq::sockopt::linger, 0);
  deaf.set(zmq::sockopt::rcvhwm, 1);
  deaf.set(zmq::sockopt::sndtimeo, 1000);
  deaf.set(zmq::sockopt::rcvtimeo, 100);
  zmq::socket_t monitor(context, zmq::socket_type::pair);
  ASSERT_EQ(::zmq_socket_monitor(deaf.handle(), "inproc://deaf", ZMQ_EVENT_DISCONNECTED), 0);
  monitor.connect("inproc://deaf");
  deaf.connect(endpoint_);
  deaf.send(packed(encode(hello(Role::tool, "deaf"))), zmq::send_flags::none);
  for (int i = 0; i < 50'000 && deaf.send(packed(encode(AskStatus{1})), zmq::send_flags::none);) {
    ++i;
  }
  // ZeroMQ looks at the connection again when it has room for an answer.
  bool cut = false;
  const auto until = std::chrono::steady_clock::now() + kPatience;
  while (!cut && std::chrono::steady_clock::now() < until) {
    zmq::message_t part;
    static_cast<void>(deaf.recv(part));
    cut = monitor.recv(part, zmq::recv_flags::dontwait).has_value();
  }
  EXPECT_TRUE(cut);
  send(*producers.front(), batch_of(std::string(29, 'a') + "100", 1, 3));
  EXPECT_EQ(expect<Stored>(*producers.front()).through, Sequence{3});
}

TEST_F(BrokerTest, AnEndlessMessageIsDisconnectedAndManyMessagesAreNot) {
  const Running broker(options());
  const auto producer = client();
  send(*producer, hello(Role::producer, kId));
  expect<Welcome>(*producer);

  // The largest messages, one after another: each is read, and refused.
  const std::string largest(static_cast<std::size_t>(largest_message_bytes()) - 100, 'g');
  test::RawPeer often(endpoint_, kPatience);
  for (int i = 0; i < 8; ++i) {
    ASSERT_TRUE(often.send_frame(largest, false) && often.wait_for_answer()) << "of message " << i;
  }

  test::RawPeer endless(endpoint_, kPatience);
  ASSERT_TRUE(endless.ok());
  const std::string part(std::size_t{512} * 1024, 'e');
  std::size_t parts = 0;
  while (parts < 200 && endless.send_frame(part, true)) {
    ++parts;
  }
  EXPECT_LT(parts, 60U) << "30 MiB of one message";

  EXPECT_TRUE(often.send_frame(largest, false) && often.wait_for_answer());
  send(*producer, batch_of(kId, 1, 3));
  EXPECT_EQ(expect<Stored>(*producer).through, Sequence{3});
}

TEST_F(BrokerTest, ManyNamesOnOneConnectionAreRefusedAndOthersAreWelcomed) {
  const Running broker(options());
  const auto named = [](const std::string& name) {
    Hello out = hello(Role::producer, name);
    out.named = true;
    return out;
  };
  const auto greedy = client();
  for (int i = 0; i < 100; ++i) {
    send(*greedy, named("n" + std::to_string(i)));
  }
  auto refusal = expect<Refusal>(*greedy);
  while (refusal.code == RefusalCode::hello_first) {  // the answer to its connection's probe
    refusal = expect<Refusal>(*greedy);
  }
  EXPECT_EQ(refusal.code, RefusalCode::busy);
  EXPECT_EQ(refusal.sequence, Sequence{});
  const auto other = client();
  send(*other, named("other"));
  expect<Welcome>(*other);
  // Like any refused client, it may come back.
  const auto until = std::chrono::steady_clock::now() + kPatience;
  bool is_welcome = false;
  while (!is_welcome && std::chrono::steady_clock::now() < until) {
    const auto message = greedy->receive(100ms);
    is_welcome = message && std::holds_alternative<Welcome>(*message);
    if (!message) {
      send(*greedy, named("later"));
    }
  }
  EXPECT_TRUE(is_welcome);
}

TEST_F(BrokerTest, ASecondBrokerOnTheSameJournalOrSocketIsRefused) {
  const Running broker(options());
  const auto same_journal = Broker::start([&] {
    auto o = options();
    o.endpoint = "ipc://" + (directory_ / "other.sock").string();
    return o;
  }());
  ASSERT_FALSE(same_journal);
  EXPECT_EQ(same_journal.error().code, Errc::locked);
  EXPECT_THAT(same_journal.error().what, HasSubstr("journal.db"));
  const auto same_socket = Broker::start(options("other.db"));
  ASSERT_FALSE(same_socket);
  EXPECT_EQ(same_socket.error().code, Errc::locked);
  EXPECT_THAT(same_socket.error().what, HasSubstr("broker.sock"));
}

TEST_F(BrokerTest, TheSocketOfADeadBrokerIsReplaced) {
  std::ofstream(directory_ / "broker.sock") << "";
  const Running broker(options());
  const auto tool = client();
  send(*tool, hello(Role::tool, ""));
  expect<Welcome>(*tool);
}

// Promise 10.
TEST_F(BrokerTest, ADirectoryThatOthersMayWriteInIsRefused) {
  ASSERT_EQ(::chmod(directory_.path().c_str(), 0777), 0);
  const auto broker = Broker::start(options());
  ASSERT_FALSE(broker);
  EXPECT_EQ(broker.error().code, Errc::unreachable);
  EXPECT_THAT(broker.error().hint, HasSubstr("chmod 700"));
}

TEST_F(BrokerTest, OnlyItsUserMayReachTheSocketAndItsNewDirectory) {
  endpoint_ = "ipc://" + (directory_ / "made" / "broker.sock").string();
  const mode_t mask = ::umask(0);
  const Running broker(options());
  ::umask(mask);
  struct stat info {};
  ASSERT_EQ(::stat((directory_ / "made" / "broker.sock").c_str(), &info), 0);
  EXPECT_TRUE(S_ISSOCK(info.st_mode));
  EXPECT_EQ(info.st_mode & 0077U, 0U);
  ASSERT_EQ(::stat((directory_ / "made").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777U, 0700U);
}

TEST_F(BrokerTest, AMissingDirectoryAndATooLongPathAreNamed) {
  auto o = options();
  o.endpoint = "ipc://" + (directory_ / "no" / "such" / "broker.sock").string();
  auto broker = Broker::start(o);
  ASSERT_FALSE(broker);
  EXPECT_EQ(broker.error().code, Errc::unreachable);
  EXPECT_THAT(broker.error().what, HasSubstr("there is no directory"));
  o.endpoint = "ipc://" + (directory_ / std::string(120, 's')).string();
  broker = Broker::start(o);
  ASSERT_FALSE(broker);
  EXPECT_EQ(broker.error().code, Errc::unreachable);
}

}  // namespace
}  // namespace turnstile::broker
