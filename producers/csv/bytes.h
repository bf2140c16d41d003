// Where the bytes of a CSV come from: a descriptor, a part of a file, or a pipe that is copied to
// disk while it is read. Not thread-safe; one reader each.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include "base/descriptor.h"
#include "base/result.h"

namespace turnstile::csv {

class ByteSource {
 public:
  virtual ~ByteSource() = default;

  // Returns the number of bytes put into `into`, which must not be empty; 0 at the end. A pipe
  // returns what is available. Error: io.
  virtual Result<std::size_t> read(std::span<char> into) = 0;
};

// Called before a read that may wait. Returns true when there is something to read, false to give
// up (an interrupt); reading then ends with Errc::refused.
using WaitForInput = std::function<bool(int fd)>;

// Reads from the descriptor's current position. Errors call the source `name`.
class StreamSource final : public ByteSource {
 public:
  StreamSource(Descriptor file, std::string name, WaitForInput wait = {})
      : file_(std::move(file)), name_(std::move(name)), wait_(std::move(wait)) {}

  Result<std::size_t> read(std::span<char> into) override;

 private:
  Descriptor file_;
  std::string name_;
  WaitForInput wait_;
};

// The bytes [begin, end) of a file that supports pread. Does not own `fd`.
class RangeSource final : public ByteSource {
 public:
  RangeSource(int fd, std::string name) : fd_(fd), name_(std::move(name)) {}

  void set_range(std::uint64_t begin, std::uint64_t end) {
    next_ = begin;
    end_ = end;
  }
  Result<std::size_t> read(std::span<char> into) override;

 private:
  int fd_;
  std::string name_;
  std::uint64_t next_ = 0;
  std::uint64_t end_ = INT64_MAX;
};

// Reads a pipe and copies it to `spool_fd`, so that it can be read again. Errors: io; full when the
// disk of the copy has no room.
class SpoolingSource final : public ByteSource {
 public:
  SpoolingSource(Descriptor pipe, std::string name, int spool_fd, WaitForInput wait = {})
      : pipe_(std::move(pipe), std::move(name), std::move(wait)), spool_fd_(spool_fd) {}

  Result<std::size_t> read(std::span<char> into) override;

 private:
  StreamSource pipe_;
  int spool_fd_;
};

// The length of a beginning of an input, and the XXH3 hash of those bytes.
struct Mark {
  std::uint64_t bytes = 0;
  std::uint64_t hash = 0;
};

// Hashes the bytes of another source, up to any place that was read and that is not before the
// place of the previous call. Keeps the later bytes in memory.
class MarkedSource final : public ByteSource {
 public:
  explicit MarkedSource(std::unique_ptr<ByteSource> from);
  ~MarkedSource() override;

  Result<std::size_t> read(std::span<char> into) override;

  Mark mark_at(std::uint64_t offset);
  [[nodiscard]] std::uint64_t marked() const { return hashed_; }

 private:
  struct Hash;
  std::unique_ptr<ByteSource> from_;
  std::unique_ptr<Hash> hash_;
  std::uint64_t hashed_ = 0;
  std::string kept_;  // from kept_[begin_] on, the bytes after the hashed ones
  std::size_t begin_ = 0;
};

// Whether the file begins with those bytes. Error: io.
Result<bool> begins_with(int fd, const std::string& name, const Mark& mark);

// Equal stamps: the file was not written in between (to the precision of its clock).
struct FileStamp {
  std::int64_t size_bytes = 0;
  std::int64_t mtime_ns = 0;
  bool operator==(const FileStamp&) const = default;
};

struct Input {
  Descriptor file;
  std::string name;         // the path, or "standard input"
  bool read_twice = false;  // a regular file given by its path, not a pipe
  FileStamp stamp;          // size_bytes is 0 for a pipe
};

// Opens a path, or standard input for "-". Error: unreachable, with the reason and a hint.
Result<Input> open_input(const std::string& path);

Result<FileStamp> stamp_of(int fd, const std::string& name);

// The error of a second pass that does not match the first.
tl::unexpected<Error> fail_changed(const std::string& name);

// An unnamed file in $TMPDIR (else /tmp). It disappears when it is closed, also in a crash. Error:
// unreachable.
Result<Descriptor> make_spool();

}  // namespace turnstile::csv
