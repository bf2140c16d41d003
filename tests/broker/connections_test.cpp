// The broker's end of its connections, byte by byte, and with ZeroMQ's library at the other.
#include "broker/connections.h"

#include <arpa/inet.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <deque>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "link/frames.h"
#include "link/ipc_dealer.h"
#include "link/zmq_dealer.h"
#include "tests/broker/folder.h"

namespace turnstile::broker {
namespace {

using namespace std::chrono_literals;
using namespace std::string_literals;
using namespace std::string_view_literals;
using std::chrono::steady_clock;
using testing::HasSubstr;

constexpr std::size_t kBegunBytes = 10'000'000;
constexpr auto kServedWithin = 10s;

std::string greeting(char version = 3, std::string_view mechanism = "NULL") {
  std::string out = "\xFF\0\0\0\0\0\0\0\1\x7F"s + version + '\0';
  out += mechanism;
  out.resize(64, '\0');
  return out;
}
constexpr auto kReady = "\4\x1C\5READY\13Socket-Type\0\0\0\6DEALER"sv;

// A client that says just what it is told to.
class Client {
 public:
  explicit Client(const std::string& path) : fd_(::socket(AF_UNIX, SOCK_STREAM, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path.data(), path.size());
    connect(reinterpret_cast<const sockaddr*>(&address), sizeof(address));
  }
  explicit Client(std::uint16_t port) : fd_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    connect(reinterpret_cast<const sockaddr*>(&address), sizeof(address));
  }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;
  ~Client() { ::close(fd_); }

  void send(std::string_view bytes) const {
    EXPECT_EQ(::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(bytes.size()));
  }
  // Waits for room. How many.
  [[nodiscard]] ssize_t send_some(std::string_view bytes) const {
    return std::max<ssize_t>(::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL), 0);
  }
  // By the other end.
  [[nodiscard]] int unread_bytes() const {
    int bytes = 0;
    EXPECT_EQ(::ioctl(fd_, SIOCOUTQ, &bytes), 0);
    return bytes;
  }
  [[nodiscard]] std::string read_what_is_there() const {
    std::array<char, 4096> bytes{};
    const ssize_t got = ::recv(fd_, bytes.data(), bytes.size(), MSG_DONTWAIT);
    return {bytes.data(), static_cast<std::size_t>(std::max<ssize_t>(got, 0))};
  }
  [[nodiscard]] bool is_left() const {
    std::array<char, 4096> bytes{};
    ssize_t got = 0;
    while ((got = ::recv(fd_, bytes.data(), bytes.size(), MSG_DONTWAIT)) > 0) {
    }
    return got == 0 || (errno != EAGAIN && errno != EWOULDBLOCK);
  }

 private:
  void connect(const sockaddr* address, socklen_t size) const {
    EXPECT_EQ(::connect(fd_, address, size), 0) << std::strerror(errno);
  }

  int fd_;
};

class ConnectionsTest : public testing::Test {
 protected:
  ~ConnectionsTest() override { ::close(stop_); }

  void listen() { ASSERT_TRUE(connections_->listen("ipc://" + path_)); }
  std::uint16_t listen_at_port() {
    EXPECT_TRUE(connections_->listen("tcp://127.0.0.1:*"));
    const std::string& endpoint = connections_->endpoint();
    return static_cast<std::uint16_t>(std::stoi(endpoint.substr(endpoint.rfind(':') + 1)));
  }

  // Serves until it is so, and keeps what comes.
  template <typename Done>
  bool until(const Done& done) {
    const auto deadline = steady_clock::now() + kServedWithin;
    while (!done()) {
      EXPECT_TRUE(connections_->wait(stop_, 5ms));
      while (auto received = connections_->receive()) {
        received_.push_back(std::move(*received));
      }
      if (steady_clock::now() > deadline) {
        return false;
      }
    }
    return true;
  }
  // One that is ready, and whose hello was read.
  void shake_hands(const Client& client) {
    const std::size_t before = received_.size();
    client.send(greeting() + std::string(kReady) + "\0\1h"s);
    ASSERT_TRUE(until([&] { return received_.size() > before; }));
  }
  bool reads(const Client& client, std::string_view wanted) {
    std::string all;
    return until([&] { return (all += client.read_what_is_there()).find(wanted) != all.npos; });
  }

