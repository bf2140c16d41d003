#include "producers/csv/bytes.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/descriptor.h"
#define XXH_STATIC_LINKING_ONLY  // the state as a value
#include <xxhash.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <system_error>
#include <utility>
#include <vector>

#include <fmt/format.h>

namespace turnstile::csv {
namespace {

std::string reason_of(int error) {
  return std::generic_category().message(error);
}

tl::unexpected<Error> fail_read(const std::string& name, int error) {
  return fail(Errc::io, fmt::format("reading {} failed: {}", name, reason_of(error)),
              "check the disk, or the program that writes to the pipe");
}

tl::unexpected<Error> fail_open(const std::string& name, int error) {
  switch (error) {
    case ENOENT:
      return fail(Errc::unreachable, fmt::format("no such file: {}", name),
                  "check the path; `-` reads standard input");
    case EACCES:
      return fail(Errc::unreachable, fmt::format("no permission to read {}", name),
                  "give this user permission to read it (ls -l shows its owner)");
    case EBADF:
      return fail(Errc::unreachable, fmt::format("{} is closed", name),
                  "pipe a CSV into it, or give a file's path");
    default:
      return fail(Errc::unreachable, fmt::format("cannot open {}: {}", name, reason_of(error)));
  }
}

tl::unexpected<Error> fail_spool(int error) {
  if (error == ENOSPC || error == EDQUOT || error == EFBIG) {
    return fail(Errc::full, "no space left for the temporary copy of the input",
                "set TMPDIR to a directory with room for the whole input");
  }
  return fail(Errc::io,
              fmt::format("writing the temporary copy of the input failed: {}", reason_of(error)),
              "set TMPDIR to a directory on another disk");
}

FileStamp stamp_from(const struct stat& status) {
  constexpr std::int64_t kNsPerSecond = 1'000'000'000;
  return {.size_bytes = status.st_size,
          .mtime_ns = status.st_mtim.tv_sec * kNsPerSecond + status.st_mtim.tv_nsec};
}

}  // namespace

Result<std::size_t> StreamSource::read(std::span<char> into) {
  for (;;) {
    if (wait_ && !wait_(file_.get())) {
      return fail(Errc::refused, fmt::format("reading {} was interrupted", name_));
    }
    const ssize_t got = ::read(file_.get(), into.data(), into.size());
    if (got >= 0) {
      return static_cast<std::size_t>(got);
    }
    if (errno != EINTR) {
      return fail_read(name_, errno);
    }
  }
}

Result<std::size_t> RangeSource::read(std::span<char> into) {
  const std::uint64_t wanted = std::min<std::uint64_t>(into.size(), end_ - next_);
  for (;;) {
    const ssize_t got = ::pread(fd_, into.data(), wanted, static_cast<off_t>(next_));
    if (got >= 0) {
      next_ += static_cast<std::uint64_t>(got);
      return static_cast<std::size_t>(got);
    }
    if (errno != EINTR) {
      return fail_read(name_, errno);
    }
  }
}

Result<std::size_t> SpoolingSource::read(std::span<char> into) {
  auto got = pipe_.read(into);
  if (!got) {
    return got;
  }
  for (auto rest = into.first(*got); !rest.empty();) {
    const ssize_t written = ::write(spool_fd_, rest.data(), rest.size());
    if (written >= 0) {
      rest = rest.subspan(static_cast<std::size_t>(written));
    } else if (errno != EINTR) {
      return fail_spool(errno);
    }
  }
  return got;
}

struct MarkedSource::Hash {
  Hash() { XXH3_64bits_reset(&state); }
  XXH3_state_t state;
};

MarkedSource::MarkedSource(std::unique_ptr<ByteSource> from)
    : from_(std::move(from)), hash_(std::make_unique<Hash>()) {}

MarkedSource::~MarkedSource() = default;

Result<std::size_t> MarkedSource::read(std::span<char> into) {
  auto got = from_->read(into);
  if (got) {
    if (begin_ > kept_.size() / 2) {
      kept_.erase(0, begin_);
      begin_ = 0;
    }
    kept_.append(into.data(), *got);
  }
  return got;
}

Mark MarkedSource::mark_at(std::uint64_t offset) {
  const auto more = static_cast<std::size_t>(
      std::min<std::uint64_t>(offset - std::min(offset, hashed_), kept_.size() - begin_));
  XXH3_64bits_update(&hash_->state, kept_.data() + begin_, more);
  begin_ += more;
  hashed_ += more;
  return {.bytes = hashed_, .hash = XXH3_64bits_digest(&hash_->state)};
}

Result<bool> begins_with(int fd, const std::string& name, const Mark& mark) {
  RangeSource file(fd, name);
  file.set_range(0, mark.bytes);
  MarkedSource marked(std::make_unique<RangeSource>(file));
  std::vector<char> piece(std::size_t{64} * 1024);
  Mark found;
  for (;;) {
    const auto got = marked.read(piece);
    if (!got) {
      return tl::make_unexpected(got.error());
    }
    found = marked.mark_at(found.bytes + *got);
    if (*got == 0) {
      return found.bytes == mark.bytes && found.hash == mark.hash;
    }
  }
}

Result<Input> open_input(const std::string& path) {
  const bool standard_input = path == "-";
  std::string name = standard_input ? "standard input" : path;
  Descriptor file(standard_input ? ::fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0)
                                 : ::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0) {
    return fail_open(name, errno);
  }
  struct stat status {};
  if (::fstat(file.get(), &status) != 0) {
    return fail_open(name, errno);
  }
  if (S_ISDIR(status.st_mode)) {
    return fail(Errc::unreachable, fmt::format("{} is a directory", name), "give one CSV file");
  }
  const bool read_twice = !standard_input && S_ISREG(status.st_mode);
  return Input{.file = std::move(file),
               .name = std::move(name),
               .read_twice = read_twice,
               .stamp = read_twice ? stamp_from(status) : FileStamp{}};
}

Result<FileStamp> stamp_of(int fd, const std::string& name) {
  struct stat status {};
  if (::fstat(fd, &status) != 0) {
    return fail_read(name, errno);
  }
  return stamp_from(status);
}

tl::unexpected<Error> fail_changed(const std::string& name) {
  return fail(Errc::bad_input, fmt::format("{} was changed while it was read", name),
              "wait until its writer has finished, or read a copy");
}

Result<Descriptor> make_spool() {
  const char* directory = std::getenv("TMPDIR");
  std::string path = directory != nullptr && *directory != '\0' ? directory : "/tmp";
  const std::string shown = path;
  path += "/turnstile-csv-XXXXXX";
  Descriptor file(::mkostemp(path.data(), O_CLOEXEC));
  if (file.get() < 0) {
    return fail(Errc::unreachable,
                fmt::format("cannot make a temporary file in {}: {}", shown, reason_of(errno)),
                "set TMPDIR to a directory with room for the whole input");
  }
  if (::unlink(path.c_str()) != 0) {
    return fail_spool(errno);
  }
  return file;
}

}  // namespace turnstile::csv
