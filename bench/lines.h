// Measures the lines of the table. A figure counts only if all rows arrived unchanged. README.md
// says why each comparison is fair.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "bench/claims.h"
#include "bench/rows.h"

namespace turnstile::bench {

struct Counts {
  std::uint64_t rows = 1'000'000;
  std::uint64_t big_rows = 10'000'000;  // line 11
  std::uint64_t waiting_rows = 20'000;  // line 7, all processes together
  std::uint64_t one_rows = 5'000;       // line 8
  std::size_t writers = 64;
  std::size_t idle_producers = 100;
  std::chrono::seconds idle_time{30};
};

struct Setting {
  std::filesystem::path program;    // turnstile
  std::filesystem::path sample;     // a CSV of nutrients
  std::filesystem::path directory;  // for files during the measurement
  Counts counts;
};

class Lines {
 public:
  // Creates the files that the lines read.
  Lines(Setting setting, const std::set<int>& lines, Figures& figures);

  // One round: measures each line, short ones several times, and alternates which side goes first.
  // Rounds count from 1. Calls `on_begin` with the line that begins.
  void run(int round, const std::function<void(const std::string& what)>& on_begin);

 private:
  struct Stored {
    double store_seconds;
    double drain_seconds;
    double peak_mib;
  };
  struct Input {
    std::filesystem::path csv;
    Fingerprint fingerprint;
  };
  enum class Way { apart, serve, direct, jetstream };

  Input make_input(const std::string& name, std::uint64_t first, std::uint64_t rows);
  [[nodiscard]] bool wanted(int line) const { return lines_.contains(line); }
  [[nodiscard]] double rate(double seconds) const;

  // Makes an empty directory, and memory available.
  [[nodiscard]] std::filesystem::path fresh(const std::string& name) const;

  // The measurements: each starts from nothing, in a fresh directory. Seconds.
  double through_turnstile(bool with_text);
  double through_import();
  double through_limit();
  double four_producers();
  double append_for_each();
  double through_jetstream(bool one_row_a_message);
  Stored store_and_drain(const Input& input);
  double median_wait(Way way);

  void compare_with_import(int time);
  void compare_with_limit(int time);
  void compare_four(int time);
  void compare_each(int time);
  void compare_with_jetstream(int time);
  void compare_waiting(int time);
  void compare_one(int time);
  void compare_backlog(int time);
  void compare_big_backlog();
  void measure_idle();
  void measure_start();

  Setting setting_;
  std::set<int> lines_;
  Figures& figures_;
  Sample sample_;
  bool has_serve_;
  std::string jetstream_problem_;
  Input all_;
  Input big_;
  Input one_;
  std::vector<Input> quarters_;
};

}  // namespace turnstile::bench
