#include "inspect/doctor.h"

#include <sqlite3.h>

#include <cstdio>
#include <fstream>
#include <memory>
#include <string_view>
#include <system_error>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <zmq.h>

#include "base/utf8.h"

namespace turnstile {
namespace {

constexpr std::chrono::microseconds kFastestRealSync{20};
constexpr std::uint64_t kLittleSpace = std::uint64_t{1} << 30U;

struct DoctorOptions {
  std::string db;
  std::string out;
  bool json = false;
};

std::filesystem::path resolved(const std::filesystem::path& path) {
  std::error_code error;
  const auto absolute = std::filesystem::absolute(path, error);
  const auto canonical = std::filesystem::weakly_canonical(absolute, error);
  return error ? absolute : canonical;
}

std::string_view yes_or_no(bool value) {
  return value ? "yes" : "no";
}

std::string_view threadsafe_name(int mode) {
  switch (mode) {
    case 0:
      return "single-thread";
    case 1:
      return "serialized";
    default:
      return "multi-thread";
  }
}

void append_section(std::string& report, std::string_view title,
                    const std::vector<NamedValue>& values) {
  report += fmt::format("\n{}\n", title);
  for (const std::string& line : aligned(values, "  ")) {
    report += line + "\n";
  }
}

std::vector<NamedValue> database_values(const Diagnosis& diagnosis) {
  std::vector<NamedValue> values{{"file", diagnosis.database.string()}};
  if (diagnosis.disk) {
    values.push_back({"file system", diagnosis.disk->file_system.name});
    values.push_back({"free space", format_bytes(diagnosis.disk->free_bytes)});
  }
  if (diagnosis.sync) {
    values.push_back({"sync of 4 KiB", fmt::format("{} µs appended, {} µs overwriting (medians)",
                                                   diagnosis.sync->appended.count(),
                                                   diagnosis.sync->overwritten.count())});
  }
  return values;
}

Result<void> write_file(const std::string& path, const std::string& text) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << text;
  file.close();
  if (!file) {
    return fail(Errc::unreachable, fmt::format("cannot write the report to '{}'", path),
                "give --out a file in a directory that exists and that this user can write");
  }
  return {};
}

int run_doctor(const DoctorOptions& options) {
  const Diagnosis diagnosis = diagnose(options.db);
  const std::string text = text_report(diagnosis);
  if (options.json) {
    // A path need not be UTF-8; JSON must be.
    constexpr auto kReplace = nlohmann::ordered_json::error_handler_t::replace;
    fmt::print("{}\n", json_report(diagnosis).dump(2, ' ', true, kReplace));
  } else if (options.out.empty()) {
    fmt::print("{}", text);
  }
  if (!options.out.empty()) {
    if (const auto written = write_file(options.out, text); !written) {
      print_error(written.error());
      return exit_code_for(written.error());
    }
    fmt::print(stderr, "report written to {}\n", printable(options.out));
  }
  for (const Error& error : diagnosis.errors) {
    print_error(error);
  }
  return static_cast<int>(diagnosis.errors.empty() ? ExitCode::done : ExitCode::unreachable);
}

}  // namespace

Diagnosis diagnose(const std::filesystem::path& database) {
  Diagnosis diagnosis;
  diagnosis.date = current_date();
  diagnosis.machine = look_at_machine();
  diagnosis.versions = versions();
  diagnosis.curve = zmq_has("curve") == 1;
  diagnosis.ipc = zmq_has("ipc") == 1;
  diagnosis.sqlite_threadsafe = sqlite3_threadsafe();
  diagnosis.sqlite_wal_reset_race = has_wal_reset_race(sqlite3_libversion_number());
  diagnosis.database = resolved(database);
  if (diagnosis.sqlite_threadsafe == 0) {
    diagnosis.warnings.emplace_back("SQLite was built for one thread; install one that was not");
  }
  if (!diagnosis.ipc) {
    diagnosis.warnings.emplace_back("ZeroMQ has no ipc: only tcp:// endpoints will work");
  }
  const std::filesystem::path directory = diagnosis.database.parent_path();
  auto disk = look_at_disk(directory);
  if (!disk) {
    diagnosis.errors.push_back(std::move(disk.error()));
    return diagnosis;
  }
  diagnosis.disk = std::move(*disk);
  if (auto sync = measure_sync(directory)) {
    diagnosis.sync = *sync;
  } else {
    diagnosis.errors.push_back(std::move(sync.error()));
  }
  for (std::string& warning : disk_warnings(*diagnosis.disk, diagnosis.sync)) {
    diagnosis.warnings.push_back(std::move(warning));
  }
  return diagnosis;
}

