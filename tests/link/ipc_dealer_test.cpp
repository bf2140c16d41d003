#include "link/ipc_dealer.h"

#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "link/frames.h"
#include "tests/support/folder.h"
#include "tests/support/sanitized.h"

namespace turnstile {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;
using namespace std::string_view_literals;
using namespace std::string_literals;

constexpr milliseconds kPeerDeadline{10'000};

std::string greeting(std::string_view mechanism = "NULL") {
  std::string out = "\xFF\0\0\0\0\0\0\0\1\x7F\3\1"s;
  out += mechanism;
  out.resize(64, '\0');
  return out;
}

std::string frame(unsigned char flags, std::string_view body) {
  std::string out;
  if (body.size() > 255) {
    out += static_cast<char>(flags | 2U);
    for (int shift = 56; shift >= 0; shift -= 8) {
      out += static_cast<char>(body.size() >> shift);
    }
  } else {
    out += static_cast<char>(flags);
    out += static_cast<char>(body.size());
  }
  return out.append(body);
}

std::string ready() {
  return frame(4, "\5READY\13Socket-Type\0\0\0\6ROUTER"sv);
}

std::string message(const Message& message) {
  std::string body;
  body = packed(encode(message)).to_string();
  return frame(0, body);
}

// The other end, byte by byte.
class Peer {
 public:
  explicit Peer(const std::filesystem::path& path)
      : listening_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path.c_str(), sizeof(address.sun_path) - 1);
    EXPECT_EQ(::bind(listening_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
    EXPECT_EQ(::listen(listening_, 8), 0);
  }
  Peer(const Peer&) = delete;
  Peer& operator=(const Peer&) = delete;
  ~Peer() {
    hang_up();
    ::close(listening_);
  }

  // Accepts, while the link tries to connect.
  bool accept(IpcDealer& link) {
    return until(link, [&] { return is_readable(listening_); }) &&
           (fd_ = ::accept4(listening_, nullptr, nullptr, SOCK_CLOEXEC)) >= 0;
  }
  void send(std::string_view bytes) {
    EXPECT_EQ(::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(bytes.size()));
  }
  std::string read(std::size_t bytes) const {
    std::string out(bytes, '\0');
    EXPECT_EQ(::recv(fd_, out.data(), bytes, MSG_WAITALL), static_cast<ssize_t>(bytes));
    return out;
  }
  // The link has closed its end.
  bool is_disconnected(IpcDealer& link) {
    std::array<char, 4096> rest{};
    return until(link, [&] {
      return is_readable(fd_) && ::recv(fd_, rest.data(), rest.size(), MSG_DONTWAIT) <= 0;
    });
  }
  void hang_up() {
    if (fd_ >= 0) {
      ::close(std::exchange(fd_, -1));
    }
  }

 private:
  static bool is_readable(int fd) {
    pollfd item{fd, POLLIN, 0};
    return ::poll(&item, 1, 0) == 1;
  }
  template <typename Done>
  static bool until(IpcDealer& link, const Done& done) {
    const auto deadline = steady_clock::now() + kPeerDeadline;
    while (!done()) {
      EXPECT_FALSE(link.receive(milliseconds(1)));
      if (steady_clock::now() > deadline) {
        return false;
      }
    }
    return true;
  }

  int listening_;
  int fd_ = -1;
};

class IpcDealerTest : public ::testing::Test {
 protected:
  // A link after the handshake.
  void shake_hands() {
    ASSERT_TRUE(peer_.accept(*link_));
    peer_.send(greeting() + ready());
    ASSERT_EQ(peer_.read(64), greeting().replace(11, 1, 1, '\0'));
    ASSERT_FALSE(link_->receive(milliseconds(0)));
    ASSERT_EQ(peer_.read(43), "\4\x29\5READY\13Socket-Type\0\0\0\6DEALER\10Identity\0\0\0\0"sv);
    ASSERT_EQ(peer_.read(2), "\0\0"sv) << "the empty message that announces it";
  }

  Folder directory_;
  Peer peer_{directory_.path() / "s"};
  std::unique_ptr<IpcDealer> link_ =
      std::move(*IpcDealer::connect("ipc://" + (directory_.path() / "s").string()));
};

TEST_F(IpcDealerTest, SendsItsTypeAndNoRoutingIdAndAnnouncesItselfWhenThePeerIsReady) {
  shake_hands();
}

TEST_F(IpcDealerTest, NothingIsSentBeforeThePeerIsReady) {
  ASSERT_TRUE(peer_.accept(*link_));
  EXPECT_FALSE(link_->send(Heartbeat{}));
  peer_.send(greeting());
  EXPECT_FALSE(link_->receive(milliseconds(0)));
  EXPECT_FALSE(link_->send(Heartbeat{}));
  peer_.send(ready());
  EXPECT_FALSE(link_->receive(milliseconds(0)));
  EXPECT_TRUE(link_->send(Heartbeat{}));
}

TEST_F(IpcDealerTest, APeerWithAnotherMechanismOrVersionIsDisconnectedAndRetried) {
  std::string old = greeting();
  old[10] = 2;
  for (const std::string& first : {greeting("CURVE"), old, std::string(64, 'x')}) {
    ASSERT_TRUE(peer_.accept(*link_));
    peer_.send(first);
    EXPECT_TRUE(peer_.is_disconnected(*link_));
    peer_.hang_up();
  }
  shake_hands();
}

TEST_F(IpcDealerTest, AnErrorOrAMessageInPlaceOfReadyEndsTheConnection) {
  for (const std::string& first : {frame(4, "\5ERROR\4busy"), message(Stored{Sequence{1}})}) {
    ASSERT_TRUE(peer_.accept(*link_));
    peer_.send(greeting() + first);
    EXPECT_TRUE(peer_.is_disconnected(*link_));
    peer_.hang_up();
  }
}

TEST_F(IpcDealerTest, AFrameLargerThanAnyMessageEndsTheConnectionBeforeItIsRead) {
  shake_hands();
  peer_.send("\2\0\0\0\0\x7F\xFF\xFF\xFF"sv);
  EXPECT_TRUE(peer_.is_disconnected(*link_));
}

TEST_F(IpcDealerTest, CommandsBetweenMessagesAreSkipped) {
  shake_hands();
  peer_.send(frame(4, "\4PING\0\0"sv) + message(Stored{Sequence{3}}));
  const auto got = link_->receive(kPeerDeadline);
  ASSERT_TRUE(got);
  EXPECT_EQ(std::get<Stored>(*got).through, Sequence{3});
  EXPECT_EQ(link_->dropped(), 0U);
}

TEST_F(IpcDealerTest, MessagesThatCameTogetherAreReceivedWithoutAnotherRead) {
  shake_hands();
  peer_.send(message(Stored{Sequence{1}}) + message(Stored{Sequence{2}}));
  ASSERT_TRUE(link_->receive(kPeerDeadline));
  peer_.send(message(Stored{Sequence{3}}));
  const auto second = link_->receive_more();
  ASSERT_TRUE(second);
  EXPECT_EQ(std::get<Stored>(*second).through, Sequence{2});
  EXPECT_FALSE(link_->receive_more());
  const auto third = link_->receive(kPeerDeadline);
  ASSERT_TRUE(third);
  EXPECT_EQ(std::get<Stored>(*third).through, Sequence{3});
}

TEST_F(IpcDealerTest, AMissingAnswerIsWaitedForAsleep) {
  const auto processor_time = [] {
    timespec used{};
    ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
    return std::chrono::seconds(used.tv_sec) + std::chrono::nanoseconds(used.tv_nsec);
  };
  shake_hands();
  for (std::uint64_t i = 1; i < 100; ++i) {  // these do come, immediately
    ASSERT_TRUE(link_->send(Heartbeat{}));
    peer_.send(message(Stored{Sequence{i}}));
    ASSERT_TRUE(link_->receive(kPeerDeadline));
  }
  ASSERT_TRUE(link_->send(Heartbeat{}));
  const auto before = processor_time();
  EXPECT_FALSE(link_->receive(milliseconds(500)));
  EXPECT_LT(processor_time() - before, milliseconds(250));
}

TEST_F(IpcDealerTest, ALinkReconnectsAfterAHangUpInTheMiddleOfAMessage) {
  shake_hands();
  peer_.send(message(Stored{Sequence{3}}).substr(0, 5));
  EXPECT_FALSE(link_->receive(milliseconds(0)));
  peer_.hang_up();
  shake_hands();
  peer_.send(message(Stored{Sequence{4}}));
  const auto got = link_->receive(kPeerDeadline);
  ASSERT_TRUE(got);
  EXPECT_EQ(std::get<Stored>(*got).through, Sequence{4});
}

TEST_F(IpcDealerTest, AStreamSplitAnywhereGivesTheSameMessages) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 dice(seed);
  Refusal long_one;
  long_one.text.assign(300, 'x');
  std::string stream = greeting() + ready();
  for (std::uint64_t i = 1; i <= 20; ++i) {
    stream += message(Stored{Sequence{i}}) + message(long_one);
  }
  ASSERT_TRUE(peer_.accept(*link_));
  std::uint64_t stored = 0;
  std::uint64_t refusals = 0;
  const auto take_all = [&] {
    while (const auto got = link_->receive(milliseconds(0))) {
      if (const auto* through = std::get_if<Stored>(&*got)) {
        EXPECT_EQ(through->through.value, ++stored);
      } else {
        EXPECT_EQ(std::get<Refusal>(*got).text, long_one.text);
        ++refusals;
      }
    }
  };
  for (std::string_view rest = stream; !rest.empty();) {
    const std::size_t piece = std::min<std::size_t>(rest.size(), 1 + dice() % 40);
    peer_.send(rest.substr(0, piece));
    rest.remove_prefix(piece);
    take_all();
  }
  EXPECT_EQ(stored, 20U);
  EXPECT_EQ(refusals, 20U);
  EXPECT_EQ(link_->dropped(), 0U);
}

long peak_resident_kib() {
  rusage used{};
  EXPECT_EQ(::getrusage(RUSAGE_SELF, &used), 0);
  return used.ru_maxrss;
}

TEST_F(IpcDealerTest, AStreamUnderWayTakesOnlyTheMemoryOfItsUnsentBytes) {
  constexpr std::size_t kBytes = std::size_t{1} << 20U;
  constexpr long kMostKib = 32 * 1024;
  shake_hands();
  Refusal large;
  large.text.assign(kBytes, 'x');
  const std::size_t on_the_wire = message(large).size();
  ASSERT_TRUE(link_->send(large));
  const long before = peak_resident_kib();
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(link_->send(large));
    for (std::size_t left = on_the_wire; left > 0;) {
      const std::size_t piece = std::min(left, kBytes / 16);
      peer_.read(piece);
      left -= piece;
      ASSERT_FALSE(link_->receive(milliseconds(0)));
    }
  }
  if (!kSanitized) {
    EXPECT_LT(peak_resident_kib() - before, kMostKib);
  }
}

