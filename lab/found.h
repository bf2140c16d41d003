// What the files of a run contain at its end. Reads the files, not the events.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "lab/database.h"
#include "lab/plan.h"
#include "lab/run.h"

namespace turnstile::lab {

// Reads all rows of the tables, in the order of the plan. Errors: those of SQLite.
Result<std::vector<Table>> read_tables(const std::filesystem::path& database,
                                       const std::vector<TablePlan>& tables);

// Errors: those of SQLite. A missing text file counts as empty.
Result<Facts> find_facts(const std::filesystem::path& directory, const Plan& plan);

// `expected`: the lines of the committed rows, without line ends.
TextFacts compare_text(std::string_view text, const std::vector<std::string>& expected);

// The last lines of a file, from its last 64 KiB. A last line without a line end counts.
std::vector<std::string> last_lines(const std::filesystem::path& path, std::size_t lines);

std::string read_file(const std::filesystem::path& path);

}  // namespace turnstile::lab
