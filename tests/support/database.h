// What tests of files do besides the product's own code: run SQL, read all of it back as text, make
// a file from one of tests/fixtures.
#pragma once

#include <sqlite3.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>

namespace turnstile::test {

// The rows that `sql` gives, a line each, columns parted by '|'. Makes the file if it is not there.
inline std::string run_sql(const std::filesystem::path& path, const std::string& sql) {
  sqlite3* db = nullptr;
  std::string out;
  const auto add_row = [](void* to, int columns, char** values, char** /*names*/) {
    auto& text = *static_cast<std::string*>(to);
    for (int i = 0; i < columns; ++i) {
      text += (i == 0 ? "" : "|") + std::string(values[i] == nullptr ? "" : values[i]);
    }
    text += '\n';
    return 0;
  };
  int code = sqlite3_open(path.c_str(), &db);
  if (code == SQLITE_OK) {
    sqlite3_busy_timeout(db, 5000);
    code = sqlite3_exec(db, sql.c_str(), add_row, &out, nullptr);
  }
  const std::string message = sqlite3_errmsg(db);
  sqlite3_close(db);
  if (code != SQLITE_OK) {
    throw std::runtime_error(path.string() + ": " + message);
  }
  return out;
}

inline std::string fixture_text(std::string_view name) {
  std::ifstream in(std::filesystem::path(TURNSTILE_FIXTURES) / name, std::ios::binary);
  std::ostringstream out;
  out << in.rdbuf();
  if (!in || out.str().empty()) {
    throw std::runtime_error("no fixture " + std::string(name));
  }
  return out.str();
}

// A database as the fixture describes it, with `folder` for the place that the fixture leaves open.
inline void make_from_fixture(const std::filesystem::path& path, std::string_view name,
                              const std::filesystem::path& folder = {}) {
  constexpr std::string_view kPlace = "@FOLDER@";
  std::string sql = fixture_text(name);
  for (auto at = sql.find(kPlace); at != std::string::npos; at = sql.find(kPlace)) {
    sql.replace(at, kPlace.size(), folder.string());
  }
  run_sql(path, sql);
}

}  // namespace turnstile::test
