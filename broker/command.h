#pragma once

#include <CLI/CLI.hpp>

namespace turnstile {

// `turnstile broker`. The command's exit code goes to `exit_code`, which must outlive the parse.
void add_broker_command(CLI::App& app, int& exit_code);
// `turnstile status`
void add_status_command(CLI::App& app, int& exit_code);

}  // namespace turnstile
