#include "inspect/doctor.h"

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <iterator>

#include <CLI/CLI.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "flags/config.h"
#include "tests/flags/environment.h"
#include "tests/support/temporary_folder.h"

namespace turnstile {
namespace {

using std::chrono::microseconds;
using testing::AllOf;
using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

constexpr std::uint64_t kPlenty = std::uint64_t{1} << 40U;

struct Printed {
  int exit_code;
  std::string output;
  std::string errors;
};

Printed run_doctor(const std::vector<std::string>& arguments) {
  const Environment clean{{"TURNSTILE_DB", ""},
                          {"TURNSTILE_OUT", ""},
                          {"TURNSTILE_JSON", ""},
                          {"TURNSTILE_CONFIG", ""}};
  CLI::App app;
  int exit_code = -1;
  add_doctor_command(app, exit_code);
  std::vector<const char*> argv{"turnstile", "doctor"};
  for (const std::string& argument : arguments) {
    argv.push_back(argument.c_str());
  }
  testing::internal::CaptureStdout();
  testing::internal::CaptureStderr();
  exit_code = run_command_line(app, static_cast<int>(argv.size()), argv.data(), exit_code);
  return {exit_code, testing::internal::GetCapturedStdout(),
          testing::internal::GetCapturedStderr()};
}

std::vector<std::string> keys(const nlohmann::ordered_json& json) {
  std::vector<std::string> names;
  for (const auto& [key, value] : json.items()) {
    names.push_back(key);
  }
  return names;
}

TEST(Doctor, JsonIsOneObjectWithTheDocumentedKeys) {
  const TemporaryFolder folder(testing::TempDir());
  const Printed outcome = run_doctor({"--json", "--db", (folder.path() / "a.db").string()});
  EXPECT_EQ(outcome.exit_code, 0);
  const auto json = nlohmann::ordered_json::parse(outcome.output);
  EXPECT_THAT(keys(json),
              testing::ElementsAre("date", "system", "distribution", "cpus", "cpu_model",
                                   "memory_bytes", "versions", "curve", "ipc", "sqlite_threadsafe",
                                   "sqlite_wal_reset_race", "database", "warnings", "errors"));
  EXPECT_THAT(keys(json["versions"]),
              testing::ElementsAre("turnstile", "compiler", "sqlite", "sqlite_header", "zeromq",
                                   "msgpack", "fmt", "spdlog"));
  EXPECT_THAT(keys(json["database"]),
              testing::ElementsAre("path", "folder", "writable", "file_system", "file_system_kind",
                                   "free_bytes", "sync_appended_us", "sync_overwritten_us"));
  EXPECT_EQ(json["database"]["writable"], true);
  EXPECT_TRUE(json["database"]["sync_appended_us"].is_number());
  EXPECT_TRUE(json["errors"].empty());
}

TEST(Doctor, TheReportNamesMachineVersionsAndDisk) {
  const TemporaryFolder folder(testing::TempDir());
  const Printed outcome = run_doctor({"--db", (folder.path() / "a.db").string()});
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_THAT(outcome.output,
              AllOf(HasSubstr("  memory "), HasSubstr("  zeromq "), HasSubstr("  ZeroMQ CURVE "),
                    HasSubstr("  WAL-reset race "), HasSubstr("  file system "),
                    HasSubstr("  free space "), HasSubstr("  sync of 4 KiB ")));
  EXPECT_EQ(outcome.errors, "");
}

TEST(Doctor, AFolderInMemoryIsReportedAsNotSurvivingAPowerCut) {
  const TemporaryFolder folder("/dev/shm");
  const Printed outcome = run_doctor({"--db", (folder.path() / "a.db").string()});
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_THAT(outcome.output, HasSubstr("WARNING  tmpfs does not survive a power cut"));
  EXPECT_THAT(outcome.output, Not(HasSubstr("suspiciously fast")));
}

TEST(Doctor, AMissingFolderExitsWith3AndStillReportsTheRest) {
  const Printed outcome = run_doctor({"--db", "/nowhere/at/all/a.db"});
  EXPECT_EQ(outcome.exit_code, 3);
  EXPECT_THAT(outcome.output, AllOf(HasSubstr("  memory "), HasSubstr("ERROR    cannot open")));
  EXPECT_THAT(outcome.errors, AllOf(HasSubstr("'/nowhere/at/all'"), HasSubstr("hint: ")));
}

TEST(Doctor, AFolderThatCannotBeWrittenExitsWith3AndJsonSaysSo) {
  const Printed outcome = run_doctor({"--json", "--db", "/proc/a.db"});
  EXPECT_EQ(outcome.exit_code, 3);
  const auto json = nlohmann::json::parse(outcome.output);
  EXPECT_EQ(json["database"]["writable"], false);
  EXPECT_TRUE(json["database"]["sync_appended_us"].is_null());
  EXPECT_EQ(json["errors"].size(), 1U);
}

TEST(Doctor, OutWritesTheReportToTheFileAndSaysSo) {
  const TemporaryFolder folder(testing::TempDir());
  const std::string path = (folder.path() / "00_report_core.txt").string();
  const std::string db = (folder.path() / "a.db").string();
  const Printed outcome = run_doctor({"--db", db, "--out", path});
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_EQ(outcome.output, "");
  EXPECT_EQ(outcome.errors, "report written to " + path + "\n");
  std::ifstream file(path);
  const std::string report{std::istreambuf_iterator<char>(file), {}};
  EXPECT_THAT(report, AllOf(testing::StartsWith("turnstile doctor, "), HasSubstr(db)));
}

TEST(Doctor, OutThatCannotBeWrittenExitsWith3) {
  const TemporaryFolder folder(testing::TempDir());
  const Printed outcome =
      run_doctor({"--db", (folder.path() / "a.db").string(), "--out", "/nowhere/report.txt"});
  EXPECT_EQ(outcome.exit_code, 3);
  EXPECT_THAT(outcome.errors, HasSubstr("'/nowhere/report.txt'"));
}

TEST(Doctor, ADatabaseBehindALinkIsLookedAtWhereItLies) {
  const TemporaryFolder folder(testing::TempDir());
  const TemporaryFolder memory("/dev/shm");
  std::ofstream(memory.path() / "real.db") << "x";
  std::filesystem::create_symlink(memory.path() / "real.db", folder.path() / "link.db");
  const Diagnosis diagnosis = diagnose(folder.path() / "link.db");
  EXPECT_EQ(diagnosis.database, memory.path() / "real.db");
  EXPECT_THAT(diagnosis.warnings, Contains(HasSubstr("does not survive")));
}

TEST(DiskWarnings, ALocalDiskThatSyncsAndHasSpaceHasNone) {
  EXPECT_THAT(disk_warnings({{"XFS", FileSystemKind::local}, kPlenty},
                            SyncTimes{microseconds(200), microseconds(80)}),
              IsEmpty());
}

TEST(DiskWarnings, ANetworkFileSystemIsNamed) {
  EXPECT_THAT(disk_warnings({{"NFS", FileSystemKind::network}, kPlenty}, std::nullopt),
              Contains(AllOf(HasSubstr("NFS"), HasSubstr("another machine"))));
}

TEST(DiskWarnings, ASyncFasterThanADiskIsSuspicious) {
  for (const SyncTimes& times : {SyncTimes{microseconds(19), microseconds(80)},
                                 SyncTimes{microseconds(200), microseconds(19)}}) {
    EXPECT_THAT(disk_warnings({{"XFS", FileSystemKind::local}, kPlenty}, times),
                Contains(HasSubstr("suspiciously fast: the disk or VM may not really sync")));
  }
}

TEST(DiskWarnings, LittleSpaceIsNamed) {
  EXPECT_THAT(disk_warnings({{"XFS", FileSystemKind::local}, 1U << 20U}, std::nullopt),
              Contains(HasSubstr("only 1.0 MiB free")));
}

}  // namespace
}  // namespace turnstile