  Folder folder_;
  std::string path_ = (folder_ / "s").string();
  int stop_ = ::eventfd(0, EFD_CLOEXEC);
  std::unique_ptr<Connections> connections_ = std::move(*Connections::make(kBegunBytes));
  std::vector<Connections::Received> received_;
};

template <typename Dealer>
class ConnectionsAndLinkTest : public ConnectionsTest {};
using Dealers = testing::Types<ZmqDealer, IpcDealer>;
TYPED_TEST_SUITE(ConnectionsAndLinkTest, Dealers);

TYPED_TEST(ConnectionsAndLinkTest, SmallAndLargeMessagesArriveWholeInOrderBothWays) {
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
    ASSERT_TRUE(this->connections_->send(this->received_[0].route, encode(delivery(i)), false));
  }
  this->connections_->flush();
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

TEST_F(ConnectionsTest, ByteByByteItIsTheSameMessage) {
  listen();
  const Client client(path_);
  for (const char byte : greeting() + std::string(kReady) + "\0\5hello\2\0\0\0\0\0\0\0\2hi"s) {
    client.send({&byte, 1});
    ASSERT_TRUE(connections_->wait(stop_, 1000ms));
    while (auto received = connections_->receive()) {
      received_.push_back(std::move(*received));
    }
  }
  ASSERT_EQ(received_.size(), 2U);
  EXPECT_EQ(received_[0].message.body, "hello");
  EXPECT_EQ(received_[1].message.body, "hi");
}

TEST_F(ConnectionsTest, WhatIsExpectedSoonIsReceivedSoonOrLate) {
  listen();
  const Client client(path_);
  shake_hands(client);
  for (int i = 0; i < 100; ++i) {  // half of them come while nobody waits yet
    if (i % 2 == 0) {
      client.send("\0\2hi"sv);
    }
    ASSERT_TRUE(connections_->wait(stop_, 1ms, Connections::Expected::soon));
    if (i % 2 == 1) {
      client.send("\0\2hi"sv);
      ASSERT_TRUE(connections_->wait(stop_, 1000ms, Connections::Expected::soon));
    }
    const auto received = connections_->receive();
    ASSERT_TRUE(received);
    EXPECT_EQ(received->message.body, "hi");
    EXPECT_FALSE(connections_->receive());
  }
}

TEST_F(ConnectionsTest, AnotherProtocolVersionOrMechanismIsLeft) {
  listen();
  for (const std::string& begin :
       {greeting(1), greeting(3, "PLAIN"), std::string(64, 'G'), std::string(300, '\0')}) {
    const Client client(path_);
    client.send(begin);
    EXPECT_TRUE(until([&] { return client.is_left(); }));
  }
}

TEST_F(ConnectionsTest, AMessageBeforeTheHandshakeOrAnErrorInItEndsIt) {
  listen();
  for (const std::string_view begin : {"\0\1h"sv, "\4\6\5ERROR"sv}) {
    const Client client(path_);
    client.send(greeting() + std::string(begin));
    EXPECT_TRUE(until([&] { return client.is_left(); }));
  }
  EXPECT_TRUE(received_.empty());
}

TEST_F(ConnectionsTest, AFrameLargerThanAnyMessageEndsItBeforeItsFirstByte) {
  listen();
  const Client client(path_);
  shake_hands(client);
  client.send("\2\0\0\0\0\1\0\0\0"sv);  // 16 MiB
  EXPECT_TRUE(until([&] { return client.is_left(); }));
}