std::vector<std::string> disk_warnings(const Disk& disk, const std::optional<SyncTimes>& sync) {
  std::vector<std::string> warnings;
  const FileSystem& files = disk.file_system;
  if (files.kind == FileSystemKind::memory) {
    warnings.push_back(fmt::format("{} does not survive a power cut", files.name));
  } else if (files.kind == FileSystemKind::network) {
    warnings.push_back(
        fmt::format("{} may lie on another machine: SQLite's locks and syncs cannot be relied on "
                    "there; keep the database on a local disk",
                    files.name));
  }
  const bool is_fast =
      sync && (sync->appended < kFastestRealSync || sync->overwritten < kFastestRealSync);
  if (is_fast && files.kind != FileSystemKind::memory) {
    warnings.emplace_back("the sync is suspiciously fast: the disk or VM may not really sync");
  }
  if (disk.free_bytes < kLittleSpace) {
    warnings.push_back(
        fmt::format("only {} free under the database", format_bytes(disk.free_bytes)));
  }
  return warnings;
}

std::string text_report(const Diagnosis& diagnosis) {
  const Machine& machine = diagnosis.machine;
  std::string report = fmt::format("turnstile doctor, {}\n", diagnosis.date);
  append_section(report, "Machine",
                 {{"system", machine.system},
                  {"distribution", machine.distribution},
                  {"CPUs", fmt::format("{} ({})", machine.cpus, machine.cpu_model)},
                  {"memory", format_bytes(machine.memory_bytes)}});
  append_section(report, "Versions", diagnosis.versions);
  append_section(report, "Libraries",
                 {{"ZeroMQ CURVE", std::string(yes_or_no(diagnosis.curve))},
                  {"ZeroMQ ipc", std::string(yes_or_no(diagnosis.ipc))},
                  {"SQLite threads", std::string(threadsafe_name(diagnosis.sqlite_threadsafe))},
                  {"WAL-reset race", std::string(yes_or_no(diagnosis.sqlite_wal_reset_race))}});
  append_section(report, "Database", database_values(diagnosis));

  report += "\nResult\n";
  for (const Error& error : diagnosis.errors) {
    report += fmt::format("  ERROR    {}\n", error.what);
  }
  for (const std::string& warning : diagnosis.warnings) {
    report += fmt::format("  WARNING  {}\n", warning);
  }
  if (diagnosis.errors.empty() && diagnosis.warnings.empty()) {
    report += "  all fine\n";
  }
  if (diagnosis.sqlite_wal_reset_race) {
    report +=
        "  NOTE     WAL-reset race: this version of SQLite may damage a WAL database that several\n"
        "           connections write and checkpoint concurrently. Queued mode has one such "
        "connection;\n"
        "           direct mode has many: keep it on the rollback journal\n";
  }
  return printable_lines(report);
}

nlohmann::ordered_json json_report(const Diagnosis& diagnosis) {
  nlohmann::ordered_json json{
      {"date", diagnosis.date},
      {"system", diagnosis.machine.system},
      {"distribution", diagnosis.machine.distribution},
      {"cpus", diagnosis.machine.cpus},
      {"cpu_model", diagnosis.machine.cpu_model},
      {"memory_bytes", diagnosis.machine.memory_bytes},
  };
  for (const NamedValue& version : diagnosis.versions) {
    json["versions"][version.name] = version.value;
  }
  json["curve"] = diagnosis.curve;
  json["ipc"] = diagnosis.ipc;
  json["sqlite_threadsafe"] = threadsafe_name(diagnosis.sqlite_threadsafe);
  json["sqlite_wal_reset_race"] = diagnosis.sqlite_wal_reset_race;

  auto& database = json["database"];
  database["path"] = diagnosis.database.string();
  database["folder"] = diagnosis.database.parent_path().string();
  database["writable"] = diagnosis.sync.has_value();
  for (const auto* key : {"file_system", "file_system_kind", "free_bytes", "sync_appended_us",
                          "sync_overwritten_us"}) {
    database[key] = nullptr;
  }
  if (diagnosis.disk) {
    database["file_system"] = diagnosis.disk->file_system.name;
    database["file_system_kind"] = file_system_kind_name(diagnosis.disk->file_system.kind);
    database["free_bytes"] = diagnosis.disk->free_bytes;
  }
  if (diagnosis.sync) {
    database["sync_appended_us"] = diagnosis.sync->appended.count();
    database["sync_overwritten_us"] = diagnosis.sync->overwritten.count();
  }

  json["warnings"] = diagnosis.warnings;
  json["errors"] = nlohmann::ordered_json::array();
  for (const Error& error : diagnosis.errors) {
    json["errors"].push_back(error.what);
  }
  return json;
}

void add_doctor_command(CLI::App& app, int& exit_code) {
  CLI::App* command = app.add_subcommand(
      "doctor", "Report on this machine, its libraries and the disk under the database");
  const auto options = std::make_shared<DoctorOptions>();
  add_db_option(*command, options->db);
  add_json_flag(*command, options->json);
  command->add_option("--out", options->out, "Write the report to this file instead")
      ->type_name("FILE");
  add_config_option(*command);
  command->callback([options, &exit_code] { exit_code = run_doctor(*options); });
}

}  // namespace turnstile
