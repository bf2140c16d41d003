#include "flags/system_info.h"

#include <sqlite3.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <ctime>
#include <fstream>
#include <thread>

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <msgpack/version.hpp>
#include <spdlog/version.h>
#include <zmq.h>

#include "generated/version.h"

namespace turnstile {
namespace {

constexpr int kHundred = 100;

std::string dotted(int major, int minor, int patch) {
  return fmt::format("{}.{}.{}", major, minor, patch);
}

// The value behind `key` in a file of `key <separator> value` lines.
std::string value_in_file(const std::string& path, std::string_view key, char separator) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    const std::size_t at = line.find(separator);
    if (line.starts_with(key) && at != std::string::npos) {
      const std::size_t start = line.find_first_not_of(" \t\"", at + 1);
      const std::size_t end = line.find_last_not_of(" \t\"");
      if (start != std::string::npos) {
        return line.substr(start, end - start + 1);
      }
    }
  }
  return "unknown";
}

std::string compiler() {
#if defined(__clang__)
  return fmt::format("Clang {}", __clang_version__);
#else
  return fmt::format("GCC {}", __VERSION__);
#endif
}

}  // namespace

Machine look_at_machine() {
  Machine machine;
  utsname names{};
  uname(&names);
  machine.system =
      fmt::format("{} {} {}", static_cast<const char*>(names.sysname),
                  static_cast<const char*>(names.release), static_cast<const char*>(names.machine));
  machine.distribution = value_in_file("/etc/os-release", "PRETTY_NAME", '=');
  machine.cpus = std::thread::hardware_concurrency();
  machine.cpu_model = value_in_file("/proc/cpuinfo", "model name", ':');
  machine.memory_bytes = static_cast<std::uint64_t>(sysconf(_SC_PHYS_PAGES)) *
                         static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
  return machine;
}

std::string current_date() {
  const auto now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
  return fmt::format("{:%Y-%m-%d %H:%M:%S %z}", fmt::localtime(now));
}

std::string sqlite_version() {
  return sqlite3_libversion();
}

std::string zeromq_version() {
  int major = 0;
  int minor = 0;
  int patch = 0;
  zmq_version(&major, &minor, &patch);
  return dotted(major, minor, patch);
}

std::vector<NamedValue> versions() {
  return {
      {"turnstile", kVersion},
      {"compiler", compiler()},
      {"sqlite", sqlite_version()},
      {"sqlite_header", SQLITE_VERSION},
      {"zeromq", zeromq_version()},
      {"msgpack", MSGPACK_VERSION},
      {"fmt", dotted(FMT_VERSION / (kHundred * kHundred), FMT_VERSION / kHundred % kHundred,
                     FMT_VERSION % kHundred)},
      {"spdlog", dotted(SPDLOG_VER_MAJOR, SPDLOG_VER_MINOR, SPDLOG_VER_PATCH)},
  };
}

std::string format_bytes(std::uint64_t bytes) {
  constexpr double kStep = 1024.0;
  constexpr std::array<std::string_view, 5> kUnits{"bytes", "KiB", "MiB", "GiB", "TiB"};
  auto amount = static_cast<double>(bytes);
  std::size_t unit = 0;
  while (amount >= kStep && unit + 1 < kUnits.size()) {
    amount /= kStep;
    ++unit;
  }
  return unit == 0 ? fmt::format("{} {}", bytes, kUnits[0])
                   : fmt::format("{:.1f} {}", amount, kUnits.at(unit));
}

std::vector<std::string> aligned(const std::vector<NamedValue>& values, std::string_view indent) {
  std::size_t width = 0;
  for (const NamedValue& value : values) {
    width = std::max(width, value.name.size());
  }
  std::vector<std::string> lines;
  lines.reserve(values.size());
  for (const NamedValue& value : values) {
    lines.push_back(fmt::format("{}{:<{}}  {}", indent, value.name, width, value.value));
  }
  return lines;
}

bool has_wal_reset_race(int sqlite_version_number) {
  constexpr int kFirst = 3'007'000;
  constexpr int kLast = 3'051'002;
  constexpr int kMinor = 1000;
  const int release = sqlite_version_number / kMinor;
  const int patch = sqlite_version_number % kMinor;
  const bool has_backport = (release == 3'044 && patch >= 6) || (release == 3'050 && patch >= 7);
  return sqlite_version_number >= kFirst && sqlite_version_number <= kLast && !has_backport;
}

}  // namespace turnstile