TEST_F(ConnectionsTest, OfAMessageInPartsOnlyThatIsTold) {
  listen();
  const Client client(path_);
  shake_hands(client);
  client.send("\1\1a\1\1b\0\1c\0\1d"sv);
  ASSERT_TRUE(until([&] { return received_.size() == 3; }));
  EXPECT_TRUE(received_[1].message.has_parts);
  EXPECT_FALSE(received_[2].message.has_parts);
  EXPECT_EQ(received_[2].message.body, "d");
}

TEST_F(ConnectionsTest, APingIsAnsweredWithItsContextAndOneWhoReadsNoAnswersGetsNoMore) {
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
    const std::size_t now = client.read_what_is_there().size();
    answers += now;
    return answers > 0 && now == 0;
  }));
  EXPECT_LT(answers, 20 * 10'000 * 7U) << "all were answered";
}

TEST_F(ConnectionsTest, OneThatNeverFinishesTheHandshakeIsLeftAfterAWhileAndOneThatDidIsNot) {
  listen();
  const Client slow(path_);
  const Client silent(path_);
  slow.send(greeting());
  const Client quick(path_);
  shake_hands(quick);
  connections_->tick(steady_clock::now());
  EXPECT_FALSE(slow.is_left() || silent.is_left());
  connections_->tick(steady_clock::now() + 6s);
  EXPECT_TRUE(slow.is_left());
  EXPECT_TRUE(silent.is_left());
  EXPECT_FALSE(quick.is_left());
}

TEST_F(ConnectionsTest, OverTcpASilentOneIsAskedForASignOfLifeAndLeftWithoutOne) {
  const Client client(listen_at_port());
  shake_hands(client);
  connections_->tick(steady_clock::now() + 3s);
  EXPECT_TRUE(reads(client, "\4\7\4PING\0\0"sv));
  client.send("\4\5\4PONG"sv);
  ASSERT_TRUE(connections_->wait(stop_, 1000ms));
  EXPECT_FALSE(connections_->receive());
  EXPECT_FALSE(client.is_left());
  connections_->tick(steady_clock::now() + 20s);
  EXPECT_TRUE(client.is_left());
}

TEST_F(ConnectionsTest, OverIpcASilentOneIsLeftAlone) {
  listen();
  const Client client(path_);
  shake_hands(client);
  connections_->tick(steady_clock::now() + 1h);
  EXPECT_FALSE(client.is_left());
}

