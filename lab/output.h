// Shared by `lab run` and `lab replay`: print outcomes, write files.
#pragma once

#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

#include "base/result.h"
#include "lab/numbers.h"
#include "lab/terminal.h"

namespace turnstile::lab {

// Colours only on a terminal, and only if NO_COLOR is empty.
TextStyle style_of(std::FILE* out);

std::vector<const Outcome*> all_of(const std::vector<std::vector<Outcome>>& scenarios);

// A picture has one time scale. Errors: bad_input (several scenarios, or none).
Result<void> check_one_scenario(std::size_t scenarios);

// One object: {"runs": [...]}. Each run is HTTP.md's `ended`, plus its settings and its start time.
std::string json_text(const std::vector<std::vector<Outcome>>& scenarios);

// `refused` for what must not happen: a queued run lost rows, or events and database disagree.
// Direct runs are expected to lose rows.
int exit_code_of(const std::vector<std::vector<Outcome>>& scenarios);

// Keeps an existing file: writes out0-2.txt beside out0.txt, then out0-3.txt. Returns the path
// written. Errors: unreachable.
Result<std::string> save_beside(const std::filesystem::path& path, const std::string& content);

// Errors: unreachable.
Result<void> save(const std::string& path, const std::string& content, bool append = false);

}  // namespace turnstile::lab
