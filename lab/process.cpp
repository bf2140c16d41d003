#include "lab/process.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <string_view>
#include <system_error>

#include "base/block_signals.h"

namespace turnstile::lab {
namespace {

constexpr const char* kThisProgram = "/proc/self/exe";
constexpr int kCannotStart = 127;

tl::unexpected<Error> fail_start(int error) {
  return fail(Errc::unreachable,
              "cannot start another process: " + std::generic_category().message(error),
              "are there too many processes? `ulimit -u` shows the limit");
}

std::vector<char*> pointers_to(std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  pointers.reserve(texts.size() + 1);
  for (auto& text : texts) {
    pointers.push_back(text.data());
  }
  pointers.push_back(nullptr);
  return pointers;
}

std::vector<std::string> environment_with(const std::vector<std::string>& more) {
  std::vector<std::string> all(more);
  for (char** one = environ; *one != nullptr; ++one) {
    if (!std::string_view(*one).starts_with("TURNSTILE_")) {
      all.emplace_back(*one);
    }
  }
  return all;
}

// Runs between fork and exec, where only async-signal-safe calls are allowed.
[[noreturn]] void exec_program(const char* directory, const char* log, char* const* arguments,
                               char* const* environment, pid_t parent) {
  constexpr mode_t kMode = 0600;
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  // Ctrl+C on the terminal must reach the lab only: it ends its processes in order.
  ::setpgid(0, 0);
  ::signal(SIGINT, SIG_DFL);
  ::signal(SIGTERM, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  const int null = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  if (::getppid() != parent || ::chdir(directory) != 0 || null < 0 ||
      ::dup2(null, STDIN_FILENO) < 0) {
    ::_exit(kCannotStart);
  }
  const int out = ::open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, kMode);
  const int discard = ::open("/dev/null", O_WRONLY | O_CLOEXEC);
  if (out < 0 || discard < 0 || ::dup2(discard, STDOUT_FILENO) < 0 ||
      ::dup2(out, STDERR_FILENO) < 0) {
    ::_exit(kCannotStart);
  }
  ::execve(kThisProgram, arguments, environment);
  ::_exit(kCannotStart);
}

}  // namespace

Result<ChildProcess> ChildProcess::start(const std::string& directory, const std::string& log,
                                         const std::vector<std::string>& arguments,
                                         const std::vector<std::string>& environment) {
  std::vector<std::string> argv{"turnstile"};
  argv.insert(argv.end(), arguments.begin(), arguments.end());
  auto env = environment_with(environment);
  const auto argv_pointers = pointers_to(argv);
  const auto env_pointers = pointers_to(env);
  const pid_t parent = ::getpid();
  // None of our signal handlers may run in the child: it would swallow a signal meant for the
  // program that the child becomes.
  const BlockSignals blocked;
  const pid_t pid = ::fork();
  if (pid < 0) {
    return fail_start(errno);
  }
  if (pid == 0) {
    exec_program(directory.c_str(), log.c_str(), argv_pointers.data(), env_pointers.data(), parent);
  }
  // syscall(), because the header of glibc 2.36 declares pidfd_open() for C only.
  const int pidfd = static_cast<int>(::syscall(SYS_pidfd_open, pid, 0));
  ChildProcess process(pid, pidfd);
  if (pidfd < 0) {
    return fail_start(errno);
  }
  return process;
}

ChildProcess::~ChildProcess() {
  if (pid_ > 0) {
    ::kill(pid_, SIGKILL);
    while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
    }
  }
}

void ChildProcess::signal(int number) const {
  if (pid_ > 0) {
    ::kill(pid_, number);
  }
}

std::optional<ProcessEnd> ChildProcess::take_end() {
  int status = 0;
  if (pid_ <= 0 || ::waitpid(pid_, &status, WNOHANG) != pid_) {
    return std::nullopt;
  }
  pid_ = -1;
  return WIFEXITED(status) ? ProcessEnd{false, WEXITSTATUS(status)}
                           : ProcessEnd{true, WTERMSIG(status)};
}

}  // namespace turnstile::lab
