#include "store/lock_holder.h"

#include <sys/sysmacros.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <limits>
#include <sstream>
#include <system_error>

#include "base/utf8.h"

namespace turnstile::sqlite {
namespace {

constexpr std::size_t kProgramBytes = 80;

// SQLite's lock bytes (os_unix.c, wal.c): in the shared memory the writer's and the recovery's, in
// the database the pending, the reserved and the shared ones.
struct ByteRange {
  std::uint64_t first;
  std::uint64_t last;
};
constexpr ByteRange kLogWriter{120, 120};
constexpr ByteRange kLogRecovery{122, 122};
constexpr ByteRange kDatabase{0x40000000, 0x40000000 + 511};

struct Lock {
  bool writes = false;
  pid_t pid = 0;
  FileIdentity file;
  ByteRange bytes{0, 0};
};

// `1: POSIX  ADVISORY  WRITE 4711 fe:00:10952837 120 120`. Nothing: no lock that is held by a
// process, such as one that is waited for ("->").
std::optional<Lock> lock_of(const std::string& line) {
  std::istringstream words(line);
  std::string number;
  std::string kind;
  std::string advisory;
  std::string mode;
  std::string file;
  std::string end;
  Lock lock;
  words >> number >> kind >> advisory >> mode >> lock.pid >> file >> lock.bytes.first >> end;
  unsigned major = 0;
  unsigned minor = 0;
  unsigned long long inode = 0;
  if (!words || kind == "->" || lock.pid <= 0 ||
      std::sscanf(file.c_str(), "%x:%x:%llu", &major, &minor, &inode) != 3) {
    return std::nullopt;
  }
  lock.file = {gnu_dev_makedev(major, minor), inode};
  lock.writes = mode == "WRITE";
  lock.bytes.last = std::numeric_limits<std::uint64_t>::max();
  if (end != "EOF") {
    std::istringstream(end) >> lock.bytes.last;
  }
  return lock;
}

bool overlap(const ByteRange& a, const ByteRange& b) {
  return a.first <= b.last && b.first <= a.last;
}

std::string contents_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

// The program and its first argument without their directories. More of a command line may hold
// secrets.
std::string program_of(pid_t pid) {
  const std::string directory = "/proc/" + std::to_string(pid);
  const std::string command = contents_of(directory + "/cmdline");
  const auto word = [&command](std::size_t begin) {
    return std::filesystem::path(command.substr(begin, command.find('\0', begin) - begin))
        .filename()
        .string();
  };
  std::string program = command.empty() ? std::string() : word(0);
  if (program.empty()) {
    program = contents_of(directory + "/comm");
    program.resize(program.find_last_not_of('\n') + 1);
    return program;
  }
  const auto end = command.find('\0');
  if (end != std::string::npos && end + 1 < command.size() && command[end + 1] != '-') {
    program += " " + word(end + 1);
  }
  return program;
}

}  // namespace

std::optional<pid_t> find_lock_holder(std::string_view proc_locks, const FileIdentity& database,
                                      const std::optional<FileIdentity>& shared_memory,
                                      pid_t self) {
  std::optional<pid_t> reader;  // keeps a database out of WAL mode, and in it nobody waiting
  std::istringstream lines{std::string(proc_locks)};
  for (std::string line; std::getline(lines, line);) {
    const auto lock = lock_of(line);
    if (!lock || lock->pid == self) {
      continue;
    }
    const bool is_in_log = shared_memory && lock->file == *shared_memory &&
                           (overlap(lock->bytes, kLogWriter) || overlap(lock->bytes, kLogRecovery));
    const bool is_in_database = lock->file == database && overlap(lock->bytes, kDatabase);
    if (lock->writes && (is_in_log || is_in_database)) {
      return lock->pid;
    }
    if (is_in_database && !shared_memory) {
      reader = lock->pid;
    }
  }
  return reader;
}

std::string lock_holder(const std::filesystem::path& database) {
  std::error_code unknown;
  const auto path = std::filesystem::canonical(database, unknown);
  const auto file = unknown ? std::nullopt : identity_at(path);
  if (!file) {
    return {};
  }
  const auto pid = find_lock_holder(contents_of("/proc/locks"), *file,
                                    identity_at(path.string() + "-shm"), ::getpid());
  if (!pid) {
    return {};
  }
  const std::string program = printable(program_of(*pid), kProgramBytes);
  return "PID " + std::to_string(*pid) + (program.empty() ? "" : " (" + program + ")");
}

}  // namespace turnstile::sqlite
