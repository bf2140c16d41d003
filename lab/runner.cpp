#include "lab/runner.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <memory>
#include <optional>
#include <system_error>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "base/descriptor.h"
#include "events/event_sink.h"
#include "lab/database.h"
#include "lab/process.h"
#include "lab/recording.h"

namespace turnstile::lab {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

constexpr const char* kLogFile = "run.log";
constexpr auto kReadyTimeout = 20s;
constexpr auto kStopTimeout = 3s;  // then the process is killed
constexpr auto kServerStopTimeout = 10s;

// Makes a temporary directory, and removes it with its files.
class RunDirectory {
 public:
  RunDirectory()
      : path_((std::filesystem::temp_directory_path() / "turnstile-lab-XXXXXX").string()) {
    is_made_ = ::mkdtemp(path_.data()) != nullptr;
  }
  RunDirectory(const RunDirectory&) = delete;
  RunDirectory& operator=(const RunDirectory&) = delete;
  ~RunDirectory() {
    std::error_code ignored;
    if (is_made_) {
      std::filesystem::remove_all(path_, ignored);
    }
  }
  [[nodiscard]] bool is_made() const { return is_made_; }
  [[nodiscard]] std::filesystem::path file(const char* name) const {
    return std::filesystem::path(path_) / name;
  }
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  std::string path_;
  bool is_made_ = false;
};

std::string local_time() {
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  ::localtime_r(&now, &local);
  std::array<char, 32> text{};
  const std::size_t size = std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%S%z", &local);
  std::string time(text.data(), size);
  if (constexpr std::size_t kZoneDigits = 2; time.size() > kZoneDigits) {
    time.insert(time.size() - kZoneDigits, ":");
  }
  return time;
}

struct Running {
  ProcessPlan plan;
  ChildProcess process;
  bool has_ended = false;
  bool is_killed = false;  // by the planned crash
};

class Runner {
 public:
  Runner(Plan plan, int stop_fd, const Watcher& watcher)
      : plan_(std::move(plan)),
        stop_fd_(stop_fd),
        watcher_(watcher),
        changes_(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK)) {}

  Result<Ran> run();

 private:
  Result<void> prepare();
  Result<void> prepare_tables();
  Result<void> start_servers();
  Result<void> begin();
  Result<void> start(const ProcessPlan& plan);
  Result<void> follow();
  Result<Ran> finish();

  void wait(std::chrono::milliseconds at_most);
  void read_events();
  void call_watcher(bool now);
  Result<void> check_processes();
  void crash_if_due(const Event& event);
  Result<void> crash_now();
  void stop_all(Role role, std::chrono::milliseconds timeout);
  void report(const Running& about, EventKind kind, int code);
  [[nodiscard]] bool any_runs(Role role) const;
  [[nodiscard]] Error ended_early(const Running& process) const;

  Plan plan_;
  int stop_fd_;
  const Watcher& watcher_;
  RunDirectory directory_;
  Descriptor changes_;  // inotify
  Descriptor events_file_;
  std::shared_ptr<EventSink> sink_;

  std::vector<Running> running_;
  LineReader lines_;
  std::vector<Event> events_;  // since the run began
  std::size_t passed_on_ = 0;  // number of events that the watcher got
  Clock::time_point passed_on_at_;
  bool is_ready_ = false;
  bool has_begun_ = false;
  bool is_stopped_ = false;

  // The planned crash: its process, its time, and whether it has happened.
  std::string victim_;
  std::optional<Clock::time_point> crash_at_;
  bool has_crashed_ = false;
};

Result<void> write_file(const std::filesystem::path& path, const std::string& content) {
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out << content;
  if (!out.flush()) {
    return fail(Errc::unreachable, "cannot write " + path.string(),
                "is there room in the temporary directory? TMPDIR names another");
  }
  return {};
}

Result<void> Runner::prepare() {
  if (!directory_.is_made() || !changes_) {
    return fail(Errc::unreachable,
                "cannot make a directory in " + std::filesystem::temp_directory_path().string(),
                "TMPDIR names another place");
  }
  for (const auto& [name, content] : plan_.files) {
    if (auto written = write_file(directory_.file(name.c_str()), content); !written) {
      return written;
    }
  }
  auto sink = EventSink::open(directory_.file(kEventsFile).string(), "lab");
  if (!sink) {
    return tl::make_unexpected(sink.error());
  }
  sink_ = std::move(*sink);
  events_file_.reset(::open(directory_.file(kEventsFile).c_str(), O_RDONLY | O_CLOEXEC));
  ::inotify_add_watch(changes_.get(), directory_.file(kEventsFile).c_str(), IN_MODIFY);
  return prepare_tables();
}

// Creates the tables first, so that the processes do not compete to create them.
Result<void> Runner::prepare_tables() {
  auto database = Database::open(directory_.file(kDatabase), 0ms);
  if (!database) {
    return tl::make_unexpected(database.error());
  }
  if (plan_.run.mode != Mode::queued) {
    auto done = database->execute("PRAGMA journal_mode=" + plan_.run.settings.journal);
    if (!done) {
      return done;
    }
  }
  for (const TablePlan& table : plan_.tables) {
    if (auto made = database->execute(table.create); !made) {
      return made;
    }
  }
  return {};
}

