// What `lab run` and `lab replay` do with outcomes: print them, write the report.
#pragma once

#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

#include "lab/numbers.h"
#include "lab/terminal.h"
#include "base/result.h"

namespace turnstile::lab {

// Colours on a terminal only, and not where NO_COLOR has a value.
TextStyle style_of(std::FILE* out);

std::vector<const Outcome*> all_of(const std::vector<std::vector<Outcome>>& scenarios);

// One object: {"runs": [...]}, each as HTTP.md's `ended`, with its settings and when it was.
std::string json_text(const std::vector<std::vector<Outcome>>& scenarios);

// Done; refused when a queued run lost rows, or events and database do not agree: what must not be.
// That direct runs lose rows is what they are for.
int exit_code_of(const std::vector<std::vector<Outcome>>& scenarios);

// Keeps a file that is there: writes out0-2.txt beside out0.txt, then out0-3.txt. The path that was
// written. Errors: unreachable.
Result<std::string> save_beside(const std::filesystem::path& path, const std::string& content);

// Errors: unreachable.
Result<void> save(const std::string& path, const std::string& content, bool append = false);

}  // namespace turnstile::lab
