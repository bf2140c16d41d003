#include "tests/support/power_vfs.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <sstream>
#include <utility>
#include <vector>

namespace turnstile::test {

// SQLite allocates it, and PowerVfs's methods make and destroy it.
struct PowerFile {
  sqlite3_file base{};
  PowerVfs* vfs = nullptr;
  PowerDisk::Handle handle;
  int lock = SQLITE_LOCK_NONE;
  bool maps_memory = false;
  // The regions that SQLite has pointers to, for as long as it may use them.
  std::vector<std::shared_ptr<char[]>> regions;
  unsigned memory_shared = 0;  // bits of the locks that this file holds
  unsigned memory_exclusive = 0;
  bool folder_is_due = false;  // with the next sync
  bool delete_at_end = false;
};

namespace {

constexpr int kSectorBytes = 4096;

PowerFile& of(sqlite3_file* file) {
  return *reinterpret_cast<PowerFile*>(file);
}
PowerVfs& of(sqlite3_vfs* vfs) {
  return *static_cast<PowerVfs*>(vfs->pAppData);
}

// ---- locks, as SQLite describes them (None, Shared, Reserved, Pending, Exclusive)

void unlock_to(PowerFile& file, int level) {
  auto& inode = file.handle.inode();
  if (file.lock >= SQLITE_LOCK_RESERVED && level < SQLITE_LOCK_RESERVED) {
    for (const void** owner : {&inode.reserved_by, &inode.pending_by, &inode.exclusive_by}) {
      if (*owner == &file) {
        *owner = nullptr;
      }
    }
  }
  if (file.lock >= SQLITE_LOCK_SHARED && level < SQLITE_LOCK_SHARED) {
    --inode.sharers;
  }
  file.lock = std::min(file.lock, level);
}

int lock_file(sqlite3_file* f, int level) {
  auto& file = of(f);
  auto& inode = file.handle.inode();
  const auto held_by_other = [&](const void* owner) { return owner != nullptr && owner != &file; };
  if (file.vfs->disk().is_dead(file.handle)) {
    return file.vfs->fail(SQLITE_IOERR_LOCK, EIO);
  }
  if (file.lock >= level) {
    return SQLITE_OK;
  }
  if (held_by_other(inode.exclusive_by) || held_by_other(inode.pending_by)) {
    return SQLITE_BUSY;
  }
  if (level == SQLITE_LOCK_SHARED) {
    ++inode.sharers;
    file.lock = level;
    return SQLITE_OK;
  }
  if (held_by_other(inode.reserved_by)) {
    return SQLITE_BUSY;
  }
  inode.reserved_by = &file;
  file.lock = std::max(file.lock, SQLITE_LOCK_RESERVED);
  if (level == SQLITE_LOCK_EXCLUSIVE) {
    inode.pending_by = &file;
    if (inode.sharers > 1) {
      return SQLITE_BUSY;
    }
    inode.exclusive_by = &file;
    file.lock = level;
  }
  return SQLITE_OK;
}

int unlock_file(sqlite3_file* f, int level) {
  unlock_to(of(f), level);
  return SQLITE_OK;
}

int check_reserved_lock(sqlite3_file* f, int* held) {
  *held = of(f).handle.inode().reserved_by != nullptr ? 1 : 0;
  return SQLITE_OK;
}

// ---- shared memory

void drop_memory_locks(PowerFile& file, unsigned mask) {
  auto& locks = file.handle.inode().memory_locks;
  for (unsigned i = 0; i < locks.size(); ++i) {
    const unsigned bit = 1U << i;
    if ((mask & file.memory_exclusive & bit) != 0) {
      locks.at(i) = 0;
    } else if ((mask & file.memory_shared & bit) != 0) {
      --locks.at(i);
    }
  }
  file.memory_exclusive &= ~mask;
  file.memory_shared &= ~mask;
}

void unmap(PowerFile& file) {
  if (!file.maps_memory) {
    return;
  }
  drop_memory_locks(file, ~0U);
  file.maps_memory = false;
  auto& inode = file.handle.inode();
  if (--inode.memory_users == 0) {
    inode.shared_memory.clear();  // as the first of its next users would
  }
}

int map_memory(sqlite3_file* f, int region, int size, int extend, void volatile** to) {
  auto& file = of(f);
  auto& inode = file.handle.inode();
  *to = nullptr;
  if (file.vfs->disk().is_dead(file.handle)) {
    return file.vfs->fail(SQLITE_IOERR_SHMMAP, EIO);
  }
  if (!file.maps_memory) {
    if (const int error = file.vfs->disk().map_memory(file.handle); error != 0) {
      return file.vfs->fail(error == EMFILE ? SQLITE_CANTOPEN : SQLITE_IOERR_SHMOPEN, error);
    }
    file.maps_memory = true;
    ++inode.memory_users;
  }
  const auto index = static_cast<std::size_t>(region);
  while (extend != 0 && inode.shared_memory.size() <= index) {
    if (const int error = file.vfs->disk().map_memory(file.handle); error != 0) {
      return file.vfs->fail(SQLITE_IOERR_SHMSIZE, error);
    }
    inode.shared_memory.emplace_back(std::make_unique<char[]>(static_cast<std::size_t>(size)));
  }
  if (index < inode.shared_memory.size()) {
    file.regions.push_back(inode.shared_memory[index]);
    *to = inode.shared_memory[index].get();
  }
  return SQLITE_OK;
}

int lock_memory(sqlite3_file* f, int offset, int count, int flags) {
  auto& file = of(f);
  auto& locks = file.handle.inode().memory_locks;
  const unsigned mask = ((1U << static_cast<unsigned>(count)) - 1U)
                        << static_cast<unsigned>(offset);
  if ((flags & SQLITE_SHM_UNLOCK) != 0) {
    drop_memory_locks(file, mask);
    return SQLITE_OK;
  }
  if (file.vfs->disk().is_dead(file.handle)) {
    return file.vfs->fail(SQLITE_IOERR_SHMLOCK, EIO);
  }
  const bool exclusive = (flags & SQLITE_SHM_EXCLUSIVE) != 0;
  for (int i = offset; i < offset + count; ++i) {
    const auto bit = 1U << static_cast<unsigned>(i);
    int others = locks.at(static_cast<std::size_t>(i));
    if (others > 0 && (file.memory_shared & bit) != 0) {
      --others;
    }
    const bool own = (file.memory_exclusive & bit) != 0;
    if (!own && (exclusive ? others != 0 : others < 0)) {
      return SQLITE_BUSY;
    }
  }
  for (int i = offset; i < offset + count; ++i) {
    const auto bit = 1U << static_cast<unsigned>(i);
    auto& lock = locks.at(static_cast<std::size_t>(i));
    if (exclusive) {
      lock = -1;
      file.memory_exclusive |= bit;
      file.memory_shared &= ~bit;
    } else if ((file.memory_shared & bit) == 0) {
      ++lock;
      file.memory_shared |= bit;
    }
  }
  return SQLITE_OK;
}

void memory_barrier(sqlite3_file* /*f*/) {}

int unmap_memory(sqlite3_file* f, int /*remove*/) {
  unmap(of(f));
  of(f).regions.clear();
  return SQLITE_OK;
}

// ---- files

void release(PowerFile& file) {
  if (file.handle) {
    unlock_to(file, SQLITE_LOCK_NONE);
    unmap(file);
  }
}

int close_file(sqlite3_file* f) {
  auto& file = of(f);
  release(file);
  if (file.delete_at_end && !file.handle.path().empty()) {
    static_cast<void>(file.vfs->disk().remove(file.vfs->process(), file.handle.path()));
  }
  file.vfs->closed(&file);
  file.~PowerFile();
  return SQLITE_OK;
}

int read_file(sqlite3_file* f, void* to, int size, sqlite3_int64 at) {
  auto& file = of(f);
  const auto wanted = static_cast<std::size_t>(size);
  std::string_view bytes;
  const int error =
      file.vfs->disk().read(file.handle, static_cast<std::uint64_t>(at), wanted, bytes);
  if (error != 0) {
    return file.vfs->fail(SQLITE_IOERR_READ, error);
  }
  std::memcpy(to, bytes.data(), bytes.size());
  if (bytes.size() < wanted) {
    std::memset(static_cast<char*>(to) + bytes.size(), 0, wanted - bytes.size());
    return SQLITE_IOERR_SHORT_READ;
  }
  return SQLITE_OK;
}

int write_file(sqlite3_file* f, const void* from, int size, sqlite3_int64 at) {
  auto& file = of(f);
  const std::string_view bytes(static_cast<const char*>(from), static_cast<std::size_t>(size));
  const int error = file.vfs->disk().write(file.handle, static_cast<std::uint64_t>(at), bytes);
  if (error != 0) {
    return file.vfs->fail(error == ENOSPC ? SQLITE_FULL : SQLITE_IOERR_WRITE, error);
  }
  return SQLITE_OK;
}

int truncate_file(sqlite3_file* f, sqlite3_int64 size) {
  auto& file = of(f);
  const int error = file.vfs->disk().truncate(file.handle, static_cast<std::uint64_t>(size));
  return error == 0 ? SQLITE_OK : file.vfs->fail(SQLITE_IOERR_TRUNCATE, error);
}

int sync_file(sqlite3_file* f, int /*flags*/) {
  auto& file = of(f);
  if (const int error = file.vfs->disk().sync(file.handle); error != 0) {
    return file.vfs->fail(SQLITE_IOERR_FSYNC, error);
  }
  if (file.folder_is_due) {
    file.folder_is_due = false;
    const int error = file.vfs->disk().sync_folder_of(file.vfs->process(), file.handle.path());
    if (error != 0) {
      return file.vfs->fail(SQLITE_IOERR_FSYNC, error);
    }
  }
  return SQLITE_OK;
}

int file_size(sqlite3_file* f, sqlite3_int64* size) {
  auto& file = of(f);
  std::uint64_t bytes = 0;
  if (const int error = file.vfs->disk().size(file.handle, bytes); error != 0) {
    return file.vfs->fail(SQLITE_IOERR_FSTAT, error);
  }
  *size = static_cast<sqlite3_int64>(bytes);
  return SQLITE_OK;
}

int file_control(sqlite3_file* /*f*/, int /*what*/, void* /*with*/) {
  return SQLITE_NOTFOUND;
}
int sector_size(sqlite3_file* /*f*/) {
  return kSectorBytes;
}
int characteristics(sqlite3_file* /*f*/) {
  return SQLITE_IOCAP_POWERSAFE_OVERWRITE;
}

constexpr sqlite3_io_methods kPowerMethods{2,
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
                                           map_memory,
                                           lock_memory,
                                           memory_barrier,
                                           unmap_memory,
                                           nullptr,
                                           nullptr};

// ---- the file system

int open_file(sqlite3_vfs* v, sqlite3_filename name, sqlite3_file* f, int flags, int* out_flags) {
  auto& vfs = of(v);
  auto* file = new (f) PowerFile;
  file->vfs = &vfs;
  if (name == nullptr) {
    file->handle = vfs.disk().open_nameless(vfs.process());
  } else {
    const int error = vfs.disk().open(vfs.process(), name, (flags & SQLITE_OPEN_CREATE) != 0,
                                      (flags & SQLITE_OPEN_EXCLUSIVE) != 0, file->handle);
    if (error != 0) {
      file->~PowerFile();
      f->pMethods = nullptr;
      return vfs.fail(SQLITE_CANTOPEN, error);
    }
  }
  constexpr int kWithFolder =
      SQLITE_OPEN_SUPER_JOURNAL | SQLITE_OPEN_MAIN_JOURNAL | SQLITE_OPEN_WAL;
  file->folder_is_due = (flags & SQLITE_OPEN_CREATE) != 0 && (flags & kWithFolder) != 0;
  file->delete_at_end = (flags & SQLITE_OPEN_DELETEONCLOSE) != 0;
  file->base.pMethods = &kPowerMethods;
  vfs.opened(file);
  if (out_flags != nullptr) {
    *out_flags = flags;
  }
  return SQLITE_OK;
}

int delete_file(sqlite3_vfs* v, const char* path, int sync_folder) {
  auto& vfs = of(v);
  int error = vfs.disk().remove(vfs.process(), path);
  if (error != 0) {
    return vfs.fail(error == ENOENT ? SQLITE_IOERR_DELETE_NOENT : SQLITE_IOERR_DELETE, error);
  }
  if ((sync_folder & 1) != 0) {
    error = vfs.disk().sync_folder_of(vfs.process(), path);
    if (error != 0) {
      return vfs.fail(SQLITE_IOERR_DIR_FSYNC, error);
    }
  }
  return SQLITE_OK;
}

int access_file(sqlite3_vfs* v, const char* path, int flags, int* out) {
  const auto& disk = of(v).disk();
  *out =
      disk.exists(path) && (flags != SQLITE_ACCESS_EXISTS || !disk.content(path).empty()) ? 1 : 0;
  return SQLITE_OK;
}

int full_path(sqlite3_vfs* /*v*/, const char* path, int size, char* out) {
  sqlite3_snprintf(size, out, "%s", path);
  return SQLITE_OK;
}

// ---- the text log

class PowerTextFile final : public store::TextFile {
 public:
  PowerTextFile(PowerVfs& vfs, PowerDisk::Handle handle, PowerDisk::Process process)
      : disk_(vfs.disk()), handle_(std::move(handle)), process_(std::move(process)) {}

