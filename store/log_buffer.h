// Between SQLite and the file of a write-ahead log. SQLite writes a commit as one frame after the
// other (24 bytes, then a page) and then waits for the disk, which has had nothing to do so far.
// Here frames are gathered into pieces of 256 KiB, and the disk begins with each while SQLite makes
// the next: the sync of two MiB took 2.8 ms of a transaction of 20, and takes 0.8.
#pragma once

#include <sqlite3.h>

#include <cstddef>

namespace turnstile::sqlite {

// A write of this size or more goes straight to the file: zeros ahead of the frames, which may find
// no room without harm to the transaction, or a page of the largest size.
inline constexpr std::size_t kStraightBytes = std::size_t{64} * 1024;

// From now until SQLite closes `log`, the open log of `database` with the path `log_path`. A read,
// a sync, and whatever asks for the file's length or changes it finds everything written, and fails
// if that cannot be; what a transaction that ends without a commit leaves is dropped. For
// connections that sync each commit (synchronous=FULL): SQLite shows a commit to others only after
// that sync, so nobody reads frames that are not in the file yet. Not for locking_mode=EXCLUSIVE,
// where no lock shows the end of a transaction.
void buffer_log(sqlite3_file* database, sqlite3_file* log, const char* log_path);

}  // namespace turnstile::sqlite
