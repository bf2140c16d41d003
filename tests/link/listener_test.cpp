// The listener, byte by byte, and with ZeroMQ's library at the other end.
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "link/frames.h"
#include "link/ipc_dealer.h"
#include "link/zmq_dealer.h"
#include "tests/link/listener_fixture.h"

namespace turnstile::broker {
namespace {

using ::testing::HasSubstr;

template <typename Dealer>
class ListenerAndLinkTest : public ListenerTest {};
using Dealers = ::testing::Types<ZmqDealer, IpcDealer>;
TYPED_TEST_SUITE(ListenerAndLinkTest, Dealers);

TYPED_TEST(ListenerAndLinkTest, SmallAndLargeMessagesArriveWholeInOrderBothWays) {
  this->listen();
  const auto link = std::move(*TypeParam::connect("ipc://" + this->path_));
  ASSERT_TRUE(this->until([&] {
    EXPECT_FALSE(link->receive(0ms));
    return link->send(Heartbeat{});
  }));
  std::vector<std::size_t> sizes;
  for (std::size_t i = 0; i < 60; ++i) {
    sizes.push_back(i % 3 == 0 ? 2'000'000 : i * 700);
  }
  const auto batch_with = [](std::size_t i, std::size_t bytes) {
    Batch batch;
    batch.header.producer = {"p"};
    batch.header.first = {i + 1};
    batch.header.rows = 1;
    batch.header.table = "t";
    batch.header.columns = {"a"};
    batch.header_frame = encode_batch_header(batch.header);
    batch.rows_frame = Bytes(std::string(bytes, static_cast<char>('a' + i % 26)));
    return batch;
  };
  std::size_t sent = 0;
  ASSERT_TRUE(this->until([&] {
    while (sent < sizes.size() && link->send(batch_with(sent, sizes[sent]))) {
      ++sent;
    }
    EXPECT_FALSE(link->receive(0ms));
    return this->received_.size() >= sizes.size() + 2;  // the probe and the heartbeat
  }));
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    auto message = unpacked(std::move(this->received_[i + 2].message.body)).and_then(decode);
    ASSERT_TRUE(message && std::holds_alternative<Batch>(*message)) << i;
    EXPECT_EQ(std::get<Batch>(*message).rows_frame.view(),
              batch_with(i, sizes[i]).rows_frame.view())
        << i;
  }

  const auto delivery = [&](std::size_t i) {
    Batch batch = batch_with(i, sizes[i]);
    return Message(Delivery{{i}, std::move(batch.header_frame), std::move(batch.rows_frame)});
  };
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    ASSERT_TRUE(this->listener_->send(this->received_[0].from, encode(delivery(i)), false));
  }
  this->listener_->flush();
  std::size_t got = 0;
  ASSERT_TRUE(this->until([&] {
    while (auto message = link->receive(0ms)) {
      const auto* what = std::get_if<Delivery>(&*message);
      if (what == nullptr || what->ticket != Ticket{got} ||
          what->rows_frame.view() != std::get<Delivery>(delivery(got)).rows_frame.view()) {
        ADD_FAILURE() << "delivery " << got;
        return true;
      }
      ++got;
    }
    return got == sizes.size();
  }));
}

TEST_F(ListenerTest, AMessageArrivesByteByByte) {
  listen();
  const Client client(path_);
  for (const char byte : greeting() + std::string(kReady) + "\0\5hello\2\0\0\0\0\0\0\0\2hi"s) {
    client.send({&byte, 1});
    ASSERT_TRUE(listener_->wait(stop_, 1000ms));
    while (auto received = listener_->receive()) {
      received_.push_back(std::move(*received));
    }
  }
  ASSERT_EQ(received_.size(), 2U);
  EXPECT_EQ(received_[0].message.body, "hello");
  EXPECT_EQ(received_[1].message.body, "hi");
}

TEST_F(ListenerTest, AnotherProtocolVersionOrMechanismIsDisconnected) {
  listen();
  for (const std::string& begin :
       {greeting(1), greeting(3, "PLAIN"), std::string(64, 'G'), std::string(300, '\0')}) {
    const Client client(path_);
    client.send(begin);
    EXPECT_TRUE(until([&] { return client.is_disconnected(); }));
  }
}

TEST_F(ListenerTest, AMessageBeforeTheHandshakeOrAnErrorInItEndsTheConnection) {
  listen();
  for (const std::string_view begin : {"\0\1h"sv, "\4\6\5ERROR"sv}) {
    const Client client(path_);
    client.send(greeting() + std::string(begin));
    EXPECT_TRUE(until([&] { return client.is_disconnected(); }));
  }
  EXPECT_TRUE(received_.empty());
}

TEST_F(ListenerTest, AMessageInPartsHasNoBody) {
  listen();
  const Client client(path_);
  shake_hands(client);
  client.send("\1\1a\1\1b\0\1c\0\1d"sv);
  ASSERT_TRUE(until([&] { return received_.size() == 3; }));
  EXPECT_TRUE(received_[1].message.has_parts);
  EXPECT_FALSE(received_[2].message.has_parts);
  EXPECT_EQ(received_[2].message.body, "d");
}

TEST_F(ListenerTest, AClientThatDiesWithUnsentAnswersIsForgottenAndOthersAreServed) {
  listen();
  {
    const Client dying(path_);
    shake_hands(dying);
    ASSERT_TRUE(listener_->send(received_[0].from, {Bytes(std::string(2'000'000, 'a'))}, false));
    listener_->flush();
    ASSERT_TRUE(listener_->wait(stop_, 0ms));
    dying.send("\0\1m"sv);
  }
  EXPECT_TRUE(until([&] { return listener_->allowance(received_[0].from) == nullptr; }));
  const Client other(path_);
  shake_hands(other);
}

