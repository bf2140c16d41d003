#include "flags/paths.h"

#include <filesystem>
#include <system_error>
#include <utility>

#include "link/endpoint.h"

namespace turnstile {
namespace {

namespace fs = std::filesystem;

// Where opening it leads, also when nothing is there yet.
fs::path opened_path(fs::path path) {
  constexpr int kMostLinks = 40;
  std::error_code failed;
  for (int i = 0; i < kMostLinks && fs::is_symlink(path, failed); ++i) {
    const auto to = fs::read_symlink(path, failed);
    if (failed) {
      break;
    }
    path = path.parent_path() / to;
  }
  auto whole = fs::weakly_canonical(fs::absolute(path), failed);
  return failed ? path : whole;
}

std::vector<fs::path> files_of(const FileRole& role) {
  const auto main = opened_path(role.path);
  std::vector<fs::path> files{main};
  for (const auto& end : role.beside) {
    files.emplace_back(main.string() + end);
  }
  return files;
}

bool same_file(const fs::path& a, const fs::path& b) {
  std::error_code failed;
  return a == b || fs::equivalent(a, b, failed);
}

}  // namespace

FileRole database_role(std::string flag, std::string path) {
  return {std::move(flag), std::move(path), {"-wal", "-shm", "-journal"}};
}

FileRole journal_role(std::string flag, std::string path) {
  return {std::move(flag), std::move(path), {"-wal", "-shm", "-journal", ".lock"}};
}

FileRole socket_role(std::string flag, const std::string& endpoint) {
  const bool is_path = endpoint.starts_with(kIpc);
  return {std::move(flag), is_path ? endpoint.substr(kIpc.size()) : std::string(), {".lock"}};
}

FileRole plain_role(std::string flag, std::string path) {
  return {std::move(flag), std::move(path), {}};
}

Result<void> check_distinct(const std::vector<FileRole>& roles) {
  for (auto role = roles.begin(); role != roles.end(); ++role) {
    for (auto other = role + 1; other != roles.end(); ++other) {
      if (role->path.empty() || other->path.empty()) {
        continue;
      }
      for (const auto& file : files_of(*role)) {
        for (const auto& its : files_of(*other)) {
          if (same_file(file, its)) {
            return fail(Errc::bad_input,
                        role->flag + " " + role->path + " and " + other->flag + " " + other->path +
                            " are the same file, or one belongs to the other (" + file.string() +
                            ")",
                        "give each a file of its own");
          }
        }
      }
    }
  }
  return {};
}

}  // namespace turnstile
