// `turnstile serve`: broker and consumer in one process, the everyday way on one machine.
#pragma once

#include "flags/cli11.h"

namespace turnstile {

// The command's exit code goes to `exit_code`, which must outlive the parse.
void add_serve_command(CLI::App& app, int& exit_code);

}  // namespace turnstile