TEST(IpcDealerEndpointTest, AnEndpointWithoutAPathIsBadInput) {
  for (const char* endpoint : {"ipc://", "tcp://127.0.0.1:5555", ""}) {
    const auto link = IpcDealer::connect(endpoint);
    ASSERT_FALSE(link) << endpoint;
    EXPECT_EQ(link.error().code, Errc::bad_input) << endpoint;
  }
}

LinkTrouble::Kind kind_of_trouble(const IpcDealer& link) {
  EXPECT_TRUE(link.trouble());
  return link.trouble().value_or(LinkTrouble{}).kind;
}

TEST(IpcDealerTroubleTest, APathWithoutASocketIsNamedImmediately) {
  const Folder directory;
  const std::string path = (directory.path() / "none.sock").string();
  const auto link = IpcDealer::connect("ipc://" + path);
  ASSERT_TRUE(link);
  EXPECT_EQ(kind_of_trouble(**link), LinkTrouble::Kind::no_socket);
  EXPECT_EQ((*link)->trouble()->what, "there is no socket " + path);
}

TEST(IpcDealerTroubleTest, AFileThatIsNotASocketIsNamed) {
  const Folder directory;
  const std::string path = directory.file("rows.csv", "a,b");
  const auto link = IpcDealer::connect("ipc://" + path);
  ASSERT_TRUE(link);
  EXPECT_EQ(kind_of_trouble(**link), LinkTrouble::Kind::no_socket);
  EXPECT_EQ((*link)->trouble()->what, path + " is not a socket");
}