Result<void> Runner::start(const ProcessPlan& plan) {
  auto process = ChildProcess::start(
      directory_.path(), kLogFile, plan.arguments,
      {std::string("TURNSTILE_EVENTS=") + kEventsFile, "TURNSTILE_PROCESS=" + plan.name});
  if (!process) {
    return tl::make_unexpected(process.error());
  }
  running_.push_back({plan, std::move(*process)});
  if (has_begun_) {
    report(running_.back(), EventKind::started, 0);
  }
  return {};
}

void Runner::report(const Running& about, EventKind kind, int code) {
  Event event;
  event.kind = kind;
  event.process = about.plan.name;
  event.pid = about.process.pid();
  event.code = code;
  if (kind == EventKind::started) {
    event.role = name_of(about.plan.role);
  }
  sink_->write(std::move(event));
}

Error Runner::ended_early(const Running& process) const {
  const auto last = last_lines(directory_.file(kLogFile), 1);
  return {Errc::unreachable,
          fmt::format("the {} ended early{}", process.plan.name,
                      last.empty() ? std::string() : ": " + last.back()),
          "try again; if it happens again, `turnstile doctor` may say why"};
}

Result<void> Runner::start_servers() {
  for (const ProcessPlan& server : plan_.servers) {
    if (auto started = start(server); !started) {
      return started;
    }
  }
  const auto until = Clock::now() + kReadyTimeout;
  while (!plan_.servers.empty() && !is_ready_ && !is_stopped_) {
    if (Clock::now() >= until) {
      return fail(Errc::unreachable, "broker and consumer are not ready after 20 s",
                  "is the machine very busy? try again");
    }
    wait(100ms);
    if (auto checked = check_processes(); !checked) {
      return checked;
    }
  }
  return {};
}

Result<void> Runner::begin() {
  plan_.run.began_ns = monotonic_ns();
  plan_.run.wall = local_time();
  has_begun_ = true;
  std::ofstream file(directory_.file(kEventsFile), std::ios::binary | std::ios::app);
  file << lines_before(plan_.run);
  if (!file.flush()) {
    return fail(Errc::unreachable, "cannot write events",
                "is there room in the temporary directory? TMPDIR names another");
  }
  for (const Running& server : running_) {
    report(server, EventKind::started, 0);
  }
  if (watcher_.on_begin) {
    watcher_.on_begin(plan_.run, directory_.path());
  }
  for (const ProcessPlan& producer : plan_.producers) {
    if (auto started = start(producer); !started) {
      return started;
    }
  }
  return {};
}

bool Runner::any_runs(Role role) const {
  return std::any_of(running_.begin(), running_.end(), [role](const Running& process) {
    return process.plan.role == role && !process.has_ended;
  });
}

Result<void> Runner::follow() {
  while (any_runs(Role::producer) && !is_stopped_) {
    auto at_most = watcher_.every;
    if (crash_at_) {
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(*crash_at_ - Clock::now());
      at_most = std::clamp<std::chrono::milliseconds>(left, 0ms, at_most);
    }
    wait(at_most);
    auto done = check_processes().and_then([this] { return crash_now(); });
    if (!done) {
      return done;
    }
    call_watcher(false);
  }
  return {};
}

// Waits for an event, for the end of a process, or for `stop_fd_`.
void Runner::wait(std::chrono::milliseconds at_most) {
  std::vector<pollfd> items{{changes_.get(), POLLIN, 0}, {stop_fd_, POLLIN, 0}};
  for (const Running& process : running_) {
    if (!process.has_ended) {
      items.push_back({process.process.pidfd(), POLLIN, 0});
    }
  }
  ::poll(items.data(), items.size(), static_cast<int>(at_most.count()));
  is_stopped_ = is_stopped_ || (items[1].revents & POLLIN) != 0;
  std::array<char, 4096> changes{};
  while (::read(changes_.get(), changes.data(), changes.size()) > 0) {
  }
  read_events();
}

void Runner::read_events() {
  std::array<char, 65536> bytes{};
  for (ssize_t got = 1; got > 0;) {
    got = ::read(events_file_.get(), bytes.data(), bytes.size());
    if (got <= 0) {
      break;
    }
    for (const auto line : lines_.take({bytes.data(), static_cast<std::size_t>(got)})) {
      auto event = parse_event(line);
      if (!event) {
        continue;
      }
      is_ready_ = is_ready_ || event->kind == EventKind::ready;
      crash_if_due(*event);
      // Earlier events, such as the consumer's start, do not belong to the run.
      if (has_begun_ && event->time_ns >= plan_.run.began_ns) {
        events_.push_back(std::move(*event));
      }
    }
  }
}

