#pragma once

#include <CLI/CLI.hpp>

namespace turnstile {

// `turnstile consumer`. The command's exit code goes to `exit_code`, which must outlive the parse.
void add_consumer_command(CLI::App& app, int& exit_code);

}  // namespace turnstile