TEST(IpcDealerTroubleTest, ASocketWithoutPermissionIsNamed) {
  const Folder directory;
  const std::string path = (directory.path() / "broker.sock").string();
  const int fd = ::socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), path.size());
  ASSERT_EQ(::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
  ASSERT_EQ(::listen(fd, 1), 0);
  std::filesystem::permissions(directory.path(), std::filesystem::perms::all);
  std::filesystem::permissions(path, std::filesystem::perms::none);
  const uid_t user = ::geteuid();
  constexpr uid_t kNobody = 65534;
  ASSERT_TRUE(user != 0 || ::seteuid(kNobody) == 0);  // root may open anything
  const auto link = IpcDealer::connect("ipc://" + path);
  ASSERT_EQ(::seteuid(user), 0);
  ::close(fd);
  ASSERT_TRUE(link);
  EXPECT_EQ(kind_of_trouble(**link), LinkTrouble::Kind::no_permission);
  EXPECT_EQ((*link)->trouble()->what, "no permission for the socket " + path);
}

TEST(IpcDealerTroubleTest, ASocketWhoseBrokerEndedIsNamedUntilOneListens) {
  const Folder directory;
  const std::string path = (directory.path() / "broker.sock").string();
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), path.size());
  const int fd = ::socket(AF_UNIX, SOCK_STREAM, 0);
  ASSERT_EQ(::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
  const auto link = IpcDealer::connect("ipc://" + path);
  ASSERT_TRUE(link);
  EXPECT_EQ(kind_of_trouble(**link), LinkTrouble::Kind::nobody_listens);
  EXPECT_EQ((*link)->trouble()->what, "no broker listens on the socket " + path);
  ASSERT_EQ(::listen(fd, 1), 0);
  (*link)->reconnect();
  EXPECT_FALSE((*link)->trouble());
  ::close(fd);
}

}  // namespace
}  // namespace turnstile