void Runner::call_watcher(bool now) {
  if (!has_begun_ || !watcher_.on_events ||
      (!now && Clock::now() - passed_on_at_ < watcher_.every)) {
    return;
  }
  passed_on_at_ = Clock::now();
  watcher_.on_events(std::span(events_).subspan(passed_on_));
  passed_on_ = events_.size();
}

Result<void> Runner::check_processes() {
  std::optional<ProcessPlan> restart;
  for (Running& process : running_) {
    if (process.has_ended) {
      continue;
    }
    const auto end = process.process.take_end();
    if (!end) {
      continue;
    }
    process.has_ended = true;
    if (has_begun_) {
      report(process, end->by_signal ? EventKind::crashed : EventKind::ended, end->code);
    }
    if (process.is_killed && plan_.crash->restart) {
      restart = process.plan;
    } else if (process.plan.role != Role::producer && !is_stopped_) {
      return tl::make_unexpected(ended_early(process));
    }
  }
  return restart ? start(*restart) : Result<void>();
}

// ---- the planned crash

void Runner::crash_if_due(const Event& event) {
  if (!plan_.crash || has_crashed_ || !has_begun_) {
    return;
  }
  const auto process = std::find_if(running_.begin(), running_.end(), [&](const Running& one) {
    return one.plan.name == event.process && one.plan.role == plan_.crash->role;
  });
  if (process == running_.end()) {
    return;
  }
  if (event.kind == EventKind::holding && !crash_at_) {
    victim_ = event.process;
    crash_at_ = Clock::now() + plan_.crash->after;
  } else if (event.kind == EventKind::committed && event.process == victim_) {
    crash_at_.reset();  // it committed first: kill the next holder
  }
}

Result<void> Runner::crash_now() {
  if (!crash_at_ || has_crashed_ || Clock::now() < *crash_at_) {
    return {};
  }
  for (Running& process : running_) {
    if (process.plan.name == victim_ && !process.has_ended) {
      process.is_killed = true;
      process.process.signal(SIGKILL);
      has_crashed_ = true;
      break;
    }
  }
  crash_at_.reset();
  return {};
}

// ---- the end

void Runner::stop_all(Role role, std::chrono::milliseconds timeout) {
  for (const Running& process : running_) {
    if (process.plan.role == role && !process.has_ended) {
      process.process.signal(SIGTERM);
    }
  }
  const auto until = Clock::now() + timeout;
  bool is_killed = false;
  while (any_runs(role)) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - Clock::now());
    if (left <= 0ms && !is_killed) {
      is_killed = true;
      for (const Running& process : running_) {
        if (process.plan.role == role && !process.has_ended) {
          process.process.signal(SIGKILL);
        }
      }
    }
    std::vector<pollfd> items;
    for (const Running& process : running_) {
      if (process.plan.role == role && !process.has_ended) {
        items.push_back({process.process.pidfd(), POLLIN, 0});
      }
    }
    ::poll(items.data(), items.size(), static_cast<int>(std::max(left, 100ms).count()));
    for (Running& process : running_) {
      if (process.plan.role != role || process.has_ended) {
        continue;
      }
      if (const auto end = process.process.take_end()) {
        process.has_ended = true;
        if (has_begun_) {
          report(process, end->by_signal ? EventKind::crashed : EventKind::ended, end->code);
        }
      }
    }
  }
}

Result<Ran> Runner::finish() {
  auto tables = read_tables(directory_.file(kDatabase), plan_.tables);
  auto facts = tables.and_then([&](const auto&) { return find_facts(directory_.path(), plan_); });
  if (!facts) {
    return tl::make_unexpected(facts.error());
  }
  Ran ran;
  ran.recording = {plan_.run, std::move(events_), std::move(*facts), is_stopped_};
  std::ofstream(directory_.file(kEventsFile), std::ios::binary | std::ios::app)
      << lines_after(ran.recording);
  // Drop what came before the run began.
  ran.events = read_file(directory_.file(kEventsFile));
  const auto begins = ran.events.find(lines_before(plan_.run));
  ran.events.erase(0, begins == std::string::npos ? 0 : begins);
  ran.log = read_file(directory_.file(kLogFile));
  if (has_begun_ && watcher_.on_end) {
    watcher_.on_end(ran.recording, *tables);
  }
  return ran;
}

Result<Ran> Runner::run() {
  auto done = prepare().and_then([this] { return start_servers(); });
  if (done && !is_stopped_) {
    done = begin().and_then([this] { return follow(); });
  }
  // Producers first: they may still wait for an answer.
  stop_all(Role::producer, kStopTimeout);
  stop_all(Role::consumer, kServerStopTimeout);
  stop_all(Role::broker, kServerStopTimeout);
  if (!done) {
    return tl::make_unexpected(done.error());
  }
  if (!has_begun_) {
    plan_.run.began_ns = monotonic_ns();
    plan_.run.wall = local_time();
  }
  read_events();
  call_watcher(true);
  return finish();
}

}  // namespace

Result<Ran> run_plan(Plan plan, int stop_fd, const Watcher& watcher) {
  return Runner(std::move(plan), stop_fd, watcher).run();
}

}  // namespace turnstile::lab