TEST_F(ListenerTest, MessagesSentBeforeTheEndArrive) {
  listen();
  const Client client(path_);
  shake_hands(client);
  ASSERT_TRUE(listener_->send(received_[0].from, {Bytes("goodbye"s)}, true));
  listener_->flush();
  listener_->linger(100ms);
  listener_.reset();
  EXPECT_THAT(client.read_available(), HasSubstr("goodbye"));
  EXPECT_FALSE(std::filesystem::exists(path_)) << "the socket's path stays";
}

TEST_F(ListenerTest, UnsentMessagesAtTheEndArriveIfTheClientReads) {
  listen();
  const Client client(path_);
  shake_hands(client);
  const std::string large(4'000'000, 'l');
  ASSERT_TRUE(listener_->send(received_[0].from, {Bytes(large)}, false));
  listener_->flush();
  std::size_t got = 0;
  std::thread reader([&] {
    const auto deadline = steady_clock::now() + kServedWithin;
    while (got < large.size() && steady_clock::now() < deadline) {
      got += client.read_available().size();
    }
  });
  listener_->linger(kServedWithin);
  listener_.reset();
  reader.join();
  EXPECT_GT(got, large.size());
}

TEST_F(ListenerTest, AnIpv6EndpointHasBrackets) {
  const auto listening = listener_->listen("tcp://[::1]:*");
  if (!listening) {
    EXPECT_EQ(listening.error().code, Errc::unreachable);
    GTEST_SKIP() << listening.error().what;
  }
  EXPECT_TRUE(listener_->endpoint().starts_with("tcp://[::1]:")) << listener_->endpoint();
}

TEST_F(ListenerTest, ADisconnectedClientIsForgotten) {
  listen();
  {
    const Client client(path_);
    shake_hands(client);
  }
  const auto id = received_[0].from;
  EXPECT_TRUE(until([&] { return listener_->allowance(id) == nullptr; }));
  EXPECT_FALSE(listener_->send(id, {Bytes("late"s)}, true));
  EXPECT_FALSE(listener_->send(ConnectionId{0}, {Bytes("late"s)}, true));
  listener_->disconnect(id);
}

TEST_F(ListenerTest, DisconnectWhereClosesChosenConnectionsAndGivesSilentOnesNoId) {
  listen();
  const Client silent(path_);
  const Client heard(path_);
  shake_hands(heard);
  std::size_t silent_ones = 0;
  EXPECT_EQ(listener_->disconnect_where([&](std::optional<ConnectionId> id) {
    silent_ones += id ? 0U : 1U;
    return id.has_value();
  }),
            1U);
  EXPECT_EQ(silent_ones, 1U);
  EXPECT_TRUE(heard.is_disconnected());
  EXPECT_FALSE(silent.is_disconnected());
}

TEST_F(ListenerTest, AFileAtTheSocketsPathStaysUnlessItIsEmptyOrASocket) {
  std::ofstream(path_) << "another program's notes";
  const auto refused = listener_->listen("ipc://" + path_);
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().what, HasSubstr("there is a file of that name"));
  std::filesystem::resize_file(path_, 0);
  listen();
  EXPECT_TRUE(std::filesystem::is_socket(path_));
}

TEST_F(ListenerTest, ATakenPortOrAMissingHostIsNamed) {
  const auto port = listen_at_port();
  const auto other = std::move(*Listener::make(kPartialBytes));
  const auto taken = other->listen("tcp://127.0.0.1:" + std::to_string(port));
  ASSERT_FALSE(taken);
  EXPECT_EQ(taken.error().code, Errc::unreachable);
  EXPECT_THAT(taken.error().what, HasSubstr(std::to_string(port)));
  const auto no_path = other->listen("ipc://");
  ASSERT_FALSE(no_path);
  EXPECT_EQ(no_path.error().code, Errc::unreachable);
  const auto no_host = other->listen("tcp://no.such.host.invalid:0");
  ASSERT_FALSE(no_host);
  EXPECT_EQ(no_host.error().code, Errc::unreachable);
  const auto no_address = other->listen("tcp://192.0.2.1:0");
  ASSERT_FALSE(no_address);
  EXPECT_EQ(no_address.error().code, Errc::unreachable);
  for (const char* wrong : {"tcp://", "tcp://:1", "tcp://host", "tcp://host:", "udp://a:1"}) {
    const auto refused = other->listen(wrong);
    ASSERT_FALSE(refused) << wrong;
    EXPECT_EQ(refused.error().code, Errc::bad_input) << wrong;
  }
}

// ---- the socket's path

TEST_F(ListenerTest, AMissingPathIsListenedAtAgainAndConnectedClientsStay) {
  listen();
  const Client before(path_);
  shake_hands(before);
  EXPECT_EQ(listener_->path(), ListenSocket::Path::ours);
  std::filesystem::remove(path_);
  EXPECT_EQ(listener_->path(), ListenSocket::Path::gone);
  ASSERT_TRUE(listener_->listen_again());
  EXPECT_EQ(listener_->path(), ListenSocket::Path::ours);
  const Client after(path_);
  shake_hands(after);
  before.send("\0\2hi"sv);
  EXPECT_TRUE(until([&] { return received_.back().message.body == "hi"; }));
}

TEST_F(ListenerTest, AnotherFileAtThePathStays) {
  listen();
  std::filesystem::remove(path_);
  std::ofstream(path_) << "a note";
  EXPECT_EQ(listener_->path(), ListenSocket::Path::taken);
  EXPECT_FALSE(listener_->listen_again());
  listener_.reset();
  EXPECT_TRUE(std::filesystem::exists(path_));
}

}  // namespace
}  // namespace turnstile::broker
