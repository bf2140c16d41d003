// What both links have in common.
#include <sys/resource.h>

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include <gtest/gtest.h>

#include "link/endpoint.h"
#include "link/frames.h"
#include "link/ipc_dealer.h"
#include "link/zmq_dealer.h"
#include "tests/support/folder.h"

namespace turnstile {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kDeadline{10'000};

std::string endpoint_in(const Folder& directory) {
  return "ipc://" + (directory.path() / "s").string();
}

struct Received {
  std::string from;
  Frames frames;
};

// The other end: a ROUTER that knows nothing of the protocol.
class Router {
 public:
  explicit Router(const std::string& endpoint) : socket_(context_, zmq::socket_type::router) {
    socket_.set(zmq::sockopt::linger, 0);
    socket_.set(zmq::sockopt::router_mandatory, 1);
    socket_.set(zmq::sockopt::rcvtimeo, static_cast<int>(kDeadline.count()));
    socket_.bind(endpoint);
  }

  std::optional<Received> receive() {
    zmq::message_t message;
    if (!socket_.recv(message)) {
      return std::nullopt;
    }
    Received received{message.to_string(), {}};
    zmq::message_t body;
    if (!message.more() || !socket_.recv(body) || body.more()) {
      return std::nullopt;
    }
    auto frames = unpacked(std::move(body));
    EXPECT_TRUE(frames);
    received.frames = frames.value_or(Frames());
    return received;
  }

  // The sender of the empty message with which a link announces itself.
  std::string accept(Link& link) {
    const auto deadline = std::chrono::steady_clock::now() + kDeadline;
    zmq::pollitem_t item{socket_.handle(), 0, ZMQ_POLLIN, 0};
    while (zmq::poll(&item, 1, milliseconds(1)) == 0) {
      EXPECT_FALSE(link.receive(milliseconds(1)));
      if (std::chrono::steady_clock::now() > deadline) {
        ADD_FAILURE() << "no link connected";
        return {};
      }
    }
    const auto probe = receive();
    EXPECT_TRUE(probe && probe->frames.empty());
    return probe ? probe->from : std::string();
  }

  void send(const std::string& to, const Frames& frames) {
    socket_.send(zmq::buffer(to), zmq::send_flags::sndmore);
    socket_.send(packed(frames), zmq::send_flags::none);
  }

