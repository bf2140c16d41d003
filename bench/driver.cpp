// bench_driver: measures the lines of the table, prints the table, and writes JSON and a picture.
// bench/run builds and runs it.
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>
#include <string>
#include <system_error>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "bench/jetstream.h"
#include "bench/lines.h"
#include "bench/report.h"
#include "flags/system_info.h"
#include "inspect/disk.h"

namespace turnstile::bench {
namespace {

constexpr int kRounds = 5;
constexpr int kQuickRounds = 2;
constexpr int kLines = 13;
constexpr Counts kQuick{.rows = 100'000,
                        .big_rows = 1'000'000,
                        .waiting_rows = 6'400,
                        .one_rows = 500,
                        .idle_time = std::chrono::seconds(5)};

struct Flags {
  bool quick = false;
  int rounds = 0;  // 0: the default, which depends on --quick
  std::uint64_t rows = 0;
  std::uint64_t waiting_rows = 0;
  std::vector<int> lines;
  std::string json;
  std::string picture;
  std::string directory = ".";
  std::string program;
  std::string sample;
};

// A temporary directory, removed with its files.
class WorkDirectory {
 public:
  explicit WorkDirectory(const std::filesystem::path& parent) {
    std::string path = (std::filesystem::absolute(parent) / "bench.XXXXXX").string();
    if (::mkdtemp(path.data()) == nullptr) {
      throw Failure("cannot make a directory like " + path);
    }
    path_ = path;
  }
  WorkDirectory(const WorkDirectory&) = delete;
  WorkDirectory& operator=(const WorkDirectory&) = delete;
  ~WorkDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

std::string machine_of(const std::filesystem::path& directory) {
  const Machine machine = look_at_machine();
  std::string text =
      fmt::format("{} CPUs ({}), {}, {}, {}", machine.cpus, machine.cpu_model,
                  format_bytes(machine.memory_bytes), machine.system, machine.distribution);
  const auto disk = look_at_disk(directory);
  const auto sync = measure_sync(directory);
  if (disk && sync) {
    text += fmt::format("; {}, a sync of 4 KiB takes {} µs appended, {} µs overwritten",
                        disk->file_system.name, sync->appended.count(), sync->overwritten.count());
  }
  return text;
}

std::string all_versions() {
  std::string text;
  for (const auto& [name, value] : versions()) {
    text += fmt::format("{}{} {}", text.empty() ? "" : ", ", name, value);
  }
  if (jetstream_problem().empty()) {
    text += ", " + jetstream_version();
  }
  return text;
}

std::string work_of(const Flags& flags, const Counts& counts, int rounds) {
  return fmt::format(
      "{}{} rows each time (line 7: {}, line 8: {}, line 11: {}), {} round{}; all with "
      "synchronous=FULL, rows checked each time",
      flags.quick ? "QUICK, so only a hint: " : "", counts.rows, counts.waiting_rows,
      counts.one_rows, counts.big_rows, rounds, rounds == 1 ? "" : "s");
}

void write_file(const std::string& path, const std::string& text) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << text;
  if (!file.flush()) {
    throw Failure("cannot write " + path);
  }
}

// Makes the picture's directory, and reports an unwritable file before minutes of measuring.
void expect_to_write(const std::string& path) {
  if (path.empty()) {
    return;
  }
  std::error_code ignored;  // opening the file reports the error
  std::filesystem::create_directories(std::filesystem::absolute(path).parent_path(), ignored);
  if (!std::ofstream(path, std::ios::app)) {
    throw Failure("cannot write " + path);
  }
}

int measure(const Flags& flags) {
  catch_interrupts();
  expect_to_write(flags.json);
  expect_to_write(flags.picture);
  Counts counts = flags.quick ? kQuick : Counts{};
  if (flags.rows > 0) {
    counts.rows = flags.rows;
    counts.big_rows = 10 * flags.rows;
  }
  if (flags.waiting_rows > 0) {
    counts.waiting_rows = flags.waiting_rows;
  }
  const int usual_rounds = flags.quick ? kQuickRounds : kRounds;
  const int rounds = flags.rounds > 0 ? flags.rounds : usual_rounds;
  std::set<int> lines(flags.lines.begin(), flags.lines.end());
  for (int line = 1; flags.lines.empty() && line <= kLines; ++line) {
    lines.insert(line);
  }
  const WorkDirectory directory(flags.directory);
  const Circumstances with{.machine = machine_of(directory.path()),
                           .versions = all_versions(),
                           .work = work_of(flags, counts, rounds)};
  Figures figures(lines);
  Lines to_measure({.program = std::filesystem::absolute(flags.program),
                    .sample = flags.sample,
                    .directory = directory.path(),
                    .counts = counts},
                   lines, figures);
  const bool terminal = ::isatty(STDERR_FILENO) == 1;
  for (int round = 1; round <= rounds; ++round) {
    to_measure.run(round, [&](const std::string& what) {
      if (terminal) {
        fmt::print(stderr, "\r\033[Kround {} of {}: {} ", round, rounds, what);
      }
    });
  }
  if (terminal) {
    fmt::print(stderr, "\r\033[K");
  }
  fmt::print("{}", as_table(figures.all(), with));
  if (!flags.json.empty()) {
    write_file(flags.json, as_json(figures.all()).dump(2) + "\n");
  }
  if (!flags.picture.empty()) {
    write_file(flags.picture, as_picture(figures.all(), with));
    fmt::print("\npicture: {}\n", flags.picture);
  }
  return EXIT_SUCCESS;
}

}  // namespace
}  // namespace turnstile::bench

int main(int argc, char** argv) {
  using namespace turnstile::bench;
  Flags flags;
  CLI::App app("Compare turnstile with what people use today. README.md describes how.",
               "bench/run");
  app.add_flag("--quick", flags.quick, "Fewer rows and rounds: a hint in about a minute");
  app.add_option("--rounds", flags.rounds, "Make each comparison N times")
      ->check(CLI::Range(1, 999));
  app.add_option("--rows", flags.rows,
                 "Rows of lines 1 to 6, 9 and 10; line 11 has ten times as many")
      ->check(CLI::Range(std::uint64_t{100}, std::uint64_t{100'000'000}));
  app.add_option("--waiting-rows", flags.waiting_rows, "Rows of line 7, all processes together")
      ->check(CLI::Range(std::uint64_t{100}, std::uint64_t{100'000'000}));
  app.add_option("--lines", flags.lines, "Measure only these lines, such as 1,3,7")
      ->delimiter(',')
      ->check(CLI::Range(1, kLines));
  app.add_option("--json", flags.json, "Write the figures to FILE as JSON");
  // bench/run puts its own values before those of its caller.
  app.add_option("--picture", flags.picture, "Write the figures to FILE as SVG")->take_last();
  app.add_option("--dir", flags.directory, "Directory for files, on the disk to measure")
      ->take_last()
      ->check(CLI::ExistingDirectory);
  app.add_option("--program", flags.program, "turnstile")->required()->check(CLI::ExistingFile);
  app.add_option("--sample", flags.sample, "A CSV of nutrients")
      ->required()
      ->check(CLI::ExistingFile);
  try {
    app.parse(argc, argv);
    return measure(flags);
  } catch (const CLI::ParseError& problem) {
    constexpr int kUsage = 2;
    return app.exit(problem) == 0 ? EXIT_SUCCESS : kUsage;
  } catch (const Interrupted&) {
    constexpr int kInterrupted = 130;
    return kInterrupted;
  } catch (const std::exception& problem) {
    fmt::print(stderr, "\nbench/run: {}\n", problem.what());
    return EXIT_FAILURE;
  }
}
