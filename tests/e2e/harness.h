// Real processes in a folder of their own. Nothing here sleeps: waits are for an event (a file that
// changes, a process that ends) and have a deadline.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <initializer_list>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "tests/support/sanitized.h"
#include "tests/support/seed.h"

namespace turnstile::e2e {

using test::test_seed;

using namespace std::chrono_literals;

inline constexpr std::chrono::seconds kPatience{60};
inline constexpr std::uint64_t kMiB = std::uint64_t{1024} * 1024;

std::string read_file(const std::filesystem::path& path);
void write_file(const std::filesystem::path& path, std::string_view content);

class Process;

// A short path (socket addresses are limited), removed with everything in it at the end.
class Folder {
 public:
  Folder();
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  ~Folder();

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  [[nodiscard]] std::string file(std::string_view name) const { return path_ / name; }

  // Until `done` is true; it is asked again whenever a file in the folder changes, and when
  // `process` ends. False: too late.
  bool wait_until(const std::function<bool()>& done, const Process* process = nullptr,
                  std::chrono::milliseconds patience = kPatience);

 private:
  std::filesystem::path path_;
  int inotify_ = -1;
};

// One run of the program, its output in NAME.out and NAME.err of the folder. Killed at the end if
// it still runs.
class Process {
 public:
  // `input` is a descriptor to read from; unless given there is nothing to read.
  Process(Folder& folder, std::string name, const std::vector<std::string>& arguments,
          const std::vector<std::string>& environment = {}, int input = -1);
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;
  Process(Process&& other) noexcept;
  Process& operator=(Process&& other) noexcept;
  ~Process();

  void signal(int number) const;
  // SIGSTOP, and at rest (or ended) when this returns.
  void pause() const;
  // The exit code, or 128 + the signal that ended it; nothing: it still runs after `patience`.
  std::optional<int> wait(std::chrono::milliseconds patience = kPatience);
  // SIGKILL, and gone when this returns.
  void kill();
  [[nodiscard]] bool running();

  [[nodiscard]] std::string out() const { return read_file(out_path_); }
  [[nodiscard]] std::string err() const { return read_file(err_path_); }
  // The last line of its output as JSON.
  [[nodiscard]] nlohmann::json json() const;
  // The most memory it had resident so far, and what it has now, in KiB. Only while it runs.
  [[nodiscard]] std::uint64_t peak_resident_kib() const { return status_field("VmHWM:"); }
  [[nodiscard]] std::uint64_t resident_kib() const { return status_field("VmRSS:"); }
  [[nodiscard]] std::size_t open_files() const;
  // How long its main thread was ready to run so far, but had no processor. Zero where the kernel
  // does not count it.
  [[nodiscard]] std::chrono::nanoseconds waited_for_processor() const;
  [[nodiscard]] pid_t pid() const { return pid_; }
  // Readable once it has ended.
  [[nodiscard]] int pidfd() const { return pidfd_; }

 private:
  [[nodiscard]] std::uint64_t status_field(std::string_view name) const;

  pid_t pid_ = -1;
  int pidfd_ = -1;
  std::optional<int> exit_code_;
  std::string out_path_;
  std::string err_path_;
};

// The whole system in one folder: broker.sock, journal.db, shared.db, out9.txt.
class System {
 public:
  Folder folder;
  // For all that do not name another with --broker. A port `*` is replaced by the one that the
  // broker got, when broker() has started it.
  std::string endpoint = "ipc://" + folder.file("broker.sock");

  Process broker(std::vector<std::string> more = {});
  Process consumer(std::vector<std::string> more = {}, const std::string& name = "consumer") {
    more.insert(more.begin(),
                {"consumer", "--db", folder.file("shared.db"), "--text", folder.file("out9.txt")});
    return run(name, std::move(more));
  }
  // Both in one process.
  Process serve(std::vector<std::string> more = {}) {
    more.insert(more.begin(), {"serve", "--journal-file", folder.file("journal.db"), "--db",
                               folder.file("shared.db"), "--text", folder.file("out9.txt")});
    return run("serve", std::move(more));
  }
  // What takes rows in and writes them: broker and consumer, or one process for both.
  std::vector<Process> servers(bool in_one_process) {
    std::vector<Process> running;
    if (in_one_process) {
      running.push_back(serve());
    } else {
      running.push_back(broker());
      running.push_back(consumer());
    }
    return running;
  }
  Process produce(std::vector<std::string> more, const std::string& name = "producer",
                  int input = -1) {
    more.insert(more.begin(), "produce");
    return run(name, std::move(more), input);
  }
  nlohmann::json status();
  // `turnstile check` of all files, for tables that only turnstile wrote.
  Process check(const std::vector<std::string>& more = {});
  // Waits until the status report fits.
  bool wait_for_status(const std::function<bool(const nlohmann::json&)>& fits);

  // The single integer that `sql` gives from shared.db; -1 while it cannot be asked.
  [[nodiscard]] std::int64_t query(const std::string& sql) const;
  [[nodiscard]] std::vector<std::vector<std::string>> rows(const std::string& sql) const;
  bool wait_for_rows(const std::string& table, std::int64_t rows);
  // The lines of a commit are written right behind it, so whoever has only seen its rows waits.
  bool wait_for_text_log();

 private:
  Process run(const std::string& name, std::vector<std::string> arguments, int input = -1);
  int runs_ = 0;
};

// What out9.txt has to be, from the table: written here without a line of the product's code.
std::string expected_text_log(const System& system, const std::string& table = "nutrients");

// `rows` rows in the form of the nutrients file, ids from `first_id` on, each id once.
std::string nutrients_csv(std::int64_t rows, std::int64_t first_id = 1);

// How long a campaign is: TURNSTILE_ROUNDS, or so many.
int test_rounds(int unless_given);

// A file's size; 0 while it is missing.
std::uintmax_t size_of(const std::filesystem::path& path);

}  // namespace turnstile::e2e
