// What the files of a run really have at its end: read by their formats, beside all events.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "lab/plan.h"
#include "lab/run.h"
#include "base/result.h"

namespace turnstile::lab {

struct Table {
  std::vector<std::string> columns;
  std::vector<std::vector<std::string>> rows;
};

// The tables of the run's database, each whole, in the order of the plan. Errors: those of SQLite.
Result<std::vector<Table>> read_tables(const std::filesystem::path& database,
                                       const std::vector<TablePlan>& tables);

// Errors: those of SQLite; missing files have nothing.
Result<Facts> find_facts(const std::filesystem::path& folder, const Plan& plan);

// `expected`: the lines of the rows that are committed, without line ends.
TextFacts compare_text(std::string_view text, const std::vector<std::string>& expected);

// The last lines of a file, at most 64 KiB of it; a last line without end counts.
std::vector<std::string> last_lines(const std::filesystem::path& path, std::size_t lines);

std::string read_file(const std::filesystem::path& path);

}  // namespace turnstile::lab
