#include "bench/process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <utility>

#include <fmt/format.h>

namespace turnstile::bench {
namespace {

volatile std::sig_atomic_t interrupted = 0;

constexpr double kKibPerMib = 1024;
constexpr std::chrono::minutes kTimeout{10};

[[noreturn]] void fail_with_errno(const std::string& doing) {
  throw Failure(doing + ": " + std::strerror(errno));
}

std::string text_of(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::string end_of(const std::filesystem::path& path) {
  constexpr std::size_t kShown = 2000;
  std::string text = text_of(path);
  return text.size() > kShown ? text.substr(text.size() - kShown) : text;
}

// The number after `key` in a file of /proc; 0 if there is none.
double number_in(const std::filesystem::path& path, std::string_view key) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with(key)) {
      return std::strtod(line.c_str() + key.size(), nullptr);
    }
  }
  return 0;
}

void die_with(pid_t parent) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) {
    ::_exit(1);
  }
  ::signal(SIGINT, SIG_DFL);
  ::signal(SIGTERM, SIG_DFL);
}

void redirect(int descriptor, const std::string& path) {
  const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (file < 0 || ::dup2(file, descriptor) < 0) {
    ::_exit(1);
  }
}

}  // namespace

void catch_interrupts() {
  struct sigaction action {};
  action.sa_handler = [](int) { interrupted = 1; };  // no SA_RESTART: waits must end
  ::sigaction(SIGINT, &action, nullptr);
  ::sigaction(SIGTERM, &action, nullptr);
}

void stop_if_interrupted() {
  if (interrupted != 0) {
    throw Interrupted();
  }
}

double seconds_between(Clock::time_point begin, Clock::time_point end) {
  return std::chrono::duration<double>(end - begin).count();
}

double now_seconds() {
  return std::chrono::duration<double>(Clock::now().time_since_epoch()).count();
}

// ---- processes

Process Process::start(const std::vector<std::string>& arguments,
                       const std::filesystem::path& log) {
  std::vector<char*> argv;
  argv.reserve(arguments.size() + 1);
  for (const auto& argument : arguments) {
    argv.push_back(const_cast<char*>(argument.c_str()));
  }
  argv.push_back(nullptr);
  const std::string out = log.string() + ".out";
  const std::string err = log.string() + ".err";
  const pid_t parent = ::getpid();
  const auto started = Clock::now();
  const pid_t pid = ::fork();
  if (pid < 0) {
    fail_with_errno("starting " + arguments.front());
  }
  if (pid == 0) {
    die_with(parent);
    redirect(STDIN_FILENO, "/dev/null");
    redirect(STDOUT_FILENO, out);
    redirect(STDERR_FILENO, err);
    ::execvp(argv.front(), argv.data());
    ::perror(argv.front());
    ::_exit(127);
  }
  Process process(log.filename().string(), pid);
  process.started_ = started;
  process.log_ = log;
  return process;
}

Process Process::run(const std::string& name, const std::function<void()>& work) {
  std::fflush(nullptr);
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid < 0) {
    fail_with_errno("starting " + name);
  }
  if (pid == 0) {
    die_with(parent);
    int code = 0;
    try {
      work();
    } catch (const std::exception& problem) {
      fmt::print(stderr, "{}: {}\n", name, problem.what());
      code = 1;
    }
    std::fflush(nullptr);
    ::_exit(code);
  }
  return {name, pid};
}

Process::Process(Process&& other) noexcept
    : name_(std::move(other.name_)),
      log_(std::move(other.log_)),
      pid_(std::exchange(other.pid_, -1)),
      started_(other.started_),
      ended_(other.ended_),
      peak_mib_(other.peak_mib_) {}

Process& Process::operator=(Process&& other) noexcept {
  if (this != &other) {
    kill();
    name_ = std::move(other.name_);
    log_ = std::move(other.log_);
    pid_ = std::exchange(other.pid_, -1);
    started_ = other.started_;
    ended_ = other.ended_;
    peak_mib_ = other.peak_mib_;
  }
  return *this;
}

Process::~Process() {
  kill();
}

void Process::kill() {
  if (pid_ > 0) {
    ::kill(pid_, SIGKILL);
    ::waitpid(std::exchange(pid_, -1), nullptr, 0);
  }
}

int Process::wait() {
  int status = 0;
  rusage used{};
  while (::wait4(pid_, &status, 0, &used) < 0) {
    if (errno != EINTR) {
      fail_with_errno("waiting for " + name_);
    }
    stop_if_interrupted();
  }
  ended_ = Clock::now();
  pid_ = -1;
  peak_mib_ = static_cast<double>(used.ru_maxrss) / kKibPerMib;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

void Process::finish() {
  if (const int code = wait(); code != 0) {
    stop_if_interrupted();
    throw Failure(fmt::format("{} ended with {}\n{}{}", name_, code,
                              log_.empty() ? "" : end_of(log_.string() + ".out"),
                              log_.empty() ? "" : end_of(log_.string() + ".err")));
  }
}

void Process::stop() {
  ::kill(pid_, SIGTERM);
  finish();
}

void Process::end() {
  ::kill(pid_, SIGTERM);
  wait();
}

std::string Process::output() const {
  return text_of(log_.string() + ".out");
}

double Process::peak_mib() const {
  return pid_ > 0 ? number_in(fmt::format("/proc/{}/status", pid_), "VmHWM:") / kKibPerMib
                  : peak_mib_;
}

double Process::cpu_seconds() const {
  constexpr double kNanoseconds = 1e9;
  double nanoseconds = 0;
  for (const auto& task : std::filesystem::directory_iterator(fmt::format("/proc/{}/task", pid_))) {
    nanoseconds += number_in(task.path() / "schedstat", "");
  }
  return nanoseconds / kNanoseconds;
}

double Process::written_bytes() const {
  return number_in(fmt::format("/proc/{}/io", pid_), "write_bytes:");
}

// ---- a common start

Gate::Pipe::Pipe() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) {
    fail_with_errno("making a pipe");
  }
  read.reset(ends[0]);
  write.reset(ends[1]);
}

Gate::Gate() = default;

void Gate::pass() {
  go_.write.reset();
  char byte = 0;
  // The read returns 0 when the last writer, the parent, closes its end.
  if (::write(ready_.write.get(), &byte, 1) != 1 || ::read(go_.read.get(), &byte, 1) != 0) {
    fail_with_errno("waiting to begin");
  }
}

void Gate::open(std::size_t children) {
  const auto deadline = Clock::now() + kTimeout;
  for (std::size_t ready = 0; ready < children; ++ready) {
    pollfd item{ready_.read.get(), POLLIN, 0};
    while (::poll(&item, 1, 100) <= 0) {
      stop_if_interrupted();
      if (Clock::now() > deadline) {
        throw Failure(fmt::format("only {} of {} processes were ready", ready, children));
      }
    }
    char byte = 0;
    if (::read(ready_.read.get(), &byte, 1) != 1) {
      fail_with_errno("waiting for processes");
    }
  }
  go_.write.reset();
}

void pause(std::chrono::milliseconds time) {
  ::poll(nullptr, 0, static_cast<int>(time.count()));
  stop_if_interrupted();
}

void wait_until(const std::string& what, std::chrono::milliseconds every,
                const std::function<bool()>& done) {
  const auto deadline = Clock::now() + kTimeout;
  while (!done()) {
    if (Clock::now() > deadline) {
      throw Failure("gave up waiting until " + what);
    }
    pause(every);
  }
}

}  // namespace turnstile::bench
