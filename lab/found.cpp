#include "lab/found.h"

#include <algorithm>
#include <fstream>
#include <map>
#include <sstream>
#include <utility>

namespace turnstile::lab {
namespace {

std::vector<std::string> split_lines(std::string_view text) {
  std::vector<std::string> lines;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    lines.emplace_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return lines;
}

Result<Table> query(const std::filesystem::path& path, const std::string& sql) {
  constexpr std::chrono::seconds kBusyTimeout{5};
  return Database::open(path, kBusyTimeout).and_then([&](Database database) {
    return database.query(sql);
  });
}

}  // namespace

Result<std::vector<Table>> read_tables(const std::filesystem::path& database,
                                       const std::vector<TablePlan>& tables) {
  std::vector<Table> all;
  for (const TablePlan& plan : tables) {
    auto table = query(database, "SELECT * FROM " + plan.name + " ORDER BY rowid");
    if (!table) {
      return fail(table.error().code, "cannot read " + plan.name + ": " + table.error().what);
    }
    all.push_back(std::move(*table));
  }
  return all;
}

Result<Facts> find_facts(const std::filesystem::path& directory, const Plan& plan) {
  const auto database = directory / kDatabase;
  auto tables = read_tables(database, plan.tables);
  if (!tables) {
    return tl::make_unexpected(tables.error());
  }
  Facts facts;
  std::vector<std::string> lines;
  for (std::size_t i = 0; i < tables->size(); ++i) {
    const TablePlan& table = plan.tables[i];
    const auto& columns = (*tables)[i].columns;
    const auto name = static_cast<std::size_t>(
        std::find(columns.begin(), columns.end(), table.name_column) - columns.begin());
    for (const auto& row : (*tables)[i].rows) {
      facts.rows.push_back({table.name, name < row.size() ? row[name] : ""});
      if (table.name == nutrients_table().name) {
        lines.push_back(nutrient_line(row));
      }
    }
  }
  if (plan.run.has_text) {
    facts.text = compare_text(read_file(directory / kTextLog), lines);
  }
  const auto integrity = query(database, "PRAGMA integrity_check");
  facts.integrity = integrity ? integrity->rows.at(0).at(0) : integrity.error().what;
  return facts;
}

TextFacts compare_text(std::string_view text, const std::vector<std::string>& expected) {
  std::map<std::string, std::size_t> unseen;
  for (const auto& line : expected) {
    ++unseen[line];
  }
  TextFacts facts;
  for (const auto& line : split_lines(text)) {
    ++facts.lines;
    const auto found = unseen.find(line);
    if (found != unseen.end() && found->second > 0) {
      --found->second;
      ++facts.intact;
    } else {
      ++facts.torn;
    }
  }
  facts.missing = expected.size() - facts.intact;
  return facts;
}

std::vector<std::string> last_lines(const std::filesystem::path& path, std::size_t lines) {
  constexpr std::streamoff kBytes = std::streamoff{64} * 1024;
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  if (!file) {
    return {};
  }
  const std::streamoff size = file.tellg();
  const std::streamoff from = std::max<std::streamoff>(0, size - kBytes);
  std::string text(static_cast<std::size_t>(size - from), '\0');
  file.seekg(from);
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<std::size_t>(file.gcount()));
  auto all = split_lines(text);
  if (from > 0 && !all.empty()) {
    all.erase(all.begin());  // its beginning is missing
  }
  if (all.size() > lines) {
    all.erase(all.begin(), all.end() - static_cast<std::ptrdiff_t>(lines));
  }
  return all;
}

std::string read_file(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

}  // namespace turnstile::lab
