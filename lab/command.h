// `turnstile lab`: list, run, replay, serve, and the workers that runs start.
#pragma once

#include "flags/cli11.h"

namespace turnstile {

// Stores the command's exit code in `exit_code`, which must outlive the parse.
void add_lab_command(CLI::App& app, int& exit_code);

namespace lab {

void add_run_command(CLI::App& lab, int& exit_code);
void add_replay_command(CLI::App& lab, int& exit_code);
void add_serve_command(CLI::App& lab, int& exit_code);
void add_worker_command(CLI::App& lab, int& exit_code);

}  // namespace lab
}  // namespace turnstile
