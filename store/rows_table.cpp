#include "store/rows_table.h"

#include <sqlite3.h>

#include <memory>
#include <new>
#include <string>

namespace turnstile::store {

// What SQLite calls. It reads the table from the first row to the last, with one cursor at a time.
struct RowsTable::Module : sqlite3_module {
  struct Table : sqlite3_vtab {
    RowsTable* rows;
  };
  struct Cursor : sqlite3_vtab_cursor {
    RowsTable* rows;
  };

  Module() : sqlite3_module{} {
    xConnect = connect;
    xDisconnect = [](sqlite3_vtab* table) {
      const std::unique_ptr<Table> ended(static_cast<Table*>(table));
      return SQLITE_OK;
    };
    xBestIndex = [](sqlite3_vtab*, sqlite3_index_info*) { return SQLITE_OK; };
    xOpen = [](sqlite3_vtab* table, sqlite3_vtab_cursor** opened) {
      *opened = new (std::nothrow) Cursor{{}, static_cast<Table*>(table)->rows};
      return *opened == nullptr ? SQLITE_NOMEM : SQLITE_OK;
    };
    xClose = [](sqlite3_vtab_cursor* cursor) {
      const std::unique_ptr<Cursor> ended(static_cast<Cursor*>(cursor));
      return SQLITE_OK;
    };
    xFilter = [](sqlite3_vtab_cursor* cursor, int, const char*, int, sqlite3_value**) {
      of(cursor).at_ = 0;
      return SQLITE_OK;
    };
    xNext = [](sqlite3_vtab_cursor* cursor) {
      of(cursor).at_ += of(cursor).columns_;
      return SQLITE_OK;
    };
    xEof = [](sqlite3_vtab_cursor* cursor) {
      return of(cursor).at_ == of(cursor).values_.size() ? 1 : 0;
    };
    xColumn = column;
    xRowid = [](sqlite3_vtab_cursor* cursor, sqlite3_int64* rowid) {
      *rowid = static_cast<sqlite3_int64>(of(cursor).rows_passed());
      return SQLITE_OK;
    };
  }

  static RowsTable& of(sqlite3_vtab_cursor* cursor) { return *static_cast<Cursor*>(cursor)->rows; }

  static int connect(sqlite3* db, void* rows, int, const char* const*, sqlite3_vtab** made,
                     char**) {
    auto* const table = static_cast<RowsTable*>(rows);
    int code = sqlite3_declare_vtab(db, table->create_sql_.c_str());
    if (code == SQLITE_OK) {
      code = sqlite3_vtab_config(db, SQLITE_VTAB_DIRECTONLY);
    }
    if (code == SQLITE_OK) {
      *made = new (std::nothrow) Table{{}, table};
      code = *made == nullptr ? SQLITE_NOMEM : SQLITE_OK;
    }
    return code;
  }

  static int column(sqlite3_vtab_cursor* cursor, sqlite3_context* result, int index) {
    const RowsTable& rows = of(cursor);
    const auto at = static_cast<std::size_t>(index);
    sqlite::set_result(result, bound_for(rows.affinities_[at], rows.values_[rows.at_ + at]));
    return SQLITE_OK;
  }
};

RowsTable::RowsTable(std::size_t columns)
    : columns_(columns), name_("turnstile_rows_" + std::to_string(columns)) {
  std::string names = "c0";
  for (std::size_t i = 1; i < columns; ++i) {
    names += ",c" + std::to_string(i);
  }
  create_sql_ = "CREATE TABLE t(" + names + ")";
  select_sql_ = "SELECT " + names + " FROM temp." + name_;
}

Result<std::unique_ptr<RowsTable>> RowsTable::make(sqlite::Connection& connection,
                                                   std::size_t columns) {
  static const Module module;
  std::unique_ptr<RowsTable> made(new RowsTable(columns));
  const int code =
      sqlite3_create_module(connection.handle(), made->name_.c_str(), &module, made.get());
  if (code != SQLITE_OK) {
    return tl::make_unexpected(connection.error(code, "preparing to insert rows"));
  }
  return made;
}

void RowsTable::show(std::span<const ValueRef> values, std::span<const Affinity> affinities) {
  values_ = values;
  affinities_ = affinities;
  at_ = 0;
}

std::size_t RowsTable::rows_passed() const {
  return at_ / columns_;
}

}  // namespace turnstile::store
