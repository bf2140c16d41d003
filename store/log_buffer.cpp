#include "store/log_buffer.h"

#include <fcntl.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <string_view>
#include <utility>

namespace turnstile::sqlite {
namespace {

constexpr std::size_t kPieceBytes = std::size_t{256} * 1024;
constexpr std::size_t kWriteBytes = std::size_t{124} * 1024;  // SQLite's files take < 128 KiB
constexpr sqlite3_int64 kDiskPageBytes = 4096;

class LogBuffer;

// What SQLite calls for the file, and how a call finds its buffer.
struct Methods : sqlite3_io_methods {
  LogBuffer* buffer;
};

class LogBuffer {
 public:
  LogBuffer(sqlite3_file* log, const char* path)
      : log_(log), real_(log->pMethods), methods_{*real_, this}, hint_fd_(open_for_hints(path)) {
    methods_.xClose = close;
    methods_.xRead = behind_a_flush<&sqlite3_io_methods::xRead, void*, int, sqlite3_int64>;
    methods_.xWrite = [](sqlite3_file* file, const void* from, int size, sqlite3_int64 at) {
      return of(file).write({static_cast<const char*>(from), static_cast<std::size_t>(size)}, at);
    };
    methods_.xTruncate = behind_a_flush<&sqlite3_io_methods::xTruncate, sqlite3_int64>;
    methods_.xSync = behind_a_flush<&sqlite3_io_methods::xSync, int>;
    methods_.xFileSize = behind_a_flush<&sqlite3_io_methods::xFileSize, sqlite3_int64*>;
    kept_.reserve(kPieceBytes);  // SQLite expects no exception later
    log_->pMethods = &methods_;
  }
  LogBuffer(const LogBuffer&) = delete;
  LogBuffer& operator=(const LogBuffer&) = delete;
  ~LogBuffer() {
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

  static int close(sqlite3_file* file) {
    const std::unique_ptr<LogBuffer> self(&of(file));
    const int flushed = self->flush();
    const int closed = self->real_->xClose(file);
    return flushed != SQLITE_OK ? flushed : closed;
  }

  int write(std::string_view bytes, sqlite3_int64 at) {
    const sqlite3_int64 end = kept_at_ + static_cast<sqlite3_int64>(kept_.size());
    const bool is_full = kept_.size() + bytes.size() > kPieceBytes;
    if (at != end || is_full) {
      const sqlite3_int64 begin = kept_at_;
      if (const int code = flush(); code != SQLITE_OK) {
        return code;
      }
      if (is_full) {
        begin_to_sync(begin, end);
      }
      kept_at_ = at;
    }
    kept_.append(bytes);
    return SQLITE_OK;
  }

  // What could not be written is not tried again: SQLite rolls its transaction back.
  int flush() {
    int code = SQLITE_OK;
    for (std::string_view rest = kept_; code == SQLITE_OK && !rest.empty();) {
      const auto piece = rest.substr(0, kWriteBytes);
      code = real_->xWrite(log_, piece.data(), static_cast<int>(piece.size()), kept_at_);
      kept_at_ += static_cast<sqlite3_int64>(piece.size());
      rest.remove_prefix(piece.size());
    }
    kept_.clear();
    return code;
  }

  // Only a hint, so it may fail: the sync that counts is SQLite's own, and its descriptor hears of
  // every error. A disk page that the next piece goes on with is left to that one.
  void begin_to_sync(sqlite3_int64 begin, sqlite3_int64 end) const {
    const sqlite3_int64 from = begin / kDiskPageBytes * kDiskPageBytes;
    const sqlite3_int64 to = end / kDiskPageBytes * kDiskPageBytes;
    if (hint_fd_ >= 0) {
      static_cast<void>(::sync_file_range(hint_fd_, from, to - from, SYNC_FILE_RANGE_WRITE));
    }
  }

  sqlite3_file* log_;
  const sqlite3_io_methods* real_;
  Methods methods_;
  int hint_fd_;
  std::string kept_;  // not in the file yet; belongs at kept_at_
  sqlite3_int64 kept_at_ = 0;
};

}  // namespace

void buffer_log(sqlite3_file* log, const char* path) {
  // It ends itself when SQLite closes the file.
  static_cast<void>(std::make_unique<LogBuffer>(log, path).release());
}

}  // namespace turnstile::sqlite
