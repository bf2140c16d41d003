#include "client/ledger.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

#include <fmt/format.h>

#include "base/descriptor.h"

namespace turnstile {
namespace {

tl::unexpected<Error> ledger_failure(Errc code, const std::filesystem::path& path, int error) {
  return fail(code,
              fmt::format("the ledger {} cannot be {}: {}", path.string(),
                          code == Errc::unreachable ? "opened" : "written", std::strerror(error)),
              code == Errc::unreachable
                  ? "name a file in a directory where you may write"
                  : "later acknowledgements are missing from it; the rows are safe");
}

}  // namespace

Result<Ledger> Ledger::open(const std::filesystem::path& path) {
  Descriptor file(::open(path.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666));
  if (file.get() < 0) {
    return ledger_failure(Errc::unreachable, path, errno);
  }
  Ledger ledger(path, std::move(file));
  // Every appender holds a shared lock, so the exclusive lock proves that no line is being written.
  if (::flock(ledger.file_.get(), LOCK_EX | LOCK_NB) == 0) {
    if (auto cut = ledger.cut_torn_line(); !cut) {
      return tl::make_unexpected(cut.error());
    }
  }
  while (::flock(ledger.file_.get(), LOCK_SH) != 0) {
    if (errno != EINTR) {
      return ledger_failure(Errc::unreachable, path, errno);
    }
  }
  return ledger;
}

Result<void> Ledger::cut_torn_line() {
  struct stat status {};
  if (::fstat(file_.get(), &status) != 0) {
    return ledger_failure(Errc::unreachable, path_, errno);
  }
  if (!S_ISREG(status.st_mode)) {
    return {};  // such as /dev/stderr, or a pipe to another program
  }
  std::array<char, 4096> piece{};
  off_t end = status.st_size;
  while (end > 0) {
    const off_t begin = end - std::min(end, static_cast<off_t>(piece.size()));
    const ssize_t got =
        ::pread(file_.get(), piece.data(), static_cast<std::size_t>(end - begin), begin);
    if (got != end - begin) {
      return ledger_failure(Errc::unreachable, path_, got < 0 ? errno : EIO);
    }
    const auto at = std::string_view(piece.data(), static_cast<std::size_t>(got)).rfind('\n');
    if (at != std::string_view::npos) {
      end = begin + static_cast<off_t>(at) + 1;
      break;
    }
    end = begin;
  }
  if (end < status.st_size && ::ftruncate(file_.get(), end) != 0) {
    return ledger_failure(Errc::unreachable, path_, errno);
  }
  return {};
}

Result<void> Ledger::append(const ProducerId& producer, const Acknowledged& acknowledged,
                            std::chrono::system_clock::time_point at) {
  const auto at_ms = std::chrono::floor<std::chrono::milliseconds>(at.time_since_epoch()).count();
  // Ids need no escapes (is_valid_producer_id).
  const std::string line =
      fmt::format(R"({{"producer":"{}","first":{},"last":{},"level":"{}","at_ms":{}}})"
                  "\n",
                  producer.text, acknowledged.first.value, acknowledged.last.value,
                  acknowledged.level == Ack::applied ? "applied" : "stored", at_ms);
  ssize_t written = -1;
  do {
    written = ::write(file_.get(), line.data(), line.size());
  } while (written < 0 && errno == EINTR);
  if (written != std::ssize(line)) {
    return ledger_failure(Errc::io, path_, written < 0 ? errno : ENOSPC);
  }
  return {};
}

}  // namespace turnstile
