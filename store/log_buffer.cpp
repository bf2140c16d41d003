#include "store/log_buffer.h"

#include <fcntl.h>

#include <cerrno>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "base/descriptor.h"

namespace turnstile::sqlite {
namespace {

constexpr std::size_t kPieceBytes = std::size_t{256} * 1024;
constexpr std::size_t kWriteBytes = std::size_t{124} * 1024;  // SQLite's files take < 128 KiB
constexpr sqlite3_int64 kDiskPageBytes = 4096;
// Which of the locks in a database's shared memory a writer holds (sqlite.org/walformat.html).
constexpr int kWriteLock = 0;

// Consecutive frames that belong at `at`.
struct Piece {
  std::string bytes;
  sqlite3_int64 at = 0;

  [[nodiscard]] sqlite3_int64 end() const { return at + static_cast<sqlite3_int64>(bytes.size()); }
};

class LogBuffer;

// What SQLite calls for a file, and how a call finds the buffer.
struct Methods : sqlite3_io_methods {
  LogBuffer* buffer;
};

class LogBuffer {
 public:
  LogBuffer(sqlite3_file* database, sqlite3_file* log, const char* log_path)
      : database_(database),
        real_of_database_(database->pMethods),
        methods_of_database_{*real_of_database_, this},
        log_(log),
        real_(log->pMethods),
        methods_{*real_, this},
        hint_fd_(open_for_hints(log_path)) {
    kept_.bytes.reserve(kPieceBytes);  // SQLite expects no exception later
    methods_of_database_.xShmLock = [](sqlite3_file* file, int lock, int count, int flags) {
      return of(file).lock(lock, count, flags);
    };
    methods_.xClose = close;
    methods_.xRead = [](sqlite3_file* file, void* to, int size, sqlite3_int64 at) {
      return of(file).read(to, size, at);
    };
    methods_.xWrite = [](sqlite3_file* file, const void* from, int size, sqlite3_int64 at) {
      return of(file).write({static_cast<const char*>(from), static_cast<std::size_t>(size)}, at);
    };
    methods_.xTruncate = behind_a_flush<&sqlite3_io_methods::xTruncate, sqlite3_int64>;
    methods_.xSync = behind_a_flush<&sqlite3_io_methods::xSync, int>;
    methods_.xFileSize = behind_a_flush<&sqlite3_io_methods::xFileSize, sqlite3_int64*>;
    database_->pMethods = &methods_of_database_;
    log_->pMethods = &methods_;
  }
  LogBuffer(const LogBuffer&) = delete;
  LogBuffer& operator=(const LogBuffer&) = delete;
  ~LogBuffer() { database_->pMethods = real_of_database_; }

 private:
  static LogBuffer& of(sqlite3_file* file) {
    return *static_cast<const Methods*>(file->pMethods)->buffer;
  }

  // SQLite does not tell its descriptor. None, of a file that only a test has: no hints then.
  static Descriptor open_for_hints(const char* path) {
    return Descriptor(::open(path, O_RDONLY | O_CLOEXEC));
  }

  template <auto Method, typename... Arguments>
  static int behind_a_flush(sqlite3_file* file, Arguments... arguments) {
    LogBuffer& self = of(file);
    const int code = self.flush();
    return code != SQLITE_OK ? code : (self.real_->*Method)(file, arguments...);
  }

  // SQLite closes the log before the database.
  static int close(sqlite3_file* file) {
    const std::unique_ptr<LogBuffer> self(&of(file));
    return self->real_->xClose(file);
  }

  // The write lock is given up after a commit, whose sync wrote everything, or after a rollback.
  // Then the buffered frames are void and must not overwrite what others commit.
  int lock(int lock, int count, int flags) {
    if (lock == kWriteLock && (flags & SQLITE_SHM_UNLOCK) != 0 &&
        (flags & SQLITE_SHM_EXCLUSIVE) != 0) {
      kept_.bytes.clear();
      failure_ = SQLITE_OK;
    }
    return real_of_database_->xShmLock(database_, lock, count, flags);
  }

  int read(void* to, int size, sqlite3_int64 at) {
    if (const int code = flush(); code != SQLITE_OK && at + size > lost_from_) {
      return code;
    }
    return real_->xRead(log_, to, size, at);
  }

  int write(std::string_view bytes, sqlite3_int64 at) {
    if (bytes.size() >= kStraightBytes) {
      const int code = flush();
      return code != SQLITE_OK
                 ? code
                 : real_->xWrite(log_, bytes.data(), static_cast<int>(bytes.size()), at);
    }
    const bool goes_on = at == kept_.end();
    const bool is_full = kept_.bytes.size() + bytes.size() > kPieceBytes;
    if (goes_on && is_full) {
      write_piece();
    } else if (!goes_on) {
      flush();
    }
    if (failure_ != SQLITE_OK) {
      return flush();
    }
    if (kept_.bytes.empty()) {
      kept_.at = at;
    }
    kept_.bytes.append(bytes);
    return SQLITE_OK;
  }

  // Of what could not be written SQLite knows nothing but this failure, so until its transaction
  // has ended nothing more is written, nor synced.
  int flush() {
    write_frames();
    if (failure_ != SQLITE_OK) {
      errno = system_error_;  // SQLite asks this thread for it
    }
    return failure_;
  }

  void write_frames() {
    sqlite3_int64 at = kept_.at;
    for (std::string_view rest = kept_.bytes; failure_ == SQLITE_OK && !rest.empty();) {
      const auto part = rest.substr(0, kWriteBytes);
      const int code = real_->xWrite(log_, part.data(), static_cast<int>(part.size()), at);
      if (code == SQLITE_OK) {
        at += static_cast<sqlite3_int64>(part.size());
        rest.remove_prefix(part.size());
      } else {
        lost_from_ = at;
        system_error_ = errno;
        failure_ = code;
      }
    }
    kept_.bytes.clear();
  }

  // The disk begins with a full piece now. That is only a hint and may fail: the sync that counts
  // is SQLite's own, whose descriptor gets every error. A disk page that the next piece continues
  // is left to that piece.
  void write_piece() {
    const sqlite3_int64 from = kept_.at / kDiskPageBytes * kDiskPageBytes;
    const sqlite3_int64 to = kept_.end() / kDiskPageBytes * kDiskPageBytes;
    write_frames();
    if (failure_ == SQLITE_OK && hint_fd_) {
      static_cast<void>(::sync_file_range(hint_fd_.get(), from, to - from, SYNC_FILE_RANGE_WRITE));
    }
  }

  sqlite3_file* database_;
  const sqlite3_io_methods* real_of_database_;
  Methods methods_of_database_;
  sqlite3_file* log_;
  const sqlite3_io_methods* real_;
  Methods methods_;
  Descriptor hint_fd_;
  Piece kept_;                   // not in the file yet
  int failure_ = SQLITE_OK;      // of a write in this transaction
  sqlite3_int64 lost_from_ = 0;  // counts when there is one
  int system_error_ = 0;         // the same
};

}  // namespace

void buffer_log(sqlite3_file* database, sqlite3_file* log, const char* log_path) {
  // Where an overwritten sector may take its neighbour along, SQLite syncs in the midst of a frame.
  const bool is_safe = (database->pMethods->xDeviceCharacteristics(database) &
                        SQLITE_IOCAP_POWERSAFE_OVERWRITE) != 0;
  if (is_safe && log->pMethods != nullptr) {
    // It ends itself when SQLite closes the log.
    static_cast<void>(std::make_unique<LogBuffer>(database, log, log_path).release());
  }
}

}  // namespace turnstile::sqlite
