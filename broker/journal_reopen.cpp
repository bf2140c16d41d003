// Opening the journal again: after a failed sync, or when its file is no longer at its path.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <utility>

#include "base/descriptor.h"
#include "broker/journal.h"
#include "broker/journal_values.h"

namespace turnstile::broker {
namespace {

bool sync_path(const std::filesystem::path& path, int flags) {
  Descriptor fd(::open(path.c_str(), flags | O_CLOEXEC));
  const bool is_synced = fd && ::fsync(fd.get()) == 0;
  fd.reset();  // keeps errno
  return is_synced;
}

}  // namespace

Result<void> Journal::reopen() {
  broken_ = true;
  insert_ = {};
  select_ = {};
  delete_ = {};
  if (auto saved = save_vanished(); !saved) {
    return saved;  // the file stays open for the next try
  }
  db_ = {};
  return lock_.keep().and_then([&] { return connect(); });
}

Result<void> Journal::look() const {
  return check_usable().and_then([&] { return db_.still_at_path(); });
}

// Promise 1: an open file can be read although its path is gone, so acknowledged batches are copied
// from there to the path. A file that somebody put at the path has its own batches and offsets, and
// must not get these. Errors: no file can be made at the path now.
Result<void> Journal::save_vanished() {
  if (db_.handle() == nullptr || db_.still_at_path()) {
    return {};
  }
  if (db_.in_transaction()) {
    static_cast<void>(db_.execute("ROLLBACK"));
  }
  const bool lacks_only_log = db_.has_database_at_path();
  if (db_.save_lost_log() && lacks_only_log) {
    return {};
  }
  Vanished vanished;
  auto rows = waiting_rows();
  if (rows) {
    vanished.held = std::move(*rows);
  } else {
    vanished.problem = rows.error().what;
  }
  std::error_code failed;
  if (lacks_only_log) {
    vanished.problem = "its write-ahead log is gone";
  } else if (std::filesystem::is_regular_file(options_.path, failed)) {
    vanished.problem = "another file is at its path";
  } else if (rows) {
    if (auto copied = copy_to_path(); !copied) {
      return copied;
    }
    vanished.is_kept = true;
  }
  vanished_ = std::move(vanished);
  return {};
}

// The acknowledged and not yet applied rows, in the order of storing.
Result<std::vector<RowRange>> Journal::waiting_rows() {
  auto select = db_.prepare("SELECT offset, producer, first, last FROM batches WHERE offset <= " +
                            std::to_string(last_offset_.value) + " ORDER BY offset");
  if (!select) {
    return tl::make_unexpected(std::move(select.error()));
  }
  std::sort(removed_.begin(), removed_.end());
  std::vector<RowRange> all;
  int code = SQLITE_DONE;
  while ((code = select->step()) == SQLITE_ROW) {
    const Offset offset{unsigned_of(select->integer(0))};
    if (std::binary_search(removed_.begin(), removed_.end(), offset)) {
      continue;
    }
    RowRange rows{ProducerId{std::string(select->text(1))},
                  Sequence{unsigned_of(select->integer(2))},
                  Sequence{unsigned_of(select->integer(3))}};
    if (!all.empty() && all.back().producer == rows.producer &&
        next(all.back().last) == rows.first) {
      all.back().last = rows.last;
    } else {
      all.push_back(std::move(rows));
    }
  }
  if (code != SQLITE_DONE) {
    return tl::make_unexpected(db_.error(code, "reading the journal that vanished"));
  }
  return all;
}

// Copies to another name and syncs it before linking. The copy may include applied and never
// acknowledged batches, which change nothing (promise 2).
Result<void> Journal::copy_to_path() {
  const std::string copy = options_.path.string() + ".copy";
  ::unlink(copy.c_str());
  std::string literal;
  for (const char c : copy) {
    literal += c == '\'' ? "''" : std::string(1, c);
  }
  auto copied = db_.execute("VACUUM INTO '" + literal + "'", "copying the journal that vanished");
  auto directory = options_.path.parent_path();
  directory = directory.empty() ? "." : directory;
  const bool is_there = copied && sync_path(copy, O_RDWR) &&
                        ::link(copy.c_str(), options_.path.c_str()) == 0 &&
                        sync_path(directory, O_RDONLY | O_DIRECTORY);
  if (copied && !is_there) {
    copied = fail(Errc::unreachable, "cannot put a copy of the journal at " +
                                         options_.path.string() + ": " + std::strerror(errno));
  }
  ::unlink(copy.c_str());
  return copied;
}

// Promise 8: the sync of what the write-ahead log holds may have failed in an earlier process, and
// a second sync of the same bytes proves nothing. So copies all of it into the file and syncs that.
Result<void> Journal::rewrite_log() {
  const auto busy = db_.query_integer("PRAGMA wal_checkpoint(TRUNCATE)");
  db_.note_written();
  if (!busy) {
    return tl::make_unexpected(busy.error());
  }
  if (*busy != 0) {
    return fail(Errc::locked, "another program reads the journal " + options_.path.string(),
                "Let it finish or end it; `fuser -v " + options_.path.string() + "` names it.");
  }
  return {};
}

}  // namespace turnstile::broker
