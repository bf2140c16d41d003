#include "producers/processes.h"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <fstream>
#include <iterator>
#include <system_error>
#include <utility>

#include "base/descriptor.h"

namespace turnstile {
namespace {

constexpr const char* kThisProgram = "/proc/self/exe";
constexpr int kLookAgainMs = 100;  // for a second signal
constexpr int kSignalledExit = 128;

struct Process {
  pid_t pid = -1;
  Descriptor ends;    // readable when the process has ended
  Descriptor output;  // its stdout, if captured
  bool has_ended = false;
  Ended ended;
};

Result<void> fail_start(int error) {
  return fail(Errc::unreachable,
              "cannot start another process: " + std::generic_category().message(error),
              "start the processes one by one, with --as");
}

std::vector<std::string> own_arguments() {
  std::ifstream file("/proc/self/cmdline", std::ios::binary);
  std::vector<std::string> arguments;
  for (std::string argument; std::getline(file, argument, '\0');) {
    arguments.push_back(argument);
  }
  return arguments;
}

Result<void> start(std::vector<std::string> arguments, bool keep_output, Process& process) {
  std::vector<char*> argv;
  argv.reserve(arguments.size() + 1);
  for (auto& argument : arguments) {
    argv.push_back(argument.data());
  }
  argv.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  Descriptor to_write;
  int error = 0;
  if (keep_output) {
    std::array<int, 2> ends{};
    error = ::pipe2(ends.data(), O_CLOEXEC) == 0 ? 0 : errno;
    if (error == 0) {
      process.output = Descriptor(ends[0]);
      to_write = Descriptor(ends[1]);
      error = posix_spawn_file_actions_adddup2(&actions, to_write.get(), STDOUT_FILENO);
    }
  }
  if (error == 0) {
    error = posix_spawn(&process.pid, kThisProgram, &actions, nullptr, argv.data(), environ);
  }
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) {
    return fail_start(error);
  }
  // Not by glibc's function: the header of 2.36 declares it for C only.
  process.ends = Descriptor(static_cast<int>(::syscall(SYS_pidfd_open, process.pid, 0)));
  return process.ends.get() < 0 ? fail_start(errno) : Result<void>();
}

std::string read_all(const Descriptor& from) {
  std::string text;
  std::array<char, 4096> buffer{};
  for (ssize_t got = 1; got != 0;) {
    got = ::read(from.get(), buffer.data(), buffer.size());
    if (got > 0) {
      text.append(buffer.data(), static_cast<std::size_t>(got));
    } else if (got < 0 && errno != EINTR) {
      break;
    }
  }
  return text;
}

void collect(Process& process) {
  int status = 0;
  while (::waitpid(process.pid, &status, 0) < 0 && errno == EINTR) {
  }
  process.has_ended = true;
  process.ended.exit_code =
      WIFEXITED(status) ? WEXITSTATUS(status) : kSignalledExit + WTERMSIG(status);
  if (process.output.get() >= 0) {
    process.ended.output = read_all(process.output);
  }
}

void signal_all(const std::vector<Process>& processes, int signal) {
  for (const auto& process : processes) {
    if (!process.has_ended && process.pid > 0) {
      ::kill(process.pid, signal);
    }
  }
}

bool has_ended(const pollfd& item) {
  return item.revents != 0;
}

void wait_for_all(std::vector<Process>& processes, const StopSignal& stop) {
  int handed_on = 0;
  while (!std::all_of(processes.begin(), processes.end(),
                      [](const Process& p) { return p.has_ended; })) {
    if (stop.count() > handed_on) {
      handed_on = stop.count();
      signal_all(processes, SIGINT);
    }
    std::vector<pollfd> items;
    items.reserve(processes.size() + 1);
    for (const auto& process : processes) {
      items.push_back({process.has_ended ? -1 : process.ends.get(), POLLIN, 0});
    }
    items.push_back({handed_on == 0 ? stop.fd() : -1, POLLIN, 0});
    ::poll(items.data(), items.size(), kLookAgainMs);
    for (std::size_t i = 0; i < processes.size(); ++i) {
      if (has_ended(items[i])) {
        collect(processes[i]);
      }
    }
  }
}

}  // namespace

Result<std::vector<Ended>> run_again(const std::vector<std::vector<std::string>>& more,
                                     bool keep_output, const StopSignal& stop) {
  std::vector<Process> processes(more.size());
  Result<void> started;
  for (std::size_t i = 0; i < more.size() && started; ++i) {
    auto arguments = own_arguments();
    arguments.insert(arguments.end(), more[i].begin(), more[i].end());
    started = start(std::move(arguments), keep_output, processes[i]);
  }
  if (!started) {
    std::erase_if(processes, [](const Process& p) { return p.pid <= 0; });
    signal_all(processes, SIGTERM);
  }
  wait_for_all(processes, stop);
  if (!started) {
    return tl::make_unexpected(started.error());
  }
  std::vector<Ended> ended;
  ended.reserve(processes.size());
  for (auto& process : processes) {
    ended.push_back(std::move(process.ended));
  }
  return ended;
}

}  // namespace turnstile
