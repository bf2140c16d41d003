#include "store/format.h"

#include <algorithm>
#include <string>
#include <utility>

namespace turnstile::sqlite {
namespace {

const Migration* migration_from(const Format& format, std::int64_t version) {
  const auto found =
      std::find_if(format.migrations.begin(), format.migrations.end(),
                   [&](const Migration& migration) { return migration.from == version; });
  return found == format.migrations.end() ? nullptr : &*found;
}

std::string set_version(const Format& format) {
  return "UPDATE main." + quoted(format.table) + " SET value = " + std::to_string(format.version) +
         " WHERE key = '" + std::string(format.key) + "'";
}

// Within a transaction.
Result<std::optional<std::int64_t>> take_steps(Connection& connection, const Format& format) {
  // Once more: another process may have done it while this one waited.
  const auto had = find_version(connection, format);
  if (!had) {
    return tl::make_unexpected(had.error());
  }
  if (*had == format.version) {
    return std::nullopt;
  }
  for (std::int64_t version = *had; version < format.version; ++version) {
    const std::string sql(migration_from(format, version)->sql);
    if (auto done = connection.execute(sql, "migrating to a newer format"); !done) {
      return tl::make_unexpected(std::move(done.error()));
    }
  }
  auto moved = connection.execute(std::string(format.besides)).and_then([&] {
    return connection.execute(set_version(format));
  });
  if (!moved) {
    return tl::make_unexpected(std::move(moved.error()));
  }
  return *had;
}

}  // namespace

Result<std::int64_t> find_version(Connection& connection, const Format& format) {
  auto version = connection.query_integer("SELECT value FROM main." + quoted(format.table) +
                                          " WHERE key = '" + std::string(format.key) + "'");
  if (!version) {
    return version;
  }
  const std::string what = std::string(format.file) + " " + connection.path().string() +
                           " has format version " + std::to_string(*version) +
                           ", this program knows " + std::to_string(format.version);
  if (*version > format.version) {
    return fail(Errc::unreachable, what,
                "use the version of turnstile that wrote it, or a newer one");
  }
  for (std::int64_t step = *version; step < format.version; ++step) {
    if (migration_from(format, step) == nullptr) {
      return fail(Errc::unreachable, what + " and no way from there",
                  "use the version of turnstile that wrote it");
    }
  }
  return version;
}

Result<std::optional<std::int64_t>> migrate(Connection& connection, const Format& format) {
  const auto version = find_version(connection, format);
  if (!version) {
    return tl::make_unexpected(version.error());
  }
  if (*version == format.version) {
    return std::nullopt;
  }
  if (auto begun = connection.execute("BEGIN IMMEDIATE", "migrating to a newer format"); !begun) {
    return tl::make_unexpected(std::move(begun.error()));
  }
  auto had = take_steps(connection, format);
  if (had) {
    if (auto committed = connection.execute("COMMIT", "migrating to a newer format"); !committed) {
      had = tl::make_unexpected(std::move(committed.error()));
    }
  }
  if (!had && connection.in_transaction()) {
    // The first failure is the one to tell; when this fails too, closing the file rolls back.
    static_cast<void>(connection.execute("ROLLBACK"));
  }
  return had;
}

}  // namespace turnstile::sqlite
