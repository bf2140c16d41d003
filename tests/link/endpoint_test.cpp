// Promise 10: whose socket a broker binds and a client connects to. chown() and seteuid() stand in
// for other users, which only root may do.
#include "link/endpoint.h"

#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "link/ipc_dealer.h"
#include "tests/support/folder.h"

namespace turnstile {
namespace {

using ::testing::HasSubstr;

constexpr uid_t kOther = 40002;

class EndpointTest : public ::testing::Test {
 protected:
  EndpointTest() {
    const char* before = std::getenv("XDG_RUNTIME_DIR");
    before_ = before == nullptr ? "" : before;
    ::setenv("XDG_RUNTIME_DIR", directory_.path().c_str(), 1);
    endpoint_ = default_broker_endpoint();
    path_ = endpoint_.substr(kIpc.size());
    std::filesystem::create_directory(socket_directory());
    set_mode(0700);
  }
  EndpointTest(const EndpointTest&) = delete;
  EndpointTest& operator=(const EndpointTest&) = delete;
  ~EndpointTest() override {
    ::setenv("XDG_RUNTIME_DIR", before_.c_str(), 1);
    if (listener_ >= 0) {
      ::close(listener_);
    }
  }

  [[nodiscard]] std::filesystem::path socket_directory() const {
    return std::filesystem::path(path_).parent_path();
  }
  void set_mode(mode_t mode) const { ASSERT_EQ(::chmod(socket_directory().c_str(), mode), 0); }
  void change_owner() const { ASSERT_EQ(::chown(socket_directory().c_str(), kOther, kOther), 0); }

  // A socket, as another user may put it there.
  void listen_at(const std::string& path, uid_t user) {
    listener_ = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path.c_str(), path.size());
    ASSERT_EQ(::bind(listener_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
    ASSERT_EQ(::seteuid(user), 0);
    const int listening = ::listen(listener_, 4);
    ASSERT_EQ(::seteuid(0), 0);
    ASSERT_EQ(listening, 0);
  }

  static std::string refusal(const Result<void>& checked) {
    return checked ? "" : checked.error().what;
  }

  Folder directory_;
  std::string before_;
  std::string endpoint_;
  std::string path_;
  int listener_ = -1;
};

TEST_F(EndpointTest, APrivateOrMissingDefaultDirectoryIsAccepted) {
  EXPECT_EQ(refusal(check_default_directory(path_)), "");
  EXPECT_EQ(refusal(check_directory_for_listening(path_)), "");
  EXPECT_TRUE(IpcDealer::connect(endpoint_));
  std::filesystem::remove(socket_directory());
  EXPECT_EQ(refusal(check_default_directory(path_)), "");
  EXPECT_TRUE(IpcDealer::connect(endpoint_));
}

TEST_F(EndpointTest, ADefaultDirectoryThatOthersMayEnterIsRefusedByBrokerAndClient) {
  for (const mode_t mode : {0755U, 0750U, 0711U, 0770U, 01777U}) {
    set_mode(mode);
    EXPECT_THAT(refusal(check_directory_for_listening(path_)), HasSubstr("others may enter"))
        << mode;
    const auto client = IpcDealer::connect(endpoint_);
    ASSERT_FALSE(client) << mode;
    EXPECT_EQ(client.error().code, Errc::unreachable);
    EXPECT_THAT(client.error().what, HasSubstr("others may enter"));
    EXPECT_THAT(client.error().hint, HasSubstr("chmod 700"));
  }
}

TEST_F(EndpointTest, AClientWithoutAFreeDescriptorSaysSo) {
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  rlimit none = before;
  none.rlim_cur = 0;
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);
  const auto client = IpcDealer::connect(endpoint_);
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
  ASSERT_FALSE(client);
  EXPECT_EQ(client.error().code, Errc::unreachable);
  EXPECT_THAT(client.error().what, HasSubstr("cannot make a socket"));
}

TEST_F(EndpointTest, ADefaultDirectoryThatIsALinkIsRefused) {
  std::filesystem::rename(socket_directory(), directory_.path() / "real");
  std::filesystem::create_directory_symlink(directory_.path() / "real", socket_directory());
  EXPECT_THAT(refusal(check_directory_for_listening(path_)), HasSubstr("is not a directory"));
  EXPECT_FALSE(IpcDealer::connect(endpoint_));
}

TEST_F(EndpointTest, ADefaultDirectoryOfAnotherUserIsRefusedByBrokerAndClient) {
  if (::geteuid() != 0) {
    GTEST_SKIP() << "only root can change the owner of a directory";
  }
  change_owner();
  EXPECT_THAT(refusal(check_directory_for_listening(path_)), HasSubstr("belongs to user 40002"));
  const auto client = IpcDealer::connect(endpoint_);
  ASSERT_FALSE(client);
  EXPECT_THAT(client.error().what, HasSubstr("belongs to user 40002"));
}

TEST_F(EndpointTest, ABrokerListensInAStickyDirectoryOnlyOfItsOwnUserOrRoot) {
  const std::string other = (directory_.path() / "other" / "broker.sock").string();
  std::filesystem::create_directory(directory_.path() / "other");
  ASSERT_EQ(::chmod((directory_.path() / "other").c_str(), 01777), 0);
  EXPECT_EQ(refusal(check_directory_for_listening(other)), "");
  ASSERT_EQ(::chmod((directory_.path() / "other").c_str(), 0777), 0);
  EXPECT_THAT(refusal(check_directory_for_listening(other)), HasSubstr("others may write"));
  if (::geteuid() != 0) {
    GTEST_SKIP() << "only root can change the owner of a directory";
  }
  ASSERT_EQ(::chmod((directory_.path() / "other").c_str(), 01777), 0);
  ASSERT_EQ(::chown((directory_.path() / "other").c_str(), kOther, kOther), 0);
  EXPECT_THAT(refusal(check_directory_for_listening(other)), HasSubstr("belongs to user 40002"));
}

TEST_F(EndpointTest, AnotherUsersBrokerIsRefusedWhereOthersMayPutASocket) {
  if (::geteuid() != 0) {
    GTEST_SKIP() << "only root can listen as another user";
  }
  std::filesystem::create_directory(directory_.path() / "shared");
  ASSERT_EQ(::chmod((directory_.path() / "shared").c_str(), 01777), 0);
  const std::string shared = (directory_.path() / "shared" / "broker.sock").string();
  listen_at(shared, kOther);
  const auto client = IpcDealer::connect("ipc://" + shared);
  ASSERT_FALSE(client);
  EXPECT_EQ(client.error().code, Errc::unreachable);
  EXPECT_THAT(client.error().what, HasSubstr("runs as user 40002"));

  // A directory that no other user may write in is trusted.
  ASSERT_EQ(::chmod((directory_.path() / "shared").c_str(), 0755), 0);
  EXPECT_TRUE(IpcDealer::connect("ipc://" + shared));
}

TEST_F(EndpointTest, AnotherUsersBrokerIsRefusedInTheDefaultDirectory) {
  if (::geteuid() != 0) {
    GTEST_SKIP() << "only root can listen as another user";
  }
  listen_at(path_, kOther);
  const auto client = IpcDealer::connect(endpoint_);
  ASSERT_FALSE(client);
  EXPECT_THAT(client.error().what, HasSubstr("runs as user 40002"));
}

}  // namespace
}  // namespace turnstile
