// `turnstile produce pets` and `turnstile produce csv FILE`.
#pragma once

#include "flags/cli11.h"

namespace turnstile {

// Registers the subcommands. Their callbacks store the exit code in `exit_code`.
void add_produce_command(CLI::App& app, int& exit_code);

void add_produce_pets_command(CLI::App& produce, int& exit_code);
void add_produce_csv_command(CLI::App& produce, int& exit_code);

}  // namespace turnstile
