// turnstile: many processes, one SQLite file, no "database is locked".
#include <malloc.h>

#include <cstdio>
#include <exception>
#include <new>
#include <string>

#include <CLI/CLI.hpp>

#include "broker/command.h"
#include "cli/dead_letters.h"
#include "cli/serve.h"
#include "consumer/command.h"
#include "flags/config.h"
#include "flags/options.h"
#include "generated/version.h"
#include "inspect/check.h"
#include "inspect/doctor.h"
#include "lab/command.h"
#include "producers/command.h"

namespace {

// Batches come and go. What glibc gives back to the kernel after one is faulted in and cleared
// again for the next: a tenth of a consumer's time.
void keep_freed_memory() {
  constexpr int kMebibyte = 1024 * 1024;
  mallopt(M_MMAP_THRESHOLD, 8 * kMebibyte);  // above the largest message
  mallopt(M_TRIM_THRESHOLD, 64 * kMebibyte);
}

int run(int argc, char** argv) {
  using namespace turnstile;
  CLI::App app("Many processes, one SQLite file, no \"database is locked\".", "turnstile");
  app.set_version_flag("--version", kVersion);
  app.require_subcommand(1);
  int exit_code = 0;
  add_serve_command(app, exit_code);
  add_broker_command(app, exit_code);
  add_consumer_command(app, exit_code);
  add_produce_command(app, exit_code);
  add_lab_command(app, exit_code);
  add_status_command(app, exit_code);
  add_check_command(app, exit_code);
  add_dead_letters_command(app, exit_code);
  add_doctor_command(app, exit_code);
  return run_command_line(app, argc, argv, exit_code);
}

}  // namespace

int main(int argc, char** argv) {
  keep_freed_memory();
  turnstile::make_files_with(turnstile::kPrivateFile);
  // What ends here ends as a crash does: what was promised is on disk.
  try {
    return run(argc, argv);
  } catch (const std::bad_alloc&) {
    std::fputs(turnstile::kOutOfMemory, stderr);
  } catch (const std::exception& problem) {
    turnstile::print_error({turnstile::Errc::io,
                            std::string("the system refused what is needed: ") + problem.what(),
                            "see what this process may have (ulimit -a) and start it again"});
  }
  return static_cast<int>(turnstile::ExitCode::unreachable);
}
