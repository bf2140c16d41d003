#include "tests/e2e/harness.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sqlite3.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <utility>

namespace turnstile::e2e {
namespace {

using Clock = std::chrono::steady_clock;

int left_ms(Clock::time_point until) {
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - Clock::now());
  return static_cast<int>(std::max<std::int64_t>(left.count(), 0));
}

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> out;
  out.reserve(texts.size() + 1);
  for (auto& text : texts) {
    out.push_back(text.data());
  }
  out.push_back(nullptr);
  return out;
}

}  // namespace

std::string read_file(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

void write_file(const std::filesystem::path& path, std::string_view content) {
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out << content;
  if (!out.flush()) {
    throw std::runtime_error("cannot write " + path.string());
  }
}

Folder::Folder() {
  std::string name = std::filesystem::temp_directory_path() / "turnstile-XXXXXX";
  if (::mkdtemp(name.data()) == nullptr) {
    throw std::runtime_error("cannot make a temporary folder");
  }
  path_ = name;
  inotify_ = ::inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
  ::inotify_add_watch(inotify_, path_.c_str(),
                      IN_MODIFY | IN_CREATE | IN_MOVED_TO | IN_DELETE | IN_CLOSE_WRITE);
}

Folder::~Folder() {
  ::close(inotify_);
  std::error_code ignored;
  std::filesystem::permissions(path_, std::filesystem::perms::owner_all, ignored);
  std::filesystem::remove_all(path_, ignored);
}

bool Folder::wait_until(const std::function<bool()>& done, const Process* process,
                        std::chrono::milliseconds patience) {
  const auto until = Clock::now() + patience;
  while (true) {
    std::array<char, 65536> events{};
    while (::read(inotify_, events.data(), events.size()) > 0) {
    }
    if (done()) {
      return true;
    }
    if (Clock::now() >= until) {
      return false;
    }
    std::array<pollfd, 2> events_of{pollfd{inotify_, POLLIN, 0},
                                    pollfd{process == nullptr ? -1 : process->pidfd(), POLLIN, 0}};
    ::poll(events_of.data(), events_of.size(), std::max(left_ms(until), 1));
  }
}

Process::Process(Folder& folder, std::string name, const std::vector<std::string>& arguments,
                 const std::vector<std::string>& environment, int input)
    : out_path_(folder.file(name + ".out")), err_path_(folder.file(name + ".err")) {
  std::vector<std::string> argv{TURNSTILE_PROGRAM};
  argv.insert(argv.end(), arguments.begin(), arguments.end());
  std::vector<std::string> env(environment);
  for (char** one = environ; *one != nullptr; ++one) {
    env.emplace_back(*one);
  }
  posix_spawn_file_actions_t actions{};
  ::posix_spawn_file_actions_init(&actions);
  if (input >= 0) {
    ::posix_spawn_file_actions_adddup2(&actions, input, 0);
  } else {
    ::posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  }
  ::posix_spawn_file_actions_addopen(&actions, 1, out_path_.c_str(), O_WRONLY | O_CREAT | O_TRUNC,
                                     0600);
  ::posix_spawn_file_actions_addopen(&actions, 2, err_path_.c_str(), O_WRONLY | O_CREAT | O_TRUNC,
                                     0600);
  const auto argv_pointers = pointers(argv);
  const auto env_pointers = pointers(env);
  const int failed = ::posix_spawn(&pid_, TURNSTILE_PROGRAM, &actions, nullptr,
                                   argv_pointers.data(), env_pointers.data());
  ::posix_spawn_file_actions_destroy(&actions);
  if (failed != 0) {
    throw std::runtime_error("cannot start " TURNSTILE_PROGRAM);
  }
  pidfd_ = static_cast<int>(::syscall(SYS_pidfd_open, pid_, 0));
}

Process::Process(Process&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)),
      pidfd_(std::exchange(other.pidfd_, -1)),
      exit_code_(other.exit_code_),
      out_path_(std::move(other.out_path_)),
      err_path_(std::move(other.err_path_)) {}

