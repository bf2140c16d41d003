// A disk in memory whose power can fail. It keeps, of every file, what programs see and what is
// certain to survive; a cut leaves of the rest whatever a seed says: some sectors old, some new,
// some garbled, names that were never made or never removed.
//
// What it assumes of a real disk, as SQLite does: what a sync of a file has confirmed stays, a name
// stays once its folder was synced, and a write harms no byte outside its own range. What a failed
// sync should have written programs still see, and no later sync writes it.
//
// Faults other than a cut come from the same judge. One thread. Errors are errno values; 0: done.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace turnstile::test {

class PowerDisk {
 public:
  enum class Operation { open, read, write, truncate, sync, sync_folder, remove, map_memory };

  struct Call {
    Operation operation;
    const std::string& path;  // of the file, or of the folder
    std::uint64_t offset = 0;
    std::uint64_t bytes = 0;    // to be read or written; of a sync: written and not yet synced
    std::uint64_t changes = 0;  // of a sync: writes and truncations that are not yet synced
    bool creates = false;       // an open that makes the file
    // Whether it changes what is on the disk: a place for a cut.
    [[nodiscard]] bool is_change() const;
  };

  struct Verdict {
    enum class What { proceed, cut_before, cut_after, fail, lie } what = What::proceed;
    int error = 0;            // of fail
    std::uint64_t bytes = 0;  // of a write that fails: how many arrive all the same
  };
  // Looks at every call. A call that is told to lie reports success and does nothing.
  using Judge = std::function<Verdict(const Call&)>;

  // A process that has files open; they are of no use once it was killed.
  using Process = std::shared_ptr<bool>;
  static Process new_process() { return std::make_shared<bool>(true); }

  // Bytes that are written and not yet synced.
  struct Change {
    std::uint64_t offset;
    std::string bytes;
    bool truncates;  // to `offset`
  };

  // A file, whatever its name. The locks and the shared memory are SQLite's.
  struct Inode {
    std::string seen;
    std::string durable;
    std::vector<Change> pending;

    std::vector<std::shared_ptr<char[]>> shared_memory;
    int memory_users = 0;
    std::array<int, 8> memory_locks{};  // -1: exclusive; else how many share it
    int sharers = 0;
    const void* reserved_by = nullptr;
    const void* pending_by = nullptr;
    const void* exclusive_by = nullptr;
  };

  class Handle {
   public:
    Handle() = default;
    [[nodiscard]] explicit operator bool() const { return inode_ != nullptr; }
    [[nodiscard]] const std::string& path() const { return path_; }
    [[nodiscard]] Inode& inode() const { return *inode_; }

   private:
    friend class PowerDisk;
    std::shared_ptr<Inode> inode_;
    std::string path_;
    Process process_;
    std::uint64_t boot_ = 0;
  };

  explicit PowerDisk(std::size_t sector_bytes) : sector_bytes_(sector_bytes) {}

  void judge(Judge judge) { judge_ = std::move(judge); }

  // ---- for programs
  int open(const Process& process, const std::string& path, bool create, bool exclusive,
           Handle& handle);
  // A file without a name.
  Handle open_nameless(const Process& process) const;
  int read(const Handle& handle, std::uint64_t offset, std::size_t bytes, std::string_view& out);
  int write(const Handle& handle, std::uint64_t offset, std::string_view bytes);
  int truncate(const Handle& handle, std::uint64_t size);
  int sync(const Handle& handle);
  int sync_folder_of(const Process& process, const std::string& path);
  int size(const Handle& handle, std::uint64_t& bytes) const;
  int remove(const Process& process, const std::string& path);
  int map_memory(const Handle& handle);  // asks the judge only
  [[nodiscard]] bool exists(const std::string& path) const { return names_.contains(path); }
  // Its process was killed, or the power was off since it was opened.
  [[nodiscard]] bool is_dead(const Handle& handle) const;

  // ---- for the test
  [[nodiscard]] bool is_off() const { return is_off_; }
  // From now on every call fails, and nothing changes.
  void switch_off() { is_off_ = true; }
  // Decides what was left, and switches on again. Files that are open stay useless.
  void survive_cut(std::mt19937_64& random);
  // The disk as its programs see it, on a disk of its own; all of it is durable there.
  [[nodiscard]] std::unique_ptr<PowerDisk> snapshot() const;
  // What is in the file now; empty when there is none.
  [[nodiscard]] std::string_view content(const std::string& path) const;
  [[nodiscard]] std::uint64_t changes() const { return changes_; }  // so far

 private:
  enum class Survival { none, all, in_order, any };
  using Names = std::map<std::string, std::shared_ptr<Inode>>;
  struct Renaming {
    std::string path;
    std::shared_ptr<Inode> inode;  // null: removed
  };

  // Counts the call and asks the judge: what to fail with, or 0.
  int ask(const Call& call, Verdict& verdict);
  // What the call comes back with after it was done.
  int finish(const Verdict& verdict);
  [[nodiscard]] std::string surviving(const Inode& inode, Survival survival,
                                      std::mt19937_64& random) const;
  [[nodiscard]] std::string surviving_sectors(const Inode& inode, std::mt19937_64& random) const;
  void surviving_names(std::mt19937_64& random);

  std::size_t sector_bytes_;
  Judge judge_;
  Names names_;
  Names durable_names_;
  std::vector<Renaming> renamings_;  // since their folders were synced
  bool is_off_ = false;
  std::uint64_t boot_ = 1;
  std::uint64_t changes_ = 0;
};

}  // namespace turnstile::test
