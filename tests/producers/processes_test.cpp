#include "producers/processes.h"

#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/descriptor.h"

namespace turnstile {
namespace {

using ::testing::HasSubstr;

// The helper program, with a pipe from its stdout.
class Helper {
 public:
  explicit Helper(std::string mode) {
    std::array<int, 2> ends{};
    EXPECT_EQ(::pipe(ends.data()), 0);
    output_.reset(ends[0]);
    const Descriptor input(ends[1]);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
    posix_spawn_file_actions_addclose(&actions, ends[0]);
    posix_spawn_file_actions_addclose(&actions, ends[1]);
    std::string program = PROCESSES_HELPER;
    std::array<char*, 3> argv{program.data(), mode.data(), nullptr};
    EXPECT_EQ(posix_spawn(&pid_, program.c_str(), &actions, nullptr, argv.data(), environ), 0);
    posix_spawn_file_actions_destroy(&actions);
  }

  // Reads until `lines` line ends have come, or to the end.
  std::string read_lines(int lines) {
    std::string text;
    char c = 0;
    while (lines > 0 && ::read(output_.get(), &c, 1) == 1) {
      text += c;
      lines -= c == '\n' ? 1 : 0;
    }
    return text;
  }

  void stop() const { ::kill(pid_, SIGTERM); }

  int wait() const {
    int status = 0;
    ::waitpid(pid_, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

 private:
  pid_t pid_ = -1;
  Descriptor output_;
};

constexpr int kAllLines = 1000;

TEST(ProcessesTest, OutputAndExitCodeOfEachAreReturned) {
  Helper helper("keep");
  const std::string output = helper.read_lines(kAllLines);
  EXPECT_EQ(helper.wait(), 0);
  EXPECT_EQ(output,
            "code 0 output 'C1 is here\n'\n"
            "code 3 output 'C2 is here\n'\n"
            "code 1 output 'C3 is here\n'\n");
}

TEST(ProcessesTest, SignalIsPassedOnToAllProcesses) {
  Helper helper("pass");
  const std::string begun = helper.read_lines(3);
  for (const char* name : {"C1 is here", "C2 is here", "C3 is here"}) {
    EXPECT_THAT(begun, HasSubstr(name));
  }
  helper.stop();
  const std::string ended = helper.read_lines(kAllLines);
  EXPECT_EQ(helper.wait(), 0);
  for (const char* name : {"C1 stopped 1", "C2 stopped 1", "C3 stopped 1"}) {
    EXPECT_THAT(ended, HasSubstr(name));
  }
  EXPECT_THAT(ended, HasSubstr("code 130 output ''\ncode 130 output ''\ncode 130 output ''\n"));
}

}  // namespace
}  // namespace turnstile
