// Where the bytes of a CSV come from: a descriptor, a part of a file, a pipe that is kept on disk
// while it is read. Not thread-safe; one reader each.
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

  // How many bytes were put into `into`, which is not empty; 0 is the end. A pipe gives what is
  // there. Error: io.
  virtual Result<std::size_t> read(std::span<char> into) = 0;
};

// Called before a read that may wait; returns when there is something to read, or false to give up
// (an interrupt), which ends reading with Errc::refused.
using WaitForInput = std::function<bool(int fd)>;

// Reads on from where the descriptor stands. `name` is what errors call it.
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

// The bytes [begin, end) of a file that can be read at any place. Does not own `fd`.
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

// Reads a pipe and writes what it gave to `spool_fd`, so that it can be read a second time.
// Errors: io; full when the spool's disk has no room.
class SpoolingSource final : public ByteSource {
 public:
  SpoolingSource(Descriptor pipe, std::string name, int spool_fd, WaitForInput wait = {})
      : pipe_(std::move(pipe), std::move(name), std::move(wait)), spool_fd_(spool_fd) {}

  Result<std::size_t> read(std::span<char> into) override;

 private:
  StreamSource pipe_;
  int spool_fd_;
};

// The first `bytes` of an input, and their XXH3 hash.
struct Mark {
  std::uint64_t bytes = 0;
  std::uint64_t hash = 0;
};

// Hashes what another source gives, up to any place that has been read and not been asked about
// with a later one. Keeps the bytes from there on.
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
  std::string kept_;  // from kept_[begin_] on what is behind the hashed bytes
  std::size_t begin_ = 0;
};

// Whether the file begins with those bytes. Error: io.
Result<bool> begins_with(int fd, const std::string& name, const Mark& mark);

// Two equal stamps: the file was not written in between (to the precision of its clock).
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

// What both passes over a file say when they do not fit together.
tl::unexpected<Error> fail_changed(const std::string& name);

// A file without a name in $TMPDIR (else /tmp): it is gone when it is closed, after a crash too.
// Error: unreachable.
Result<Descriptor> make_spool();

}  // namespace turnstile::csv
