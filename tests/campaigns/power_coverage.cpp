#include "tests/campaigns/power_coverage.h"

#include <filesystem>
#include <string_view>

#include <fmt/format.h>

namespace turnstile::test::power {
namespace {

constexpr std::uint64_t kLogHeaderBytes = 32;

std::string_view name_of(Stage stage) {
  switch (stage) {
    case Stage::opening:
      return "opening";
    case Stage::running:
      return "running";
    case Stage::closing:
      return "closing";
    case Stage::of_a_stranger:
      return "another program";
  }
  return "";
}

// Of a database at `path`; empty when the call is none of its own.
std::string what_of_database(const PowerDisk::Call& call, const std::string& path,
                             const PowerDisk& disk) {
  if (call.operation == PowerDisk::Operation::sync_folder) {
    return call.path == std::filesystem::path(path).parent_path() ? "folder" : "";
  }
  if (call.path == path + "-wal") {
    return call.bytes == 0                 ? "log, before a checkpoint"
           : call.bytes == kLogHeaderBytes ? "log, header"
                                           : "log, commit";
  }
  if (call.path == path + "-journal") {
    return "rollback journal";
  }
  if (call.path == path) {
    return disk.exists(path + "-journal") ? "file, without a log" : "file, checkpoint";
  }
  return "";
}

}  // namespace

std::string sync_point(const PowerDisk::Call& call, const SimulatedSystem& system,
                       const Paths& paths, const PowerDisk& disk) {
  if (call.operation != PowerDisk::Operation::sync &&
      call.operation != PowerDisk::Operation::sync_folder) {
    return "";
  }
  if (const auto what = what_of_database(call, paths.journal, disk); !what.empty()) {
    return fmt::format("journal, {}: {}", name_of(system.broker_stage()), what);
  }
  const auto stage = name_of(system.consumer_stage());
  if (const auto what = what_of_database(call, paths.target, disk); !what.empty()) {
    return fmt::format("target, {}: {}", stage, what);
  }
  const bool folder = call.operation == PowerDisk::Operation::sync_folder;
  return fmt::format("text log, {}: {}", stage, folder ? "folder" : "file");
}

std::string change_point(const PowerDisk::Call& call, const Paths& paths) {
  const std::string file = call.path.starts_with(paths.journal)  ? "journal"
                           : call.path.starts_with(paths.target) ? "target"
                                                                 : "text log";
  switch (call.operation) {
    case PowerDisk::Operation::write:
      return file + ": write";
    case PowerDisk::Operation::truncate:
      return file + ": truncation";
    case PowerDisk::Operation::remove:
      return file + ": removal";
    default:
      return file + ": creation";
  }
}

const std::vector<std::string>& creation_points() {
  static const std::vector<std::string> kPoints{
      "journal, opening: rollback journal",
      "journal, opening: file, without a log",
      "target, opening: rollback journal",
      "target, opening: file, without a log",
  };
  return kPoints;
}

const std::vector<std::string>& recovery_points() {
  static const std::vector<std::string> kPoints{
      "target, another program: rollback journal",
      "target, another program: file, without a log",
  };
  return kPoints;
}

const std::vector<std::string>& working_points() {
  static const std::vector<std::string> kPoints{
      "journal, opening: folder",
      "journal, opening: log, header",
      "journal, opening: log, commit",
      "journal, opening: log, before a checkpoint",
      "journal, opening: file, checkpoint",
      "journal, running: folder",
      "journal, running: log, header",
      "journal, running: log, commit",
      "journal, running: log, before a checkpoint",
      "journal, running: file, checkpoint",
      "journal, closing: folder",
      "journal, closing: log, header",
      "journal, closing: log, commit",
      "journal, closing: log, before a checkpoint",
      "journal, closing: file, checkpoint",
      "target, opening: folder",
      "target, opening: log, header",
      "target, opening: log, commit",
      "target, opening: log, before a checkpoint",
      "target, opening: file, checkpoint",
      "target, running: log, header",
      "target, running: log, commit",
      "target, running: log, before a checkpoint",
      "target, running: file, checkpoint",
      "target, closing: log, header",
      "target, closing: log, commit",
      "target, closing: log, before a checkpoint",
      "target, closing: file, checkpoint",
      "target, another program: folder",
      "target, another program: log, header",
      "target, another program: log, commit",
      "target, another program: log, before a checkpoint",
      "target, another program: file, checkpoint",
      "text log, opening: file",
      "text log, opening: folder",
      "text log, running: file",
      "text log, closing: file",
  };
  return kPoints;
}

std::string Coverage::table() const {
  std::string out = fmt::format("{:<52}{:>10}{:>8}\n", "sync point", "passed", "cuts");
  for (const auto& [point, times] : passed) {
    const auto found = cut.find(point);
    out += fmt::format("{:<52}{:>10}{:>8}\n", point, times, found == cut.end() ? 0 : found->second);
  }
  for (const auto& [point, times] : cut_elsewhere) {
    out += fmt::format("{:<52}{:>10}{:>8}\n", point, "", times);
  }
  return out;
}

}  // namespace turnstile::test::power
