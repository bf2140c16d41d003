#include "tests/support/fault_vfs.h"

#include <sstream>

namespace turnstile::test {
namespace {

// SQLite allocates szOsFile bytes: this, and the system's file behind it.
struct FaultFile {
  sqlite3_file base;
  FaultVfs* vfs;
  FaultVfs::File kind;
};

FaultFile* of(sqlite3_file* file) {
  return reinterpret_cast<FaultFile*>(file);
}
sqlite3_file* system_file(sqlite3_file* file) {
  return reinterpret_cast<sqlite3_file*>(of(file) + 1);
}
FaultVfs* of(sqlite3_vfs* vfs) {
  return static_cast<FaultVfs*>(vfs->pAppData);
}

int close_file(sqlite3_file* f) {
  const auto* methods = system_file(f)->pMethods;
  return methods != nullptr ? methods->xClose(system_file(f)) : SQLITE_OK;
}
int read_file(sqlite3_file* f, void* to, int size, sqlite3_int64 at) {
  of(f)->vfs->reading();
  return system_file(f)->pMethods->xRead(system_file(f), to, size, at);
}
int write_file(sqlite3_file* f, const void* from, int size, sqlite3_int64 at) {
  const int code = of(f)->vfs->before(FaultVfs::Operation::write, of(f)->kind);
  return code != SQLITE_OK ? code
                           : system_file(f)->pMethods->xWrite(system_file(f), from, size, at);
}
int truncate_file(sqlite3_file* f, sqlite3_int64 size) {
  return system_file(f)->pMethods->xTruncate(system_file(f), size);
}
int sync_file(sqlite3_file* f, int flags) {
  int code = of(f)->vfs->before(FaultVfs::Operation::sync, of(f)->kind);
  if (code == SQLITE_OK) {
    code = system_file(f)->pMethods->xSync(system_file(f), flags);
  }
  if (code == SQLITE_OK) {
    of(f)->vfs->synced();
  }
  return code;
}
int file_size(sqlite3_file* f, sqlite3_int64* size) {
  return system_file(f)->pMethods->xFileSize(system_file(f), size);
}
int lock_file(sqlite3_file* f, int level) {
  return system_file(f)->pMethods->xLock(system_file(f), level);
}
int unlock_file(sqlite3_file* f, int level) {
  return system_file(f)->pMethods->xUnlock(system_file(f), level);
}
int check_reserved_lock(sqlite3_file* f, int* held) {
  return system_file(f)->pMethods->xCheckReservedLock(system_file(f), held);
}
int file_control(sqlite3_file* f, int what, void* with) {
  return system_file(f)->pMethods->xFileControl(system_file(f), what, with);
}
int sector_size(sqlite3_file* f) {
  return system_file(f)->pMethods->xSectorSize(system_file(f));
}
int characteristics(sqlite3_file* f) {
  return system_file(f)->pMethods->xDeviceCharacteristics(system_file(f));
}
int shm_map(sqlite3_file* f, int region, int size, int extend, void volatile** to) {
  return system_file(f)->pMethods->xShmMap(system_file(f), region, size, extend, to);
}
int shm_lock(sqlite3_file* f, int offset, int n, int flags) {
  return system_file(f)->pMethods->xShmLock(system_file(f), offset, n, flags);
}
void shm_barrier(sqlite3_file* f) {
  system_file(f)->pMethods->xShmBarrier(system_file(f));
}
int shm_unmap(sqlite3_file* f, int remove) {
  return system_file(f)->pMethods->xShmUnmap(system_file(f), remove);
}
int fetch(sqlite3_file* f, sqlite3_int64 offset, int size, void** to) {
  return system_file(f)->pMethods->xFetch(system_file(f), offset, size, to);
}
int unfetch(sqlite3_file* f, sqlite3_int64 offset, void* what) {
  return system_file(f)->pMethods->xUnfetch(system_file(f), offset, what);
}

constexpr sqlite3_io_methods kMethods{3,
                                      close_file,
                                      read_file,
                                      write_file,
                                      truncate_file,
                                      sync_file,
                                      file_size,
                                      lock_file,
                                      unlock_file,
                                      check_reserved_lock,
                                      file_control,
                                      sector_size,
                                      characteristics,
                                      shm_map,
                                      shm_lock,
                                      shm_barrier,
                                      shm_unmap,
                                      fetch,
                                      unfetch};

int open_file(sqlite3_vfs* vfs, sqlite3_filename name, sqlite3_file* file, int flags,
              int* out_flags) {
  FaultVfs* owner = of(vfs);
  const auto kind = (flags & SQLITE_OPEN_WAL) != 0       ? FaultVfs::File::wal
                    : (flags & SQLITE_OPEN_MAIN_DB) != 0 ? FaultVfs::File::database
                                                         : FaultVfs::File::any;
  *of(file) = {{nullptr}, owner, kind};
  const int code =
      owner->system()->xOpen(owner->system(), name, system_file(file), flags, out_flags);
  if (system_file(file)->pMethods != nullptr) {
    file->pMethods = &kMethods;
  }
  return code;
}

}  // namespace

FaultVfs::FaultVfs()
    : system_(sqlite3_vfs_find(nullptr)), vfs_(std::make_unique<sqlite3_vfs>(*system_)) {
  std::ostringstream name;
  name << "fault-" << static_cast<const void*>(this);
  name_ = name.str();
  vfs_->zName = name_.c_str();
  vfs_->pNext = nullptr;
  vfs_->pAppData = this;
  vfs_->szOsFile = static_cast<int>(sizeof(FaultFile)) + system_->szOsFile;
  vfs_->xOpen = open_file;
  // The others take no file and are the system's own; they read nothing of the vfs but this.
  vfs_->xDelete = [](sqlite3_vfs* v, const char* path, int sync) {
    return of(v)->system()->xDelete(of(v)->system(), path, sync);
  };
  vfs_->xAccess = [](sqlite3_vfs* v, const char* path, int flags, int* out) {
    return of(v)->system()->xAccess(of(v)->system(), path, flags, out);
  };
  vfs_->xFullPathname = [](sqlite3_vfs* v, const char* path, int size, char* out) {
    return of(v)->system()->xFullPathname(of(v)->system(), path, size, out);
  };
  sqlite3_vfs_register(vfs_.get(), 0);
}

FaultVfs::~FaultVfs() {
  sqlite3_vfs_unregister(vfs_.get());
}

void FaultVfs::fail(Operation operation, File file, int nth, int code, int times) {
  operation_ = operation;
  file_ = file;
  until_ = nth;
  code_ = code;
  times_ = times;
}

int FaultVfs::before(Operation operation, File file) {
  if (times_ == 0 || operation != operation_ || (file_ != File::any && file != file_)) {
    return SQLITE_OK;
  }
  if (--until_ > 0) {
    return SQLITE_OK;
  }
  --times_;
  ++failures_;
  return code_;
}

}  // namespace turnstile::test