 private:
  zmq::context_t context_;
  zmq::socket_t socket_;
};

template <typename Dealer>
std::unique_ptr<Dealer> connected(const std::string& endpoint) {
  auto link = Dealer::connect(endpoint);
  EXPECT_TRUE(link.has_value());
  return link ? std::move(*link) : nullptr;
}

Batch batch_of(std::uint64_t first, const std::string& rows) {
  Batch batch;
  batch.header.producer = {"p"};
  batch.header.first = {first};
  batch.header.rows = 1;
  batch.header.table = "t";
  batch.header.columns = {"a"};
  batch.header_frame = encode_batch_header(batch.header);
  batch.rows_frame = Bytes(rows);
  return batch;
}

template <typename Dealer>
class LinkTest : public ::testing::Test {};
using Dealers = ::testing::Types<ZmqDealer, IpcDealer>;
TYPED_TEST_SUITE(LinkTest, Dealers);

TYPED_TEST(LinkTest, ALinkAnnouncesItselfWithAnEmptyMessage) {
  const Folder directory;
  Router router(endpoint_in(directory));
  const auto link = connected<TypeParam>(endpoint_in(directory));
  EXPECT_FALSE(router.accept(*link).empty());
}

TYPED_TEST(LinkTest, BatchesArriveWholeAndInOrder) {
  const Folder directory;
  Router router(endpoint_in(directory));
  const auto link = connected<TypeParam>(endpoint_in(directory));
  router.accept(*link);
  for (std::uint64_t i = 1; i <= 20; ++i) {
    ASSERT_TRUE(link->send(batch_of(i, std::string(i * 1000, 'r'))));
  }
  for (std::uint64_t i = 1; i <= 20; ++i) {
    ASSERT_FALSE(link->receive(milliseconds(0)));  // sends the rest
    const auto received = router.receive();
    ASSERT_TRUE(received);
    const auto message = decode(received->frames);
    ASSERT_TRUE(message) << message.error().what;
    const auto& batch = std::get<Batch>(*message);
    EXPECT_EQ(batch.header.first, Sequence{i});
    EXPECT_EQ(batch.rows_frame.view(), std::string(i * 1000, 'r'));
  }
}

TYPED_TEST(LinkTest, MessagesReadLateArriveWholeEvenAfterTheLinkEnded) {
  constexpr std::uint64_t kBatches = 10;
  const std::string rows(std::size_t{100} * 1024, 'r');
  const Folder directory;
  Router router(endpoint_in(directory));
  auto link = connected<TypeParam>(endpoint_in(directory));
  router.accept(*link);
  for (std::uint64_t i = 1; i <= kBatches; ++i) {
    ASSERT_TRUE(link->send(batch_of(i, rows)));
  }
  std::thread reads([&] {
    for (std::uint64_t i = 1; i <= kBatches; ++i) {
      const auto received = router.receive();
      ASSERT_TRUE(received);
      const auto message = decode(received->frames);
      ASSERT_TRUE(message) << message.error().what;
      EXPECT_EQ(std::get<Batch>(*message).header.first, Sequence{i});
      EXPECT_EQ(std::get<Batch>(*message).rows_frame.view(), rows);
    }
  });
  link.reset();
  reads.join();
}

TYPED_TEST(LinkTest, AnswerComesBack) {
  const Folder directory;
  Router router(endpoint_in(directory));
  const auto link = connected<TypeParam>(endpoint_in(directory));
  router.send(router.accept(*link), encode(Stored{Sequence{7}}));
  const auto message = link->receive(kDeadline);
  ASSERT_TRUE(message);
  EXPECT_EQ(std::get<Stored>(*message).through, Sequence{7});
}

TYPED_TEST(LinkTest, ReceiveTimesOutWithoutAMessage) {
  const Folder directory;
  const auto link = connected<TypeParam>(endpoint_in(directory));
  EXPECT_FALSE(link->receive(milliseconds(1)));
  EXPECT_FALSE(link->receive(milliseconds(0)));
}

TYPED_TEST(LinkTest, NothingIsSentWhileNobodyListens) {
  const Folder directory;
  const auto link = connected<TypeParam>(endpoint_in(directory));
  EXPECT_FALSE(link->send(Heartbeat{}));
}

TYPED_TEST(LinkTest, UndecodableMessagesAreDroppedAndCounted) {
  const Folder directory;
  Router router(endpoint_in(directory));
  const auto link = connected<TypeParam>(endpoint_in(directory));
  const std::string peer = router.accept(*link);
  router.send(peer, {Bytes(std::string("garbage"))});
  router.send(peer, {Bytes()});
  router.send(peer, Frames(50, Bytes(std::string("part"))));
  router.send(peer, encode(Stored{Sequence{7}}));
  const auto message = link->receive(kDeadline);
  ASSERT_TRUE(message);
  EXPECT_EQ(std::get<Stored>(*message).through, Sequence{7});
  EXPECT_EQ(link->dropped(), 3U);
}

TYPED_TEST(LinkTest, ALinkAnnouncesItselfToARestartedBroker) {
  const Folder directory;
  std::optional<Router> router(endpoint_in(directory));
  const auto link = connected<TypeParam>(endpoint_in(directory));
  router->accept(*link);
  router.reset();
  router.emplace(endpoint_in(directory));
  EXPECT_FALSE(router->accept(*link).empty());
}

TYPED_TEST(LinkTest, AReconnectMakesANewConnection) {
  const Folder directory;
  Router router(endpoint_in(directory));
  const auto link = connected<TypeParam>(endpoint_in(directory));
  const std::string first = router.accept(*link);
  link->reconnect();
  const std::string second = router.accept(*link);
  EXPECT_NE(first, second);
  router.send(second, encode(Heartbeat{}));
  EXPECT_TRUE(link->receive(kDeadline));
}

TYPED_TEST(LinkTest, AReconnectWithoutAFreeDescriptorIsRetriedWithPauses) {
  constexpr milliseconds kWait{50};
  constexpr rlim_t kInUse = 4;  // poll() takes no more than the limit
  const Folder directory;
  Router router(endpoint_in(directory));
  const auto link = connected<TypeParam>(endpoint_in(directory));
  const std::string first = router.accept(*link);
  rlimit usual{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &usual), 0);
  const rlimit none{kInUse, usual.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);
  link->reconnect();
  const bool sent = link->send(Heartbeat{});
  const auto begun = std::chrono::steady_clock::now();
  const auto received = link->receive(kWait);
  const auto waited = std::chrono::steady_clock::now() - begun;
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &usual), 0);
  EXPECT_FALSE(sent);
  EXPECT_FALSE(received);
  EXPECT_GE(waited, kWait);
  EXPECT_NE(router.accept(*link), first);
}

TYPED_TEST(LinkTest, SocketPathTooLongForTheKernelIsRefused) {
  const auto link = TypeParam::connect("ipc:///tmp/" + std::string(103, 'x'));
  ASSERT_FALSE(link);
  EXPECT_EQ(link.error().code, Errc::bad_input);
  EXPECT_NE(link.error().what.find("has 108 bytes; the kernel takes at most 107"),
            std::string::npos);
  EXPECT_TRUE(TypeParam::connect("ipc:///tmp/" + std::string(102, 'x')));
}

TEST(ZmqDealerTest, AnEndpointOfUnknownKindIsRefused) {
  for (const char* endpoint : {"nonsense", "http://localhost", "tcp://host:port"}) {
    const auto link = ZmqDealer::connect(endpoint);
    ASSERT_FALSE(link) << endpoint;
    EXPECT_EQ(link.error().code, Errc::bad_input) << endpoint;
  }
}

TEST(ZmqDealerTest, AnUnknownTransportIsBadInput) {
  for (const char* endpoint : {"pigeon://loft", "127.0.0.1:5555", "tcp://", ""}) {
    const auto link = ZmqDealer::connect(endpoint);
    ASSERT_FALSE(link) << endpoint;
    EXPECT_EQ(link.error().code, Errc::bad_input) << endpoint;
    EXPECT_NE(link.error().hint.find("ipc://PATH"), std::string::npos);
  }
}

TEST(ZmqDealerTest, WithoutAFreeSocketTheBrokerIsUnreachable) {
  const Folder directory;
  const auto context = std::make_shared<zmq::context_t>(1);
  context->set(zmq::ctxopt::max_sockets, 1);
  const auto first = ZmqDealer::connect(endpoint_in(directory), context);
  ASSERT_TRUE(first);
  const auto second = ZmqDealer::connect(endpoint_in(directory), context);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, Errc::unreachable);
}

}  // namespace
}  // namespace turnstile