Process& Process::operator=(Process&& other) noexcept {
  if (this != &other) {
    kill();
    pid_ = std::exchange(other.pid_, -1);
    pidfd_ = std::exchange(other.pidfd_, -1);
    exit_code_ = other.exit_code_;
    out_path_ = std::move(other.out_path_);
    err_path_ = std::move(other.err_path_);
  }
  return *this;
}

Process::~Process() {
  // Whoever is killed keeps no count of what it ran.
  if (std::getenv("LLVM_PROFILE_FILE") != nullptr) {
    signal(SIGCONT);
    signal(SIGTERM);
    wait(2s);
  }
  kill();
}

void Process::signal(int number) const {
  if (pid_ > 0 && !exit_code_) {
    ::kill(pid_, number);
  }
}

void Process::pause() const {
  signal(SIGSTOP);
  siginfo_t info{};
  while (::waitid(P_PID, static_cast<id_t>(pid_), &info, WSTOPPED | WEXITED | WNOWAIT) < 0 &&
         errno == EINTR) {
  }
}

std::optional<int> Process::wait(std::chrono::milliseconds patience) {
  if (exit_code_ || pid_ < 0) {
    return exit_code_;
  }
  pollfd poll{pidfd_, POLLIN, 0};
  const auto until = Clock::now() + patience;
  while (::poll(&poll, 1, left_ms(until)) < 0 && errno == EINTR) {
  }
  int status = 0;
  if (::waitpid(pid_, &status, WNOHANG) != pid_) {
    return std::nullopt;
  }
  exit_code_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return exit_code_;
}

void Process::kill() {
  if (pid_ > 0 && !exit_code_) {
    signal(SIGKILL);
    wait();
  }
  if (pidfd_ >= 0) {
    ::close(pidfd_);
    pidfd_ = -1;
  }
}

bool Process::running() {
  return pid_ > 0 && !wait(0ms);
}

nlohmann::json Process::json() const {
  std::string text = out();
  while (!text.empty() && text.back() == '\n') {
    text.pop_back();
  }
  const auto line = text.rfind('\n');
  return nlohmann::json::parse(line == std::string::npos ? text : text.substr(line + 1), nullptr,
                               false);
}

std::uint64_t Process::status_field(std::string_view name) const {
  std::istringstream status(read_file("/proc/" + std::to_string(pid_) + "/status"));
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(name)) {
      return std::stoull(line.substr(name.size()));
    }
  }
  return 0;
}

std::chrono::nanoseconds Process::waited_for_processor() const {
  std::istringstream schedstat(read_file("/proc/" + std::to_string(pid_) + "/schedstat"));
  std::int64_t ran = 0;
  std::int64_t waited = 0;
  schedstat >> ran >> waited;
  return std::chrono::nanoseconds(waited);
}

std::size_t Process::open_files() const {
  std::error_code gone;
  const std::filesystem::directory_iterator files("/proc/" + std::to_string(pid_) + "/fd", gone);
  return static_cast<std::size_t>(std::distance(begin(files), end(files)));
}

Process System::broker(std::vector<std::string> more) {
  more.insert(more.begin(), {"broker", "--journal-file", folder.file("journal.db")});
  Process broker = run("broker", std::move(more));
  if (endpoint.ends_with(":*")) {
    static constexpr std::string_view kListens = "listens on";
    std::string found;
    const auto is_found = [&] {
      const std::string log = broker.err();
      const auto at = log.find(kListens);
      const auto end = at == std::string::npos ? at : log.find('\n', at);
      if (end != std::string::npos) {
        const auto line = log.substr(at, end - at);
        found = line.substr(line.rfind(' ') + 1);
      }
      return !found.empty() || !broker.running();
    };
    if (!folder.wait_until(is_found, &broker) || found.empty()) {
      throw std::runtime_error("the broker does not say where it listens: " + broker.err());
    }
    endpoint = found;
  }
  return broker;
}

Process System::run(const std::string& name, std::vector<std::string> arguments, int input) {
  if (std::find(arguments.begin(), arguments.end(), "--broker") == arguments.end()) {
    arguments.insert(arguments.end(), {"--broker", endpoint});
  }
  return Process(folder, name + std::to_string(++runs_), arguments, {}, input);
}

