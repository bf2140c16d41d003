// What the start-up banner and `turnstile doctor` tell about the machine and the libraries.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace turnstile {

struct NamedValue {
  std::string name;
  std::string value;
};

struct Machine {
  std::string system;        // kernel, its release and the architecture
  std::string distribution;  // "unknown" where /etc/os-release does not say
  unsigned cpus = 0;
  std::string cpu_model;
  std::uint64_t memory_bytes = 0;
};

Machine look_at_machine();

// Local time with its offset: 2024-05-05 17:39:01 +0200.
std::string current_date();

// Libraries are reported as they run, which may differ from the headers of the build.
std::string sqlite_version();
std::string zeromq_version();

// turnstile, compiler, sqlite, sqlite_header, zeromq, msgpack, fmt, spdlog.
std::vector<NamedValue> versions();

// For people: "23.5 GiB".
std::string format_bytes(std::uint64_t bytes);

// Each name padded to the longest, then its value, with `indent` before both.
std::vector<std::string> aligned(const std::vector<NamedValue>& values, std::string_view indent);

// Whether this version of SQLite (as sqlite3_libversion_number) may damage a WAL database that
// several connections write and checkpoint concurrently: 3.7.0 to 3.51.2, except the later
// releases of 3.44 and 3.50, which have the fix as well. See
// https://www.sqlite.org/wal.html#walresetbug
bool has_wal_reset_race(int sqlite_version_number);

}  // namespace turnstile
