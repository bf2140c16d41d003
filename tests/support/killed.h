// A process that is killed in the middle of what it does with a database.
#pragma once

#include <sqlite3.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <stdexcept>

#include "store/sqlite.h"

namespace turnstile::test {

// In a process of its own: opens the file, and is killed when the nth statement (from 1) that
// `work` runs on the connection begins. False: `work` came to its end first.
template <typename Work>
bool killed_at_statement(const std::filesystem::path& path, int nth, Work work) {
  const pid_t child = ::fork();
  if (child == 0) {
    auto connection = sqlite::Connection::open(path, sqlite::Access::read_write);
    if (!connection) {
      ::_exit(2);
    }
    int left = nth;
    const auto count = [](unsigned, void* to, void*, void*) {
      if (--*static_cast<int*>(to) == 0) {
        ::raise(SIGKILL);
      }
      return 0;
    };
    sqlite3_trace_v2(connection->handle(), SQLITE_TRACE_STMT, count, &left);
    ::_exit(work(*connection) ? 0 : 3);
  }
  int status = 0;
  if (child < 0 || ::waitpid(child, &status, 0) != child ||
      (WIFEXITED(status) && WEXITSTATUS(status) != 0)) {
    throw std::runtime_error("the process to be killed did not do its work");
  }
  return WIFSIGNALED(status);
}

}  // namespace turnstile::test