TEST_F(ConnectionsTest, WhoReadsNothingIsCutWhenAMebibyteWaitsAndAConsumerIsNot) {
  listen();
  const Client deaf(path_);
  shake_hands(deaf);
  const auto route = received_[0].route;
  const Frames answer{Bytes(std::string(100'000, 'a'))};
  int sent = 0;
  while (sent < 100 && connections_->send(route, answer, false)) {
    connections_->flush();
    ++sent;
  }
  EXPECT_EQ(sent, 100);
  while (sent < 200 && connections_->send(route, answer, true)) {
    connections_->flush();
    ++sent;
  }
  EXPECT_LT(sent, 112);
  EXPECT_TRUE(deaf.is_left());
  EXPECT_FALSE(connections_->send(route, answer, true)) << "nobody is there";
  EXPECT_EQ(connections_->allowance(route), nullptr);
}

TEST_F(ConnectionsTest, WhoReadsLittleOfMuchIsCutBeforeItFillsMemory) {
  listen();
  const Client slow(path_);
  shake_hands(slow);
  const auto route = received_[0].route;
  const Frames answer{Bytes(std::string(100'000, 'a'))};
  int sent = 0;
  while (sent < 1000 && connections_->send(route, answer, true)) {
    connections_->flush();
    static_cast<void>(slow.read_what_is_there());
    ++sent;
  }
  EXPECT_LT(sent, 200) << "of 100 MB, most of which nobody read";
  EXPECT_EQ(connections_->allowance(route), nullptr);
}

TEST_F(ConnectionsTest, WhoDiesWhileAnswersWaitIsForgottenAndOthersAreServed) {
  listen();
  {
    const Client dying(path_);
    shake_hands(dying);
    ASSERT_TRUE(
        connections_->send(received_[0].route, {Bytes(std::string(2'000'000, 'a'))}, false));
    connections_->flush();
    ASSERT_TRUE(connections_->wait(stop_, 0ms));
    dying.send("\0\1m"sv);
  }
  EXPECT_TRUE(until([&] { return connections_->allowance(received_[0].route) == nullptr; }));
  const Client other(path_);
  shake_hands(other);
}

TEST_F(ConnectionsTest, WhatWasSentBeforeTheEndArrives) {
  listen();
  const Client client(path_);
  shake_hands(client);
  ASSERT_TRUE(connections_->send(received_[0].route, {Bytes("goodbye"s)}, true));
  connections_->flush();
  connections_->linger(100ms);
  connections_.reset();
  EXPECT_THAT(client.read_what_is_there(), HasSubstr("goodbye"));
  EXPECT_FALSE(std::filesystem::exists(path_)) << "the socket's path stays";
}

TEST_F(ConnectionsTest, WhatIsStillToBeSentAtTheEndArrivesIfItIsRead) {
  listen();
  const Client client(path_);
  shake_hands(client);
  const std::string large(4'000'000, 'l');
  ASSERT_TRUE(connections_->send(received_[0].route, {Bytes(large)}, false));
  connections_->flush();
  std::size_t got = 0;
  std::thread reader([&] {
    const auto deadline = steady_clock::now() + kServedWithin;
    while (got < large.size() && steady_clock::now() < deadline) {
      got += client.read_what_is_there().size();
    }
  });
  connections_->linger(kServedWithin);
  connections_.reset();
  reader.join();
  EXPECT_GT(got, large.size());
}

TEST_F(ConnectionsTest, WhoReadsNothingAtTheEndIsNotWaitedForWithoutEnd) {
  listen();
  const Client deaf(path_);
  shake_hands(deaf);
  ASSERT_TRUE(connections_->send(received_[0].route, {Bytes(std::string(4'000'000, 'l'))}, false));
  connections_->flush();
  const auto begun = steady_clock::now();
  connections_->linger(20ms);
  EXPECT_GE(steady_clock::now() - begun, 20ms);
  EXPECT_LT(steady_clock::now() - begun, kServedWithin);
}

TEST_F(ConnectionsTest, OverIpv6TheEndpointSaysSo) {
  const auto listening = connections_->listen("tcp://[::1]:*");
  if (!listening) {
    EXPECT_EQ(listening.error().code, Errc::unreachable);
    GTEST_SKIP() << listening.error().what;
  }
  EXPECT_TRUE(connections_->endpoint().starts_with("tcp://[::1]:")) << connections_->endpoint();
}

// Promise 6.
TEST_F(ConnectionsTest, OfTooManyMessagesThatAreBegunTheOneBegunFirstIsGivenUp) {
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
  EXPECT_TRUE(
      until([&] { return clients[0].is_left() && clients[1].is_left() && clients[2].is_left(); }));
  EXPECT_FALSE(clients[3].is_left() || clients[4].is_left());
  send_piecemeal(clients[4], 1'000'000);
  ASSERT_EQ(received_.size(), 6U);
  EXPECT_EQ(received_.back().message.body.size(), 5'000'000U);
}

TEST_F(ConnectionsTest, OneWhoLeavesIsForgotten) {
  listen();
  {
    const Client client(path_);
    shake_hands(client);
  }
  const auto route = received_[0].route;
  EXPECT_TRUE(until([&] { return connections_->allowance(route) == nullptr; }));
  EXPECT_FALSE(connections_->send(route, {Bytes("late"s)}, true));
  EXPECT_FALSE(connections_->send("no route", {Bytes("late"s)}, true));
  EXPECT_FALSE(connections_->send("no route of this kind", {Bytes("late"s)}, true));
  connections_->cut(route);
}

TEST_F(ConnectionsTest, ThoseThatAreWantedAreCutAndOnlyThoseWithoutAMessageHaveNoRoute) {
  listen();
  const Client silent(path_);
  const Client heard(path_);
  shake_hands(heard);
  std::size_t without_route = 0;
  EXPECT_EQ(connections_->cut_where([&](const Connections::Route* route) {
    without_route += route == nullptr ? 1U : 0U;
    return route != nullptr;
  }),
            1U);
  EXPECT_EQ(without_route, 1U);
  EXPECT_TRUE(heard.is_left());
  EXPECT_FALSE(silent.is_left());
}

TEST_F(ConnectionsTest, AFileOfTheSocketsNameIsLeftAloneUnlessItIsEmptyOrASocket) {
  std::ofstream(path_) << "somebody's notes";
  const auto refused = connections_->listen("ipc://" + path_);
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().what, HasSubstr("there is a file of that name"));
  std::filesystem::resize_file(path_, 0);
  listen();
  EXPECT_TRUE(std::filesystem::is_socket(path_));
}

TEST_F(ConnectionsTest, APortThatIsTakenOrAHostThatIsNotThereIsNamed) {
  const auto port = listen_at_port();
  const auto other = std::move(*Connections::make(kBegunBytes));
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

TEST_F(ConnectionsTest, WithoutAFreeDescriptorItSaysSoAndLetsTheNextInWhenThereIsOne) {
  listen();
  const Client waiting(path_);
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  const int next = ::dup(stop_);
  ::close(next);
  const rlimit none{static_cast<rlim_t>(next), before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);
  EXPECT_TRUE(until([&] { return connections_->lacks_descriptors(); }));
  connections_->tick(steady_clock::now());
  EXPECT_TRUE(connections_->lacks_descriptors());
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
  connections_->tick(steady_clock::now());
  EXPECT_FALSE(connections_->lacks_descriptors());
  shake_hands(waiting);
}

TEST_F(ConnectionsTest, TheLastDescriptorsAreLeftToTheJournal) {
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
  EXPECT_TRUE(until([&] { return connections_->lacks_descriptors(); }));
  for (int i = 0; i < 8; ++i) {
    taken.push_back(::dup(stop_));
    EXPECT_GE(taken.back(), 0) << i;
  }
  for (const int fd : taken) {
    ::close(fd);
  }
  connections_->tick(steady_clock::now());
  EXPECT_FALSE(connections_->lacks_descriptors());
  shake_hands(waiting);
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
}

// The beginning of a large frame.
std::string head_of(std::size_t bytes) {
  std::string head = "\2\0\0\0\0"s;
  for (const unsigned shift : {24U, 16U, 8U, 0U}) {
    head += static_cast<char>(bytes >> shift);
  }
  return head;
}

TEST_F(ConnectionsTest, AMessageOfWhichMuchIsMissingRestsBetweenItsPiecesAndArrivesWhole) {
  constexpr std::size_t kLarge = 4'000'000;
  constexpr auto kNoFaster = 11ms;  // at 300 MiB/s but for the last 256 KiB
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

TEST_F(ConnectionsTest, WhoLeavesInTheMiddleOfALargeMessageIsForgotten) {
  listen();
  for (const bool with_reset : {false, true}) {
    SCOPED_TRACE(with_reset);
    {
      const Client client(path_);
      shake_hands(client);
      client.send(head_of(4'000'000));
      client.send(std::string(100'000, 'm'));
      if (with_reset) {  // what it did not read makes its end a reset
        EXPECT_TRUE(connections_->send(received_.back().route, {Bytes("answer"s)}, false));
        connections_->flush();
      }
    }
    const auto route = received_.back().route;
    EXPECT_TRUE(until([&] { return connections_->allowance(route) == nullptr; }));
  }
  EXPECT_EQ(connections_->cut_where([](const auto* /*route*/) { return true; }), 0U);
}

TEST_F(ConnectionsTest, OneOfEachInTurnHoweverMuchOneHasSent) {
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
