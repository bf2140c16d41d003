// What one client can take from the others: time, memory, descriptors.
#include <sys/resource.h>

#include <algorithm>
#include <deque>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "tests/link/listener_fixture.h"

namespace turnstile::broker {
namespace {

// The beginning of a large frame.
std::string head_of(std::size_t bytes) {
  std::string head = "\2\0\0\0\0"s;
  for (const unsigned shift : {24U, 16U, 8U, 0U}) {
    head += static_cast<char>(bytes >> shift);
  }
  return head;
}

TEST_F(ListenerTest, AFrameLargerThanAnyMessageIsRefusedBeforeItsFirstByte) {
  listen();
  const Client client(path_);
  shake_hands(client);
  client.send("\2\0\0\0\0\1\0\0\0"sv);  // 16 MiB
  EXPECT_TRUE(until([&] { return received_.back().message.is_too_large; }));
}

TEST_F(ListenerTest, APingIsAnsweredWithItsContextAndAClientThatReadsNothingGetsNoMore) {
  listen();
  const Client client(path_);
  shake_hands(client);
  client.send("\4\x9\4PING\0\0ab"sv);
  EXPECT_TRUE(reads(client, "\4\7\4PONGab"sv));

  std::string many;
  for (int i = 0; i < 10'000; ++i) {
    many += "\4\7\4PING\0\0"sv;
  }
  std::string one = many.substr(0, 9);
  for (int i = 0; i < 20; ++i) {
    client.send(many);
    client.send("\0\1m"sv);
    ASSERT_TRUE(until([&] { return received_.size() == static_cast<std::size_t>(i) + 2; }));
  }
  std::size_t answers = 0;
  shake_hands(Client(path_));  // others are served
  ASSERT_TRUE(until([&] {
    const std::size_t now = client.read_available().size();
    answers += now;
    return answers > 0 && now == 0;
  }));
  EXPECT_LT(answers, 20 * 10'000 * 7U) << "all were answered";
}

TEST_F(ListenerTest, AnUnfinishedHandshakeIsDisconnectedAfterAWhile) {
  listen();
  const Client slow(path_);
  const Client silent(path_);
  slow.send(greeting());
  const Client quick(path_);
  shake_hands(quick);
  listener_->tick(steady_clock::now());
  EXPECT_FALSE(slow.is_disconnected() || silent.is_disconnected());
  listener_->tick(steady_clock::now() + 6s);
  EXPECT_TRUE(slow.is_disconnected());
  EXPECT_TRUE(silent.is_disconnected());
  EXPECT_FALSE(quick.is_disconnected());
}

TEST_F(ListenerTest, ASilentTcpClientIsPingedAndDisconnectedWithoutAnAnswer) {
  const Client client(listen_at_port());
  shake_hands(client);
  listener_->tick(steady_clock::now() + 3s);
  EXPECT_TRUE(reads(client, "\4\7\4PING\0\0"sv));
  client.send("\4\5\4PONG"sv);
  ASSERT_TRUE(listener_->wait(stop_, 1000ms));
  EXPECT_FALSE(listener_->receive());
  EXPECT_FALSE(client.is_disconnected());
  listener_->tick(steady_clock::now() + 20s);
  EXPECT_TRUE(client.is_disconnected());
}

TEST_F(ListenerTest, AConnectionWithoutHelloIsClosedAfterAWhile) {
  listen();
  const Client client(path_);
  shake_hands(client);
  listener_->tick(steady_clock::now() + 29s);
  EXPECT_FALSE(client.is_disconnected());
  listener_->tick(steady_clock::now() + 31s);
  EXPECT_TRUE(client.is_disconnected());
}

TEST_F(ListenerTest, TheSystemNamesTheUserOfAnIpcConnection) {
  listen();
  const Client client(path_);
  shake_hands(client);
  EXPECT_EQ(listener_->user(received_.back().from), User(::geteuid()));
}

TEST_F(ListenerTest, TheUserOfATcpConnectionIsUnknown) {
  const Client client(listen_at_port());
  shake_hands(client);
  EXPECT_EQ(listener_->user(received_.back().from), User());
}

TEST_F(ListenerTest, ATooLargeMessageIsReportedOnceAndItsConnectionClosedAfterTheAnswer) {
  listen();
  const Client client(path_);
  shake_hands(client);
  std::string head = "\2"s;
  for (const unsigned shift : {56U, 48U, 40U, 32U, 24U, 16U, 8U, 0U}) {
    head += static_cast<char>(std::uint64_t{7'000'000} >> shift);
  }
  const std::size_t before = received_.size();
  client.send(head + std::string(1000, 'x'));
  ASSERT_TRUE(until([&] { return received_.size() > before; }));
  EXPECT_TRUE(received_.back().message.is_too_large);
  const auto id = received_.back().from;
  EXPECT_TRUE(listener_->send(id, {Bytes(std::string("too large"))}, true));
  listener_->flush();
  listener_->disconnect_soon(id, steady_clock::now());
  EXPECT_TRUE(reads(client, "too large"));
  EXPECT_EQ(received_.size(), before + 1);
  EXPECT_FALSE(client.is_disconnected());
  listener_->tick(steady_clock::now() + 2s);
  EXPECT_TRUE(client.is_disconnected());
}

TEST_F(ListenerTest, ASilentIpcClientStaysConnected) {
  listen();
  const Client client(path_);
  shake_hands(client);
  listener_->note_hello(received_.back().from);
  listener_->tick(steady_clock::now() + 1h);
  EXPECT_FALSE(client.is_disconnected());
}

TEST_F(ListenerTest, AClientThatReadsNothingIsDisconnectedAtOneMebibyteAndAConsumerIsNot) {
  listen();
  const Client deaf(path_);
  shake_hands(deaf);
  const auto id = received_[0].from;
  const Frames answer{Bytes(std::string(100'000, 'a'))};
  int sent = 0;
  while (sent < 100 && listener_->send(id, answer, false)) {
    listener_->flush();
    ++sent;
  }
  EXPECT_EQ(sent, 100);
  while (sent < 200 && listener_->send(id, answer, true)) {
    listener_->flush();
    ++sent;
  }
  EXPECT_LT(sent, 112);
  EXPECT_TRUE(deaf.is_disconnected());
  EXPECT_FALSE(listener_->send(id, answer, true)) << "it is disconnected";
  EXPECT_EQ(listener_->allowance(id), nullptr);
}

TEST_F(ListenerTest, ASlowReaderIsDisconnectedBeforeItFillsMemory) {
  listen();
  const Client slow(path_);
  shake_hands(slow);
  const auto id = received_[0].from;
  const Frames answer{Bytes(std::string(100'000, 'a'))};
  int sent = 0;
  while (sent < 1000 && listener_->send(id, answer, true)) {
    listener_->flush();
    static_cast<void>(slow.read_available());
    ++sent;
  }
  EXPECT_LT(sent, 200) << "of 100 MB, mostly unread";
  EXPECT_EQ(listener_->allowance(id), nullptr);
}

TEST_F(ListenerTest, LingeringForAClientThatReadsNothingEnds) {
  listen();
  const Client deaf(path_);
  shake_hands(deaf);
  ASSERT_TRUE(listener_->send(received_[0].from, {Bytes(std::string(4'000'000, 'l'))}, false));
  listener_->flush();
  const auto begun = steady_clock::now();
  listener_->linger(20ms);
  EXPECT_GE(steady_clock::now() - begun, 20ms);
  EXPECT_LT(steady_clock::now() - begun, kServedWithin);
}

// Promise 6.
TEST_F(ListenerTest, TheOldestOfTooManyPartialMessagesIsDropped) {
  listen();
  const std::string head("\2\0\0\0\0\0\x4C\x4B\x40", 9);  // 5,000,000 bytes
  // In pieces that the socket takes, each of which is read before the next.
  const auto send_piecemeal = [&](const Client& client, std::size_t bytes) {
    const std::string piece(50'000, 'm');
    for (std::size_t at = 0; at < bytes; at += piece.size()) {
      client.send(piece);
      ASSERT_TRUE(until([&] { return client.unread_bytes() == 0; }));
    }
  };
  std::deque<Client> clients;
  for (int i = 0; i < 5; ++i) {
    const Client& client = clients.emplace_back(path_);
    shake_hands(client);
    client.send(head);
    send_piecemeal(client, 4'000'000);
  }
  EXPECT_TRUE(until([&] {
    return clients[0].is_disconnected() && clients[1].is_disconnected() &&
           clients[2].is_disconnected();
  }));
  EXPECT_FALSE(clients[3].is_disconnected() || clients[4].is_disconnected());
  send_piecemeal(clients[4], 1'000'000);
  ASSERT_EQ(received_.size(), 6U);
  EXPECT_EQ(received_.back().message.body.size(), 5'000'000U);
}

TEST_F(ListenerTest, WithoutAFreeDescriptorItSaysSoAndAcceptsAgainLater) {
  listen();
  const Client waiting(path_);
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  const int next = ::dup(stop_);
  ::close(next);
  const rlimit none{static_cast<rlim_t>(next), before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);
  EXPECT_TRUE(until([&] { return listener_->lacks_descriptors(); }));
  listener_->tick(steady_clock::now());
  EXPECT_TRUE(listener_->lacks_descriptors());
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
  listener_->tick(steady_clock::now());
  EXPECT_FALSE(listener_->lacks_descriptors());
  shake_hands(waiting);
}

TEST_F(ListenerTest, TheLastDescriptorsAreReservedForTheJournal) {
  listen();
  const Client waiting(path_);
  std::vector<int> taken;
  for (int i = 0; i < 100; ++i) {
    taken.push_back(::dup(stop_));
  }
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  const rlimit few{static_cast<rlim_t>(taken.back() + 9), before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &few), 0);
  EXPECT_TRUE(until([&] { return listener_->lacks_descriptors(); }));
  for (int i = 0; i < 8; ++i) {
    taken.push_back(::dup(stop_));
    EXPECT_GE(taken.back(), 0) << i;
  }
  for (const int fd : taken) {
    ::close(fd);
  }
  listener_->tick(steady_clock::now());
  EXPECT_FALSE(listener_->lacks_descriptors());
  shake_hands(waiting);
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
}

TEST_F(ListenerTest, ALargePartialMessageIsThrottledAndArrivesWhole) {
  constexpr std::size_t kLarge = 4'000'000;
  constexpr auto kNoFaster = 11ms;  // at 300 MiB/s, except the last 256 KiB
  listen();
  const Client greedy(path_);
  const Client modest(path_);
  shake_hands(greedy);
  shake_hands(modest);
  received_.clear();
  std::string large = head_of(kLarge);
  for (std::size_t i = 0; i < kLarge; ++i) {
    large += static_cast<char>(i % 251);
  }
  const auto begun = steady_clock::now();
  std::thread sender([&] {
    for (std::size_t at = 0; at < large.size();) {
      at += static_cast<std::size_t>(greedy.send_some(std::string_view(large).substr(at)));
    }
  });
  modest.send("\0\1m"sv);
  EXPECT_TRUE(until([&] { return received_.size() == 2; }));
  EXPECT_GE(steady_clock::now() - begun, kNoFaster);
  sender.join();
  ASSERT_EQ(received_.size(), 2U);
  EXPECT_EQ(received_[0].message.body, "m");
  EXPECT_EQ(received_[1].message.body, large.substr(9));
}

TEST_F(ListenerTest, AClientThatDisconnectsInTheMiddleOfALargeMessageIsForgotten) {
  listen();
  for (const bool with_reset : {false, true}) {
    SCOPED_TRACE(with_reset);
    {
      const Client client(path_);
      shake_hands(client);
      client.send(head_of(4'000'000));
      client.send(std::string(100'000, 'm'));
      if (with_reset) {  // unread bytes turn its end into a reset
        EXPECT_TRUE(listener_->send(received_.back().from, {Bytes("answer"s)}, false));
        listener_->flush();
      }
    }
    const auto id = received_.back().from;
    EXPECT_TRUE(until([&] { return listener_->allowance(id) == nullptr; }));
  }
  EXPECT_EQ(listener_->disconnect_where([](auto /*id*/) { return true; }), 0U);
}

TEST_F(ListenerTest, ConnectionsTakeTurnsHoweverMuchOneHasSent) {
  listen();
  const Client greedy(path_);
  const Client modest(path_);
  shake_hands(greedy);
  shake_hands(modest);
  std::string many;
  for (int i = 0; i < 1000; ++i) {
    many += "\0\1g"sv;
  }
  greedy.send(many);
  modest.send("\0\1m"sv);
  ASSERT_TRUE(until([&] { return received_.size() == 1003; }));
  const auto of_modest = std::find_if(received_.begin() + 2, received_.end(),
                                      [](const auto& each) { return each.message.body == "m"; });
  EXPECT_LE(of_modest - received_.begin(), 2 + 2);
}

}  // namespace
}  // namespace turnstile::broker
