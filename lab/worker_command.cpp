#include <functional>
#include <memory>
#include <string>

#include <CLI/CLI.hpp>

#include "base/logging.h"
#include "flags/options.h"
#include "lab/command.h"
#include "lab/workers.h"

namespace turnstile::lab {
namespace {

void add_worker(CLI::App& workers, const std::string& name, const std::string& what,
                Result<int> (*work)(const WorkerFlags&), int& exit_code) {
  const auto flags = std::make_shared<WorkerFlags>();
  CLI::App& app = *workers.add_subcommand(name, what);
  app.add_option("--as", flags->as, "Name of this process");
  app.add_option("--with", flags->with, "Names of all processes that meet")->delimiter(',');
  app.add_option("--db", flags->db, "The database")->required();
  app.add_option("--text", flags->text, "The text log");
  app.add_option("--csv", flags->csv, "File with its rows");
  app.add_option("--rows", flags->rows, "Number of rows");
  app.add_option("--first", flags->first, "Lock this first: database or text");
  add_duration_option(app, "--interval", flags->interval, "Time between two rows");
  add_duration_option(app, "--busy-timeout", flags->busy_timeout,
                      "Wait at most this long for a lock");
  app.add_option("--journal", flags->journal, "Journal mode of the database");
  app.add_option("--begin", flags->begin, "How transactions begin: deferred or immediate");
  app.callback([flags, work, &exit_code] {
    set_up_logging({});
    const auto done = work(*flags);
    if (!done) {
      print_error(done.error());
    }
    exit_code = done ? *done : exit_code_for(done.error());
  });
}

}  // namespace

void add_worker_command(CLI::App& lab, int& exit_code) {
  CLI::App& app = *lab.add_subcommand("worker", "A process of a run");
  app.group("");  // hidden from the help: `lab run` starts it
  app.require_subcommand(1);
  add_worker(app, "stream", "Writes rows, and out9.txt at a position of its own", work_stream,
             exit_code);
  add_worker(app, "upgrade", "Reads, then writes", work_upgrade, exit_code);
  add_worker(app, "deadlock", "Takes two locks in the order that --first gives", work_deadlock,
             exit_code);
}

}  // namespace turnstile::lab
