// Who may read what, on a machine of several users, and what happens under its small limits.
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/e2e/harness.h"

namespace turnstile::e2e {
namespace {

using ::testing::AnyOf;
using ::testing::HasSubstr;

class Private : public ::testing::Test {
 protected:
  [[nodiscard]] mode_t mode_of(const std::string& name) const {
    struct stat info {};
    EXPECT_EQ(::stat(system_.folder.file(name).c_str(), &info), 0) << name;
    return info.st_mode & 0777U;
  }
  std::string csv() {
    write_file(system_.folder.file("in.csv"), nutrients_csv(3));
    return system_.folder.file("in.csv");
  }
  // All data files of a run of everything with these flags.
  void run_all(std::vector<std::string> more) {
    Process serve = system_.serve(more);
    Process first = system_.produce({"csv", csv(), "--table", "nutrients", "--create"});
    EXPECT_EQ(first.wait(), 0) << first.err();
    write_file(system_.folder.file("more.csv"), nutrients_csv(3, 4));
    std::vector<std::string> arguments{"csv",      system_.folder.file("more.csv"),
                                       "--table",  "nutrients",
                                       "--resume", "name",
                                       "--spool",  system_.folder.file("spool.db"),
                                       "--ledger", system_.folder.file("ledger")};
    arguments.insert(arguments.end(), more.begin(), more.end());
    Process producer = system_.produce(arguments);
    EXPECT_EQ(producer.wait(), 0) << producer.err();
    EXPECT_TRUE(system_.wait_for_rows("nutrients", 6));
    for (const char* name : {"shared.db", "shared.db-wal", "shared.db-shm", "journal.db",
                             "journal.db-wal", "out9.txt", "ledger", "spool.db"}) {
      modes_.emplace_back(name, mode_of(name));
    }
    serve.signal(SIGTERM);
    EXPECT_EQ(serve.wait(), 0) << serve.err();
  }
  System system_;
  std::vector<std::pair<std::string, mode_t>> modes_;
};

TEST_F(Private, DataFilesAreForTheirOwnUserWhateverTheUmask) {
  const mode_t before = ::umask(0);
  run_all({});
  ::umask(before);
  for (const auto& [name, mode] : modes_) {
    EXPECT_EQ(mode, 0600U) << name;
  }
}

TEST_F(Private, DataFilesGetTheModeThatAFlagAsksForWhateverTheUmask) {
  const mode_t before = ::umask(0077);
  run_all({"--mode", "0660"});
  ::umask(before);
  for (const auto& [name, mode] : modes_) {
    EXPECT_EQ(mode, 0660U) << name;
  }
}

TEST_F(Private, AFileThatIsThereKeepsItsMode) {
  write_file(system_.folder.file("shared.db"), "");
  ASSERT_EQ(::chmod(system_.folder.file("shared.db").c_str(), 0644), 0);
  run_all({});
  EXPECT_EQ(mode_of("shared.db"), 0644U);
  EXPECT_EQ(mode_of("journal.db"), 0600U);
}

TEST_F(Private, DirectModeMakesItsFilesAsAsked) {
  Process direct = system_.produce({"csv", csv(), "--table", "nutrients", "--create", "--direct",
                                    "--db", system_.folder.file("shared.db"), "--text",
                                    system_.folder.file("out9.txt"), "--mode", "0640"});
  EXPECT_EQ(direct.wait(), 0) << direct.err();
  EXPECT_EQ(mode_of("shared.db"), 0640U);
  EXPECT_EQ(mode_of("out9.txt"), 0640U);
}

TEST_F(Private, AModeThatIsNoneIsRefused) {
  for (const char* mode : {"0400", "0755", "rw", "0640x", "", "1777", "8"}) {
    Process broker = system_.broker({"--mode", mode});
    EXPECT_EQ(broker.wait(), 2) << mode << broker.err();
  }
}

// The limits of this process, which those that it starts inherit.
class Limit {
 public:
  Limit(__rlimit_resource resource, rlim_t most) : resource_(resource) {
    EXPECT_EQ(::getrlimit(resource_, &before_), 0);
    rlimit now = before_;
    now.rlim_cur = most;
    EXPECT_EQ(::setrlimit(resource_, &now), 0);
  }
  Limit(const Limit&) = delete;
  Limit& operator=(const Limit&) = delete;
  ~Limit() { ::setrlimit(resource_, &before_); }

 private:
  __rlimit_resource resource_;
  rlimit before_{};
};

class SmallLimit : public Private {
 protected:
  // What the program says under a shell's limit, and "exit N" behind it.
  std::string under(const std::string& limit, const std::string& arguments) {
    const std::string out = system_.folder.file("limited.txt");
    const std::string command = "exec >'" + out + "' 2>&1; ulimit " + limit + "; exec '" +
                                TURNSTILE_PROGRAM + "' " + arguments;
    const int status = std::system(command.c_str());
    return read_file(out) +
           (WIFEXITED(status) ? "exit " + std::to_string(WEXITSTATUS(status)) : "signal");
  }
};

TEST_F(SmallLimit, TooFewDescriptorsForABrokerAreNamedAtTheStart) {
  for (const char* program : {"serve", "broker"}) {
    for (const int files : {10, 14, 20, 31}) {
      const std::string said =
          under("-n " + std::to_string(files),
                std::string(program) + " --broker ipc://" + system_.folder.file("b.sock") +
                    " --journal-file " + system_.folder.file("j.db"));
      EXPECT_THAT(said, HasSubstr("files open; a broker needs 32")) << files;
      EXPECT_THAT(said, HasSubstr("ulimit -n")) << files;
      EXPECT_THAT(said, ::testing::EndsWith("exit 3")) << files;
    }
  }
}

TEST_F(SmallLimit, UnderAnyLimitOfMemoryServeWorksOrEndsWithAMessage) {
  if (kSanitized) {
    GTEST_SKIP() << "a sanitizer reserves the address space";
  }
  for (const rlim_t mib : {20U, 24U, 28U, 40U, 64U}) {
    Process serve = [&] {
      const Limit limit(RLIMIT_AS, mib << 20U);
      return system_.serve();
    }();
    const auto says = [&](const char* what) { return serve.err().find(what) != std::string::npos; };
    EXPECT_TRUE(system_.folder.wait_until(
        [&] { return !serve.running() || says("this consumer writes") || says("trying again"); },
        &serve))
        << mib << " MiB: " << serve.err();
    if (serve.running()) {
      serve.signal(SIGTERM);
      EXPECT_EQ(serve.wait(), 0) << mib << " MiB: " << serve.err();
      continue;
    }
    // 127: the system's loader said that a library does not fit.
    EXPECT_THAT(serve.wait(), AnyOf(3, 127)) << mib << " MiB: " << serve.err();
    EXPECT_THAT(serve.err(), AnyOf(HasSubstr("hint:"), HasSubstr("shared libraries"))) << mib;
  }
}

}  // namespace
}  // namespace turnstile::e2e
