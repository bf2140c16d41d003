// `turnstile doctor`: a report on the machine, the libraries and the disk under the database, for
// people, as JSON or in a file. It changes nothing: a temporary file measures the sync and goes.
//
// The JSON object has the keys date, system, distribution, cpus, cpu_model, memory_bytes, versions
// (an object: turnstile, compiler, sqlite, sqlite_header, zeromq, msgpack, fmt, spdlog), curve,
// ipc, sqlite_threadsafe, sqlite_wal_reset_race, database (path, folder, writable, file_system,
// file_system_kind, free_bytes, sync_appended_us, sync_overwritten_us; the last five are null where
// they could not be found out), warnings and errors (arrays of text).
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "flags/cli11.h"
#include "flags/options.h"
#include "flags/system_info.h"
#include "inspect/disk.h"

namespace turnstile {

struct Diagnosis {
  std::string date;
  Machine machine;
  std::vector<NamedValue> versions;
  bool curve = false;
  bool ipc = false;
  int sqlite_threadsafe =
      0;  // as sqlite3_threadsafe: 0 single-thread, 1 serialized, 2 multi-thread
  bool sqlite_wal_reset_race = false;
  std::filesystem::path database;  // absolute, symbolic links resolved
  std::optional<Disk> disk;
  std::optional<SyncTimes> sync;
  std::vector<std::string> warnings;
  std::vector<Error> errors;
};

Diagnosis diagnose(const std::filesystem::path& database);

// What is wrong with the disk; unknown values give no warning. Pure.
std::vector<std::string> disk_warnings(const Disk& disk, const std::optional<SyncTimes>& sync);

std::string text_report(const Diagnosis& diagnosis);
nlohmann::ordered_json json_report(const Diagnosis& diagnosis);

// Registers the subcommand; its callback leaves an ExitCode in `exit_code`: done, also with
// warnings, or unreachable when the database's directory or the report's file cannot be written.
void add_doctor_command(CLI::App& app, int& exit_code);

}  // namespace turnstile
