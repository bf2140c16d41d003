#include "store/log_buffer.h"

#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <exception>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include "base/block_signals.h"

namespace turnstile::sqlite {
namespace {

constexpr std::size_t kPieceBytes = std::size_t{256} * 1024;
constexpr std::size_t kWriteBytes = std::size_t{124} * 1024;  // SQLite's files take < 128 KiB
constexpr sqlite3_int64 kDiskPageBytes = 4096;
// Which of the locks in a database's shared memory a writer holds (sqlite.org/walformat.html).
constexpr int kWriteLock = 0;

// Frames that belong at `at`, one behind the other.
struct Piece {
  std::string bytes;
  sqlite3_int64 at = 0;

  [[nodiscard]] sqlite3_int64 end() const { return at + static_cast<sqlite3_int64>(bytes.size()); }
};

// A thread that writes one piece while the next is made. Between write() and wait() the file is
// its own.
class PieceWriter {
 public:
  // Errors: std::system_error when there can be no thread, std::bad_alloc.
  explicit PieceWriter(std::function<void(const Piece&)> write) : write_(std::move(write)) {
    piece_.bytes.reserve(kPieceBytes);
    const BlockSignals held_back;
    thread_ = std::thread([this] { run(); });
  }
  PieceWriter(const PieceWriter&) = delete;
  PieceWriter& operator=(const PieceWriter&) = delete;
  ~PieceWriter() {
    wait();
    must_end_ = true;
    hand_over();
    thread_.join();
  }

  void wait() const { is_writing_.wait(true); }
  // Leaves `piece` empty.
  void write(Piece& piece) {
    wait();
    std::swap(piece, piece_);
    piece.bytes.clear();
    hand_over();
  }

 private:
  void hand_over() {
    is_writing_ = true;
    is_writing_.notify_all();
  }

  void run() {
    static_cast<void>(::pthread_setname_np(::pthread_self(), "log writer"));
    for (is_writing_.wait(false); !must_end_; is_writing_.wait(false)) {
      write_(piece_);
      is_writing_ = false;
      is_writing_.notify_all();
    }
  }

  const std::function<void(const Piece&)> write_;
  Piece piece_;
  bool must_end_ = false;
  std::atomic<bool> is_writing_ = false;
  std::thread thread_;
};

class LogBuffer;

// What SQLite calls for a file, and how a call finds the buffer.
struct Methods : sqlite3_io_methods {
  LogBuffer* buffer;
};

class LogBuffer {
 public:
  LogBuffer(sqlite3_file* database, sqlite3_file* log, const char* log_path, const bool* beside)
      : database_(database),
        real_of_database_(database->pMethods),
        methods_of_database_{*real_of_database_, this},
        log_(log),
        real_(log->pMethods),
        methods_{*real_, this},
        hint_fd_(open_for_hints(log_path)),
        beside_(beside) {
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
    methods_.xFileControl = [](sqlite3_file* file, int what, void* value) {
      of(file).wait_for_writer();  // it may set what is asked: the last errno
      return of(file).real_->xFileControl(file, what, value);
    };
    database_->pMethods = &methods_of_database_;
    log_->pMethods = &methods_;
  }
  LogBuffer(const LogBuffer&) = delete;
  LogBuffer& operator=(const LogBuffer&) = delete;
  ~LogBuffer() {
    database_->pMethods = real_of_database_;
    if (hint_fd_ >= 0) {
      ::close(hint_fd_);
    }
  }

 private:
  static LogBuffer& of(sqlite3_file* file) {
    return *static_cast<const Methods*>(file->pMethods)->buffer;
  }

  // SQLite does not tell its descriptor. None, of a file that only a test has: no hints then.
  static int open_for_hints(const char* path) { return ::open(path, O_RDONLY | O_CLOEXEC); }

  template <auto Method, typename... Arguments>
  static int behind_a_flush(sqlite3_file* file, Arguments... arguments) {
    LogBuffer& self = of(file);
    const int code = self.flush();
    return code != SQLITE_OK ? code : (self.real_->*Method)(file, arguments...);
  }

