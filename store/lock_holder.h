// Which process holds the lock that SQLite waits for, where the system tells it.
//
// The answer comes from /proc/locks, which needs no descriptor of the database. Opening the
// database to ask with F_GETLK would be wrong: POSIX locks belong to a process and a file, so
// closing that descriptor would drop the locks that this process's own connections hold.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "base/file_identity.h"

namespace turnstile::sqlite {

// Of `database` and, in WAL mode, its file of shared memory: the process other than `self` that
// keeps a writer waiting. Nothing: nobody does, or the system hides who. Pure.
std::optional<pid_t> find_lock_holder(std::string_view proc_locks, const FileIdentity& database,
                                      const std::optional<FileIdentity>& shared_memory, pid_t self);

// "PID 4711 (python3 worker.py)"; empty: not known.
std::string lock_holder(const std::filesystem::path& database);

}  // namespace turnstile::sqlite
