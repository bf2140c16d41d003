#include "lab/database.h"

#include <thread>
#include <utility>

namespace turnstile::lab {

Result<Database> Database::open(const std::filesystem::path& path,
                                std::chrono::milliseconds busy_timeout) {
  sqlite3* handle = nullptr;
  const int code = sqlite3_open(path.c_str(), &handle);
  Database database;
  database.handle_.reset(handle);
  if (code != SQLITE_OK) {
    return fail(Errc::unreachable, "cannot open " + path.string() + ": " + sqlite3_errstr(code));
  }
  database.waits_ = std::make_unique<Waits>(Waits{busy_timeout, {}, {}});
  sqlite3_busy_handler(handle, wait, database.waits_.get());
  return database;
}

Result<Table> Database::query(const std::string& sql) {
  struct Finalize {
    void operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
  };
  sqlite3_stmt* prepared = nullptr;
  int code = sqlite3_prepare_v2(handle_.get(), sql.c_str(), -1, &prepared, nullptr);
  const std::unique_ptr<sqlite3_stmt, Finalize> statement(prepared);
  Table table;
  if (code == SQLITE_OK) {
    for (int i = 0; i < sqlite3_column_count(prepared); ++i) {
      table.columns.emplace_back(sqlite3_column_name(prepared, i));
    }
    while ((code = sqlite3_step(prepared)) == SQLITE_ROW) {
      auto& row = table.rows.emplace_back();
      for (int i = 0; i < sqlite3_column_count(prepared); ++i) {
        const auto* text = reinterpret_cast<const char*>(sqlite3_column_text(prepared, i));
        row.emplace_back(text == nullptr ? "" : text);
      }
    }
  }
  if (code != SQLITE_DONE) {
    return fail(Errc::io, sqlite3_errmsg(handle_.get()));
  }
  return table;
}

Result<void> Database::execute(const std::string& sql) {
  return query(sql).map([](const Table&) {});
}

void Database::watch_waits(std::function<void()> on_wait) {
  waits_->on_wait = std::move(on_wait);
}

bool Database::in_transaction() const {
  return sqlite3_get_autocommit(handle_.get()) == 0;
}

int Database::wait(void* waits, int calls) {
  constexpr std::chrono::milliseconds kRetryEvery{10};
  auto& state = *static_cast<Waits*>(waits);
  const auto now = std::chrono::steady_clock::now();
  if (calls == 0) {
    state.since = now;
    if (state.on_wait) {
      state.on_wait();
    }
  }
  if (now - state.since >= state.timeout) {
    return 0;
  }
  std::this_thread::sleep_for(kRetryEvery);
  return 1;
}

}  // namespace turnstile::lab
