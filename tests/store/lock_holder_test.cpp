// Who holds a locked target: from the system's list of locks, and from a process that holds one.
#include "store/lock_holder.h"

#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <functional>

#include <gmock/gmock.h>

#include "tests/store/fixture.h"

namespace turnstile::test {
namespace {

using sqlite::Access;
using sqlite::Connection;
using sqlite::find_lock_holder;
using ::testing::HasSubstr;

constexpr pid_t kSelf = 100;
const FileIdentity kFile{gnu_dev_makedev(0xfe, 0), 11};
const FileIdentity kShared{gnu_dev_makedev(0xfe, 0), 12};

TEST(LockHolder, TheWriterOfAWriteAheadLogIsFound) {
  const std::string locks =
      "1: POSIX  ADVISORY  READ 7 fe:00:12 124 124\n"
      "2: POSIX  ADVISORY  READ 7 fe:00:11 1073741826 1073742335\n"
      "3: POSIX  ADVISORY  WRITE 4711 fe:00:12 120 120\n";
  EXPECT_EQ(find_lock_holder(locks, kFile, kShared, kSelf), 4711);
}

TEST(LockHolder, TheWriterOfARollbackJournalIsFound) {
  EXPECT_EQ(find_lock_holder("1: POSIX  ADVISORY  WRITE 4711 fe:00:11 1073741825 1073741825\n",
                             kFile, std::nullopt, kSelf),
            4711);
}

TEST(LockHolder, OneThatTookTheWholeFileIsFound) {
  EXPECT_EQ(
      find_lock_holder("1: POSIX  ADVISORY  WRITE 4711 fe:00:11 0 EOF\n", kFile, kShared, kSelf),
      4711);
}

TEST(LockHolder, AReaderIsOneOnlyWithoutAWriteAheadLog) {
  const std::string locks = "1: POSIX  ADVISORY  READ 4711 fe:00:11 1073741826 1073742335\n";
  EXPECT_EQ(find_lock_holder(locks, kFile, kShared, kSelf), std::nullopt);
  EXPECT_EQ(find_lock_holder(locks, kFile, std::nullopt, kSelf), 4711);
}

TEST(LockHolder, NobodyElseIsTakenForOne) {
  for (const char* locks : {
           "",
           "1: POSIX  ADVISORY  WRITE 100 fe:00:12 120 120\n",         // this process itself
           "1: -> POSIX  ADVISORY  WRITE 7 fe:00:12 120 120\n",        // it waits
           "1: POSIX  ADVISORY  WRITE 7 fe:00:13 120 120\n",           // another file
           "1: POSIX  ADVISORY  WRITE 7 fd:00:12 120 120\n",           // of another device
           "1: POSIX  ADVISORY  WRITE 7 fe:00:12 121 121\n",           // copies the log
           "1: POSIX  ADVISORY  WRITE 7 fe:00:11 100 200\n",           // not SQLite's bytes
           "1: OFDLCK ADVISORY  WRITE -1 fe:00:12 120 120\n",          // of no process
           "1: POSIX  ADVISORY  WRITE 0 fe:00:12 120 120\n",           // hidden
           "1: POSIX  ADVISORY  WRITE\n2: POSIX\n:\nx y z 1 2 3 4\n",  // no line of this kind
       }) {
    EXPECT_EQ(find_lock_holder(locks, kFile, kShared, kSelf), std::nullopt) << locks;
  }
}

// A child that does as it is told, says when it has, and then waits for its end.
class Child {
 public:
  explicit Child(const std::function<bool()>& work) {
    std::array<int, 2> done{};
    EXPECT_EQ(::pipe(done.data()), 0);
    pid_ = ::fork();
    if (pid_ == 0) {
      const char worked = work() ? 'y' : 'n';
      static_cast<void>(!::write(done[1], &worked, 1));
      while (true) {
        ::pause();
      }
    }
    ::close(done[1]);
    char worked = 'n';
    EXPECT_EQ(::read(done[0], &worked, 1), 1);
    ::close(done[0]);
    worked_ = worked == 'y';
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  ~Child() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  [[nodiscard]] bool worked() const { return worked_; }
  [[nodiscard]] pid_t pid() const { return pid_; }

 private:
  pid_t pid_ = -1;
  bool worked_ = false;
};

class LockHolderTest : public StoreTest {
 protected:
  void make(const std::string& mode) {
    auto made = Connection::open(db(), Access::create);
    ASSERT_TRUE(made);
    ASSERT_TRUE(made->execute("PRAGMA journal_mode=" + mode + "; CREATE TABLE t(a)"));
  }
};

TEST_F(LockHolderTest, AnErrorNamesTheProcessThatHoldsTheLock) {
  for (const char* mode : {"wal", "delete"}) {
    std::filesystem::remove(db());
    make(mode);
    const Child child([this] {
      static Connection held;  // open until the child ends
      auto opened = Connection::open(db(), Access::read_write);
      held = opened ? std::move(*opened) : Connection();
      return opened && held.execute("BEGIN IMMEDIATE").has_value();
    });
    ASSERT_TRUE(child.worked());
    auto mine = Connection::open(db(), Access::read_write);
    ASSERT_TRUE(mine);
    const auto begun = mine->execute("BEGIN IMMEDIATE", "beginning");
    ASSERT_FALSE(begun);
    EXPECT_EQ(begun.error().code, Errc::locked);
    EXPECT_THAT(begun.error().what,
                HasSubstr("it is locked by PID " + std::to_string(child.pid()) + " (store_test"));
  }
}

// Closing any descriptor of the file would drop them.
TEST_F(LockHolderTest, ThisProcessKeepsItsOwnLocksWhileItLooks) {
  make("delete");
  auto mine = Connection::open(db(), Access::read_write);
  ASSERT_TRUE(mine);
  ASSERT_TRUE(mine->execute("BEGIN IMMEDIATE"));
  EXPECT_EQ(sqlite::lock_holder(db()), "");
  const Child child([this] {
    auto opened = Connection::open(db(), Access::read_write);
    return opened && opened->execute("BEGIN IMMEDIATE").has_value();
  });
  EXPECT_FALSE(child.worked());
}

}  // namespace
}  // namespace turnstile::test
