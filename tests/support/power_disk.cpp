#include "tests/support/power_disk.h"

#include <algorithm>
#include <cerrno>
#include <cstddef>

namespace turnstile::test {
namespace {

std::uint64_t pick(std::mt19937_64& random, std::uint64_t from, std::uint64_t to) {
  return std::uniform_int_distribution<std::uint64_t>(from, to)(random);
}

std::string folder_of(const std::string& path) {
  return path.substr(0, path.rfind('/'));
}

void put(const PowerDisk::Change& change, std::string& content) {
  if (change.truncates) {
    content.resize(change.offset, '\0');
    return;
  }
  const std::size_t end = change.offset + change.bytes.size();
  if (content.size() < end) {
    content.resize(end, '\0');
  }
  content.replace(change.offset, change.bytes.size(), change.bytes);
}

// The part of a write that lies in [from, to).
PowerDisk::Change within(const PowerDisk::Change& change, std::uint64_t from, std::uint64_t to) {
  const std::uint64_t begin = std::max(change.offset, from);
  const std::uint64_t end = std::min<std::uint64_t>(change.offset + change.bytes.size(), to);
  return {begin, change.bytes.substr(begin - change.offset, end - begin), false};
}

// A write in the middle of which the power failed.
void tear(PowerDisk::Change& change, std::mt19937_64& random) {
  const std::size_t whole = pick(random, 0, change.bytes.size());
  if (pick(random, 0, 1) == 0) {
    change.bytes.resize(whole);
    return;
  }
  for (std::size_t i = whole; i < change.bytes.size(); ++i) {
    change.bytes[i] = static_cast<char>(random());
  }
}

}  // namespace

bool PowerDisk::Call::is_change() const {
  switch (operation) {
    case Operation::write:
    case Operation::truncate:
    case Operation::sync:
    case Operation::sync_folder:
    case Operation::remove:
      return true;
    case Operation::open:
      return creates;
    case Operation::read:
    case Operation::map_memory:
      return false;
  }
  return false;
}

bool PowerDisk::is_dead(const Handle& handle) const {
  return is_off_ || handle.boot_ != boot_ || !*handle.process_;
}

int PowerDisk::ask(const Call& call, Verdict& verdict) {
  if (is_off_) {
    return EIO;
  }
  if (call.is_change()) {
    ++changes_;
  }
  verdict = judge_ ? judge_(call) : Verdict{};
  switch (verdict.what) {
    case Verdict::What::cut_before:
      is_off_ = true;
      return EIO;
    case Verdict::What::fail:
      return verdict.error;
    case Verdict::What::proceed:
    case Verdict::What::cut_after:
    case Verdict::What::lie:
      return 0;
  }
  return 0;
}

int PowerDisk::finish(const Verdict& verdict) {
  if (verdict.what == Verdict::What::cut_after) {
    is_off_ = true;
    return EIO;
  }
  return 0;
}

int PowerDisk::open(const Process& process, const std::string& path, bool create, bool exclusive,
                    Handle& handle) {
  if (is_off_ || !*process) {
    return EIO;
  }
  const auto found = names_.find(path);
  const bool is_there = found != names_.end();
  Verdict verdict;
  if (const int error = ask(
          {.operation = Operation::open, .path = path, .creates = create && !is_there}, verdict);
      error != 0) {
    return error;
  }
  if (is_there && create && exclusive) {
    return EEXIST;
  }
  if (!is_there && !create) {
    return ENOENT;
  }
  handle.inode_ = is_there ? found->second : std::make_shared<Inode>();
  handle.path_ = path;
  handle.process_ = process;
  handle.boot_ = boot_;
  if (!is_there) {
    names_[path] = handle.inode_;
    renamings_.push_back({path, handle.inode_});
  }
  return finish(verdict);
}

PowerDisk::Handle PowerDisk::open_nameless(const Process& process) const {
  Handle handle;
  handle.inode_ = std::make_shared<Inode>();
  handle.process_ = process;
  handle.boot_ = boot_;
  return handle;
}

int PowerDisk::read(const Handle& handle, std::uint64_t offset, std::size_t bytes,
                    std::string_view& out) {
  if (is_dead(handle)) {
    return EIO;
  }
  Verdict verdict;
  const Call call{
      .operation = Operation::read, .path = handle.path_, .offset = offset, .bytes = bytes};
  if (const int error = ask(call, verdict); error != 0) {
    return error;
  }
  const std::string_view seen = handle.inode_->seen;
  out = seen.substr(std::min<std::uint64_t>(offset, seen.size()), bytes);
  return 0;
}

int PowerDisk::write(const Handle& handle, std::uint64_t offset, std::string_view bytes) {
  if (is_dead(handle)) {
    return EIO;
  }
  Verdict verdict;
  const int error = ask({.operation = Operation::write,
                         .path = handle.path_,
                         .offset = offset,
                         .bytes = bytes.size()},
                        verdict);
  if (error != 0) {
    bytes = bytes.substr(0, verdict.what == Verdict::What::fail ? verdict.bytes : 0);
  }
  if (!bytes.empty() && verdict.what != Verdict::What::lie) {
    Change& change = handle.inode_->pending.emplace_back(Change{offset, std::string(bytes), false});
    put(change, handle.inode_->seen);
  }
  return error != 0 ? error : finish(verdict);
}

int PowerDisk::truncate(const Handle& handle, std::uint64_t size) {
  if (is_dead(handle)) {
    return EIO;
  }
  Verdict verdict;
  if (const int error =
          ask({.operation = Operation::truncate, .path = handle.path_, .offset = size}, verdict);
      error != 0) {
    return error;
  }
  put(handle.inode_->pending.emplace_back(Change{size, {}, true}), handle.inode_->seen);
  return finish(verdict);
}

int PowerDisk::sync(const Handle& handle) {
  if (is_dead(handle)) {
    return EIO;
  }
  Inode& inode = *handle.inode_;
  std::uint64_t bytes = 0;
  for (const Change& change : inode.pending) {
    bytes += change.bytes.size();
  }
  Verdict verdict;
  if (const int error = ask({.operation = Operation::sync,
                             .path = handle.path_,
                             .bytes = bytes,
                             .changes = inode.pending.size()},
                            verdict);
      error != 0) {
    if (verdict.what == Verdict::What::fail) {
      // As Linux does: what could not be written counts as clean, and no later sync writes it.
      inode.pending.clear();
    }
    return error;
  }
  if (verdict.what != Verdict::What::lie) {
    for (const Change& change : inode.pending) {
      put(change, inode.durable);
    }
    inode.pending.clear();
  }
  return finish(verdict);
}

int PowerDisk::sync_folder_of(const Process& process, const std::string& path) {
  if (is_off_ || !*process) {
    return EIO;
  }
  const std::string folder = folder_of(path);
  const auto is_in = [&](const Renaming& renaming) { return folder_of(renaming.path) == folder; };
  Verdict verdict;
  const auto changes = std::count_if(renamings_.begin(), renamings_.end(), is_in);
  if (const int error = ask({.operation = Operation::sync_folder,
                             .path = folder,
                             .changes = static_cast<std::uint64_t>(changes)},
                            verdict);
      error != 0) {
    return error;
  }
  if (verdict.what != Verdict::What::lie) {
    for (const Renaming& renaming : renamings_) {
      if (is_in(renaming)) {
        durable_names_[renaming.path] = renaming.inode;
      }
    }
    std::erase_if(renamings_, is_in);
    std::erase_if(durable_names_, [](const auto& name) { return name.second == nullptr; });
  }
  return finish(verdict);
}

int PowerDisk::size(const Handle& handle, std::uint64_t& bytes) const {
  if (is_dead(handle)) {
    return EIO;
  }
  bytes = handle.inode_->seen.size();
  return 0;
}

int PowerDisk::remove(const Process& process, const std::string& path) {
  if (is_off_ || !*process) {
    return EIO;
  }
  Verdict verdict;
  if (const int error = ask({.operation = Operation::remove, .path = path}, verdict); error != 0) {
    return error;
  }
  if (names_.erase(path) == 0) {
    return ENOENT;
  }
  renamings_.push_back({path, nullptr});
  return finish(verdict);
}

int PowerDisk::map_memory(const Handle& handle) {
  if (is_dead(handle)) {
    return EIO;
  }
  Verdict verdict;
  return ask({.operation = Operation::map_memory, .path = handle.path_}, verdict);
}

// ---- the cut

std::string PowerDisk::surviving_sectors(const Inode& inode, std::mt19937_64& random) const {
  std::uint64_t extent = inode.durable.size();
  for (const Change& change : inode.pending) {
    extent = std::max<std::uint64_t>(extent, change.offset + change.bytes.size());
  }
  // Sizes are in a place of their own, and as old or new as any: so many changes are known there.
  const std::size_t known = pick(random, 0, 2) == 0 ? pick(random, 0, inode.pending.size())
                                                    : inode.pending.size() * pick(random, 0, 1);
  std::uint64_t size = inode.durable.size();
  // Which changes, in order, each sector has seen.
  std::map<std::uint64_t, std::vector<const Change*>> sectors;
  for (std::size_t i = 0; i < inode.pending.size(); ++i) {
    const Change& change = inode.pending[i];
    const std::uint64_t end = change.offset + change.bytes.size();
    if (i < known) {
      size = change.truncates ? change.offset : std::max<std::uint64_t>(size, end);
    } else if (change.truncates) {
      continue;
    }
    for (std::uint64_t at = change.offset / sector_bytes_;
         at * sector_bytes_ < (change.truncates ? extent : end); ++at) {
      sectors[at].push_back(&change);
    }
  }
  std::string content = inode.durable;
  content.resize(extent, '\0');
  for (const auto& [sector, changes] : sectors) {
    const std::uint64_t from = sector * sector_bytes_;
    const std::uint64_t to = std::min<std::uint64_t>(from + sector_bytes_, extent);
    const std::uint64_t chance = pick(random, 0, 7);
    const std::size_t kept = chance < 3   ? 0
                             : chance < 6 ? changes.size()
                                          : pick(random, 0, changes.size());
    for (std::size_t i = 0; i < changes.size(); ++i) {
      if (changes[i]->truncates) {
        const std::uint64_t zeros = std::max(changes[i]->offset, from);
        std::fill(content.begin() + static_cast<std::ptrdiff_t>(zeros),
                  content.begin() + static_cast<std::ptrdiff_t>(to), '\0');
      } else if (i < kept) {
        put(within(*changes[i], from, to), content);
      }
    }
    if (kept < changes.size() && !changes[kept]->truncates && chance == 7) {
      Change torn = within(*changes[kept], from, to);
      tear(torn, random);
      put(torn, content);
    }
  }
  content.resize(size, '\0');
  return content;
}

std::string PowerDisk::surviving(const Inode& inode, Survival survival,
                                 std::mt19937_64& random) const {
  if (inode.pending.empty() || survival == Survival::none) {
    return inode.durable;
  }
  if (survival == Survival::all) {
    return inode.seen;
  }
  if (survival == Survival::any) {
    return surviving_sectors(inode, random);
  }
  std::string content = inode.durable;
  const std::size_t whole = pick(random, 0, inode.pending.size());
  for (std::size_t i = 0; i < whole; ++i) {
    put(inode.pending[i], content);
  }
  if (whole < inode.pending.size() && !inode.pending[whole].truncates) {
    Change torn = inode.pending[whole];
    tear(torn, random);
    put(torn, content);
  }
  return content;
}

void PowerDisk::surviving_names(std::mt19937_64& random) {
  for (const Renaming& renaming : renamings_) {
    if (pick(random, 0, 1) == 0) {
      durable_names_[renaming.path] = renaming.inode;
    }
  }
  renamings_.clear();
  std::erase_if(durable_names_, [](const auto& name) { return name.second == nullptr; });
}

void PowerDisk::survive_cut(std::mt19937_64& random) {
  surviving_names(random);
  // One way for all files, or each its own.
  const bool together = pick(random, 0, 1) == 0;
  const auto choose = [&] { return static_cast<Survival>(pick(random, 0, 3)); };
  const Survival of_all = choose();
  names_.clear();
  std::map<const Inode*, std::shared_ptr<Inode>> left;
  for (auto& [path, inode] : durable_names_) {
    auto& survivor = left[inode.get()];
    if (survivor == nullptr) {
      survivor = std::make_shared<Inode>();
      survivor->seen = surviving(*inode, together ? of_all : choose(), random);
      survivor->durable = survivor->seen;
    }
    inode = survivor;
    names_[path] = survivor;
  }
  ++boot_;
  is_off_ = false;
}

std::unique_ptr<PowerDisk> PowerDisk::snapshot() const {
  auto copy = std::make_unique<PowerDisk>(sector_bytes_);
  for (const auto& [path, inode] : names_) {
    auto same = std::make_shared<Inode>();
    same->seen = inode->seen;
    same->durable = inode->seen;
    copy->names_[path] = same;
    copy->durable_names_[path] = same;
  }
  return copy;
}

std::string_view PowerDisk::content(const std::string& path) const {
  const auto found = names_.find(path);
  return found == names_.end() ? std::string_view() : std::string_view(found->second->seen);
}

}  // namespace turnstile::test