  // SQLite closes the log before the database.
  static int close(sqlite3_file* file) {
    const std::unique_ptr<LogBuffer> self(&of(file));
    self->wait_for_writer();
    return self->real_->xClose(file);
  }

  // Whoever gives up the write lock has committed, and then a sync has written everything, or has
  // not: what is kept then belongs to nobody, and may not be written over what others commit.
  int lock(int lock, int count, int flags) {
    if (lock == kWriteLock && (flags & SQLITE_SHM_UNLOCK) != 0 &&
        (flags & SQLITE_SHM_EXCLUSIVE) != 0) {
      wait_for_writer();
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
      end_piece();
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

  void end_piece() {
    if (beside_ != nullptr && *beside_ && has_writer()) {
      writer_->write(kept_);
    } else {
      wait_for_writer();
      write_piece(kept_);
      kept_.bytes.clear();
    }
  }

  // Of what could not be written SQLite knows nothing but this failure, so until its transaction
  // has ended nothing more is written, nor synced.
  int flush() {
    wait_for_writer();
    write_frames(kept_);
    kept_.bytes.clear();
    if (failure_ != SQLITE_OK) {
      errno = system_error_;  // SQLite asks this thread for it
    }
    return failure_;
  }

  void wait_for_writer() const {
    if (writer_ != nullptr) {
      writer_->wait();
    }
  }

  bool has_writer() {
    if (writer_ == nullptr && may_have_writer_) {
      try {
        writer_ = std::make_unique<PieceWriter>([this](const Piece& piece) { write_piece(piece); });
      } catch (const std::exception&) {
        may_have_writer_ = false;
      }
    }
    return writer_ != nullptr;
  }

  // These two run in either thread.
  void write_frames(const Piece& piece) {
    sqlite3_int64 at = piece.at;
    for (std::string_view rest = piece.bytes; failure_ == SQLITE_OK && !rest.empty();) {
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
  }

  // Only a hint is behind it, so that may fail: the sync that counts is SQLite's own, and its
  // descriptor hears of every error. A disk page that the next piece goes on with is left to that
  // one.
  void write_piece(const Piece& piece) {
    write_frames(piece);
    const sqlite3_int64 from = piece.at / kDiskPageBytes * kDiskPageBytes;
    const sqlite3_int64 to = piece.end() / kDiskPageBytes * kDiskPageBytes;
    if (failure_ == SQLITE_OK && hint_fd_ >= 0) {
      static_cast<void>(::sync_file_range(hint_fd_, from, to - from, SYNC_FILE_RANGE_WRITE));
    }
  }

  sqlite3_file* database_;
  const sqlite3_io_methods* real_of_database_;
  Methods methods_of_database_;
  sqlite3_file* log_;
  const sqlite3_io_methods* real_;
  Methods methods_;
  int hint_fd_;
  const bool* beside_;
  Piece kept_;                            // not in the file yet, nor with the writer
  std::atomic<int> failure_ = SQLITE_OK;  // of a write in this transaction
  sqlite3_int64 lost_from_ = 0;           // counts when there is one
  int system_error_ = 0;                  // the same
  bool may_have_writer_ = true;
  std::unique_ptr<PieceWriter> writer_;
};

}  // namespace

void buffer_log(sqlite3_file* database, sqlite3_file* log, const char* log_path,
                const bool* beside) {
  // Where an overwritten sector may take its neighbour along, SQLite syncs in the midst of a frame.
  const bool is_safe = (database->pMethods->xDeviceCharacteristics(database) &
                        SQLITE_IOCAP_POWERSAFE_OVERWRITE) != 0;
  if (is_safe && log->pMethods != nullptr) {
    // It ends itself when SQLite closes the log.
    static_cast<void>(std::make_unique<LogBuffer>(database, log, log_path, beside).release());
  }
}

}  // namespace turnstile::sqlite