nlohmann::json System::status() {
  Process process = run("status", {"status", "--json"});
  // 1: nothing can be applied.
  return process.wait().value_or(2) <= 1 ? process.json() : nlohmann::json();
}

Process System::check(const std::vector<std::string>& more) {
  std::vector<std::string> arguments{"check",
                                     "--db",
                                     folder.file("shared.db"),
                                     "--journal-file",
                                     folder.file("journal.db"),
                                     "--text",
                                     folder.file("out9.txt"),
                                     "--exclusive"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return Process(folder, "check" + std::to_string(++runs_), arguments);
}

bool System::wait_for_status(const std::function<bool(const nlohmann::json&)>& fits) {
  const auto until = Clock::now() + kPatience;
  while (Clock::now() < until) {
    const auto report = status();  // a process that asks over a socket: no busy loop
    if (report.is_object() && fits(report)) {
      return true;
    }
  }
  return false;
}

std::vector<std::vector<std::string>> System::rows(const std::string& sql) const {
  std::vector<std::vector<std::string>> out;
  sqlite3* db = nullptr;
  const int opened =
      sqlite3_open_v2(folder.file("shared.db").c_str(), &db, SQLITE_OPEN_READONLY, nullptr);
  const std::unique_ptr<sqlite3, int (*)(sqlite3*)> close(db, sqlite3_close_v2);
  if (opened != SQLITE_OK) {
    return out;
  }
  sqlite3_busy_timeout(db, 5000);
  sqlite3_stmt* statement = nullptr;
  if (sqlite3_prepare_v2(db, sql.c_str(), -1, &statement, nullptr) != SQLITE_OK) {
    return out;
  }
  const std::unique_ptr<sqlite3_stmt, int (*)(sqlite3_stmt*)> finalize(statement, sqlite3_finalize);
  while (sqlite3_step(statement) == SQLITE_ROW) {
    std::vector<std::string> row;
    for (int i = 0; i < sqlite3_column_count(statement); ++i) {
      const auto* text = reinterpret_cast<const char*>(sqlite3_column_text(statement, i));
      row.emplace_back(text == nullptr ? "" : text);
    }
    out.push_back(std::move(row));
  }
  return out;
}

std::int64_t System::query(const std::string& sql) const {
  const auto result = rows(sql);
  return result.empty() ? -1 : std::stoll(result[0][0]);
}

bool System::wait_for_rows(const std::string& table, std::int64_t count) {
  return folder.wait_until([&] { return query("SELECT count(*) FROM " + table) >= count; });
}

bool System::wait_for_text_log() {
  return folder.wait_until(
      [&] { return read_file(folder.file("out9.txt")) == expected_text_log(*this); });
}

std::string expected_text_log(const System& system, const std::string& table) {
  std::string text;
  for (const auto& row : system.rows("SELECT * FROM " + table + " ORDER BY rowid")) {
    text += '[';
    for (std::size_t i = 0; i < row.size(); ++i) {
      text += (i == 0 ? "" : ", ") + row[i];
    }
    text += "]\n";
  }
  return text;
}

std::string nutrients_csv(std::int64_t rows, std::int64_t first_id) {
  std::string text = "id,name,unit_name,nutrient_nbr,rank,time\n";
  for (std::int64_t i = 0; i < rows; ++i) {
    const std::string id = std::to_string(first_id + i);
    text += id + ",\"Vitamin " + id + ", total\",MG," +
            (i % 7 == 0 ? "" : std::to_string(i % 1000)) + "," + std::to_string(i % 9000) +
            ",10:45\n";
  }
  return text;
}

int test_rounds(int unless_given) {
  const char* given = std::getenv("TURNSTILE_ROUNDS");
  return given != nullptr ? std::stoi(given) : unless_given;
}

std::uintmax_t size_of(const std::filesystem::path& path) {
  std::error_code missing;
  const auto size = std::filesystem::file_size(path, missing);
  return missing ? 0 : size;
}

}  // namespace turnstile::e2e
