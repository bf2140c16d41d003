// The journal's tables `producers` and `target`: names with their epochs and owners, and the target
// of the rows.
#include <algorithm>
#include <utility>

#include "broker/journal.h"
#include "broker/journal_values.h"
#include "store/idle_time.h"

namespace turnstile::broker {

Result<Epoch> Journal::epoch(const ProducerId& producer) {
  if (auto usable = check_usable(); !usable) {
    return tl::make_unexpected(usable.error());
  }
  // The id's characters need no quoting (is_valid_producer_id).
  auto epoch = db_.query_integer("SELECT coalesce((SELECT epoch FROM producers WHERE name='" +
                                 producer.text + "'), 0)");
  if (!epoch) {
    return tl::make_unexpected(epoch.error());
  }
  return Epoch{unsigned_of(*epoch)};
}

Result<void> Journal::set_epoch(const ProducerId& producer, Epoch epoch) {
  return set_epochs({{producer, epoch, {}}});
}

Result<User> Journal::owner(const ProducerId& producer) {
  if (auto usable = check_usable(); !usable) {
    return tl::make_unexpected(usable.error());
  }
  constexpr std::int64_t kNobody = -1;
  const auto owner = db_.query_integer("SELECT coalesce((SELECT owner FROM producers WHERE name='" +
                                       producer.text + "'), " + std::to_string(kNobody) + ")");
  if (!owner) {
    return tl::make_unexpected(owner.error());
  }
  return *owner == kNobody ? User() : User(static_cast<uid_t>(*owner));
}

Result<std::string> Journal::target() {
  if (auto usable = check_usable(); !usable) {
    return tl::make_unexpected(usable.error());
  }
  auto select = db_.prepare("SELECT path FROM target");
  if (!select) {
    return tl::make_unexpected(select.error());
  }
  const int code = select->step();
  if (code != SQLITE_ROW && code != SQLITE_DONE) {
    return tl::make_unexpected(db_.error(code, "reading the journal"));
  }
  return code == SQLITE_ROW ? std::string(select->text(0)) : std::string();
}

Result<void> Journal::set_target(const std::string& path) {
  if (auto begun = begin(); !begun) {
    return begun;
  }
  auto set = db_.execute("DELETE FROM target");
  if (set) {
    auto insert = db_.prepare("INSERT INTO target VALUES(?)");
    if (!insert) {
      return tl::make_unexpected(rolled_back(insert.error()));
    }
    insert->bind(1, std::string_view(path));
    if (const int code = insert->step(); code != SQLITE_DONE) {
      set = tl::make_unexpected(db_.error(code, "storing the target's path"));
    }
  }
  if (!set) {
    return tl::make_unexpected(rolled_back(set.error()));
  }
  return commit();
}

Result<void> Journal::set_epochs(const std::vector<Name>& names) {
  if (auto begun = begin(); !begun) {
    return begun;
  }
  const std::string touched = std::to_string(now_ms());
  for (const auto& [producer, epoch, owner] : names) {
    auto set = db_.execute("INSERT INTO producers VALUES('" + producer.text + "', " +
                           std::to_string(epoch.value) + ", " + touched + ", " +
                           (owner ? std::to_string(*owner) : "NULL") +
                           ") ON CONFLICT(name) DO UPDATE SET epoch=excluded.epoch, "
                           "touched_ms=excluded.touched_ms, "
                           "owner=coalesce(owner, excluded.owner)");
    if (!set) {
      return tl::make_unexpected(rolled_back(set.error()));
    }
  }
  names_ += names.size();
  return commit();
}

Result<std::vector<std::pair<ProducerId, std::uint64_t>>> Journal::oldest_names(std::size_t most) {
  if (auto usable = check_usable(); !usable) {
    return tl::make_unexpected(usable.error());
  }
  auto select =
      db_.prepare("SELECT name, touched_ms FROM producers ORDER BY touched_ms, name LIMIT " +
                  std::to_string(most));
  if (!select) {
    return tl::make_unexpected(select.error());
  }
  std::vector<std::pair<ProducerId, std::uint64_t>> names;
  int code = SQLITE_DONE;
  while ((code = select->step()) == SQLITE_ROW) {
    names.emplace_back(ProducerId{std::string(select->text(0))}, unsigned_of(select->integer(1)));
  }
  if (code != SQLITE_DONE) {
    return tl::make_unexpected(db_.error(code, "reading the journal"));
  }
  return names;
}

Result<void> Journal::follow_clock(std::optional<std::uint64_t> looked_ms, std::uint64_t now_ms,
                                   std::chrono::milliseconds step) {
  if (auto usable = check_usable(); !usable) {
    return usable;
  }
  std::int64_t last = signed_of(looked_ms.value_or(now_ms));
  if (!looked_ms && names_ > 0) {
    const auto newest = db_.query_integer("SELECT max(touched_ms) FROM producers");
    if (!newest) {
      return tl::make_unexpected(newest.error());
    }
    last = *newest;
  }
  const auto shift = store::idle_shift(last, signed_of(now_ms), step);
  if (!shift || names_ == 0) {
    return {};
  }
  if (auto begun = begin(); !begun) {
    return begun;
  }
  auto moved = db_.execute("UPDATE producers SET touched_ms=min(" + std::to_string(now_ms) +
                           ", touched_ms+" + std::to_string(*shift) + ")");
  if (!moved) {
    return tl::make_unexpected(rolled_back(moved.error()));
  }
  return commit();
}

Result<void> Journal::forget_names(const std::vector<ProducerId>& names) {
  if (auto begun = begin(); !begun) {
    return begun;
  }
  for (const ProducerId& name : names) {
    if (auto gone = db_.execute("DELETE FROM producers WHERE name='" + name.text + "'"); !gone) {
      return tl::make_unexpected(rolled_back(gone.error()));
    }
  }
  if (auto committed = commit(); !committed) {
    return committed;
  }
  return count_names();
}

Result<void> Journal::count_names() {
  const auto names = db_.query_integer("SELECT count(*) FROM producers");
  if (!names) {
    return tl::make_unexpected(names.error());
  }
  names_ = unsigned_of(*names);
  return {};
}

}  // namespace turnstile::broker