  Result<std::uint64_t> size() override {
    std::uint64_t bytes = 0;
    const int error = disk_.size(handle_, bytes);
    return error == 0 ? Result<std::uint64_t>(bytes) : failure(error, "reading the size of");
  }
  Result<std::size_t> write_some(std::uint64_t offset, std::string_view bytes) override {
    const int error = disk_.write(handle_, offset, bytes);
    return error == 0 ? Result<std::size_t>(bytes.size()) : failure(error, "writing");
  }
  Result<void> truncate(std::uint64_t length) override {
    const int error = disk_.truncate(handle_, length);
    return error == 0 ? Result<void>() : failure(error, "cutting");
  }
  Result<void> sync() override {
    int error = disk_.sync(handle_);
    if (error == 0 && folder_is_due_) {
      folder_is_due_ = false;
      error = disk_.sync_folder_of(process_, handle_.path());
    }
    return error == 0 ? Result<void>() : failure(error, "syncing");
  }

 private:
  [[nodiscard]] tl::unexpected<Error> failure(int error, std::string_view doing) const {
    return tl::make_unexpected(store::file_error(error, doing, handle_.path()));
  }

  PowerDisk& disk_;
  PowerDisk::Handle handle_;
  PowerDisk::Process process_;
  bool folder_is_due_ = true;  // with the first sync, as the real one does
};

}  // namespace

PowerVfs::PowerVfs(PowerDisk& disk)
    : disk_(disk), vfs_(std::make_unique<sqlite3_vfs>(*sqlite3_vfs_find(nullptr))) {
  std::ostringstream name;
  name << "power-" << static_cast<const void*>(this);
  name_ = name.str();
  vfs_->zName = name_.c_str();
  vfs_->pNext = nullptr;
  vfs_->pAppData = this;
  vfs_->szOsFile = static_cast<int>(sizeof(PowerFile));
  vfs_->mxPathname = 512;
  vfs_->xOpen = open_file;
  vfs_->xDelete = delete_file;
  vfs_->xAccess = access_file;
  vfs_->xFullPathname = full_path;
  vfs_->xSleep = [](sqlite3_vfs*, int microseconds) { return microseconds; };  // nobody else runs
  vfs_->xGetLastError = [](sqlite3_vfs* v, int, char*) { return of(v).last_error(); };
  sqlite3_vfs_register(vfs_.get(), 0);
}

PowerVfs::~PowerVfs() {
  sqlite3_vfs_unregister(vfs_.get());
}

int PowerVfs::fail(int code, int error) {
  last_error_ = error;
  return code;
}

void PowerVfs::kill() {
  *process_ = false;
  for (PowerFile* file : open_) {
    release(*file);
  }
  process_ = PowerDisk::new_process();
}

store::OpenTextFile PowerVfs::text_files() {
  return [this](const std::filesystem::path& path) -> Result<std::unique_ptr<store::TextFile>> {
    PowerDisk::Handle handle;
    if (const int error = disk_.open(process_, path.string(), true, false, handle); error != 0) {
      Error failed = store::file_error(error, "opening", path);
      failed.code = Errc::unreachable;
      return tl::make_unexpected(std::move(failed));
    }
    return std::unique_ptr<store::TextFile>(
        std::make_unique<PowerTextFile>(*this, std::move(handle), process_));
  };
}

}  // namespace turnstile::test
