#include "store/tables.h"

#include <algorithm>
#include <utility>

#include "store/lab_tables.h"
#include "store/schema.h"

namespace turnstile::store {
namespace {

constexpr std::size_t kCached = 256;        // a sender may name ever new columns: promise 6
constexpr std::size_t kGroupColumns = 256;  // for each number of them there is a table of rows

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

bool mentions(std::string_view sql, std::string_view word) {
  return std::search(sql.begin(), sql.end(), word.begin(), word.end(),
                     [](char a, char b) { return lower(a) == lower(b); }) != sql.end();
}

// The first of SQLite's words for the rowid that is not a column's name.
std::string rowid_word(const TableInfo& table) {
  for (const auto& column : table.columns) {
    if (column.is_rowid) {
      return sqlite::quoted(column.name);
    }
  }
  for (const char* word : {"rowid", "_rowid_", "oid"}) {
    if (table.find(word) == table.columns.size()) {
      return word;
    }
  }
  return {};
}

// `insert`: INSERT or INSERT OR FAIL. `rows`: VALUES or SELECT.
std::string insert_sql(const std::string& insert, const TableInfo& table,
                       const std::vector<std::string>& columns, const std::string& rows) {
  std::string names;
  for (const auto& column : columns) {
    names += names.empty() ? "" : ",";
    names += sqlite::quoted(column);
  }
  return insert + " INTO " + sqlite::quoted(table.name) + "(" + names + ") " + rows;
}

std::string values_of_one_row(std::size_t columns) {
  std::string values = "VALUES (?";
  for (std::size_t i = 1; i < columns; ++i) {
    values += ",?";
  }
  return values + ")";
}

std::string key_of(const std::string& table, const std::vector<std::string>& columns) {
  std::string key = table;
  for (const auto& column : columns) {
    key += '\0';
    key += column;
  }
  return key;
}

// Why these columns cannot be inserted in, as far as SQLite would not say so or would not mind.
std::string problem_with(const std::vector<std::string>& columns) {
  if (columns.empty()) {
    return "no column is named";
  }
  std::vector<std::string_view> sorted(columns.begin(), columns.end());
  const auto less = [](std::string_view a, std::string_view b) {
    return std::lexicographical_compare(a.begin(), a.end(), b.begin(), b.end(),
                                        [](char x, char y) { return lower(x) < lower(y); });
  };
  std::sort(sorted.begin(), sorted.end(), less);
  const auto twice = std::adjacent_find(sorted.begin(), sorted.end(), same_name);
  return twice == sorted.end() ? std::string()
                               : "column " + std::string(*twice) + " is named twice";
}

}  // namespace

bool same_name(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](char x, char y) { return lower(x) == lower(y); });
}

std::string reserved_table_problem(std::string_view table) {
  const auto begins_with = [&](std::string_view prefix) {
    return same_name(table.substr(0, prefix.size()), prefix);
  };
  if (!begins_with(schema::kPrefix) && !begins_with("sqlite_")) {
    return {};
  }
  return "table " + std::string(table) + " belongs to " +
         (begins_with(schema::kPrefix) ? "turnstile" : "SQLite");
}

std::size_t TableInfo::find(std::string_view column) const {
  const auto at = std::find_if(columns.begin(), columns.end(), [&](const Column& candidate) {
    return same_name(candidate.name, column);
  });
  return static_cast<std::size_t>(at - columns.begin());
}

bool TableInfo::names_rowid(std::string_view column) const {
  const std::size_t at = find(column);
  if (at < columns.size()) {
    return columns[at].is_rowid;
  }
  return same_name(column, "rowid") || same_name(column, "_rowid_") || same_name(column, "oid");
}

int Inserter::insert(std::span<const ValueRef> row) {
  int position = 1;
  for (std::size_t i = 0; i < row.size(); ++i) {
    one_.bind(position++, bound_for(affinities_[i], row[i]));
  }
  const sqlite::ResetAtEnd reset(one_);
  return one_.step();
}

Inserter::GroupResult Inserter::insert_group(const DecodedRows& rows, std::size_t first,
                                             std::size_t count) {
  rows_table_->show(rows.values(first, count), affinities_);
  const sqlite::ResetAtEnd reset(group_);
  const int code = group_.step();
  return {code, rows_table_->rows_passed()};
}

Result<void> Tables::refresh() {
  if (!schema_version_) {
    auto statement = connection_.prepare("PRAGMA main.schema_version");
    if (!statement) {
      return tl::make_unexpected(std::move(statement.error()));
    }
    schema_version_ = std::move(*statement);
  }
  const sqlite::ResetAtEnd reset(schema_version_);
  if (const int code = schema_version_.step(); code != SQLITE_ROW) {
    return tl::make_unexpected(connection_.error(code, "reading the schema"));
  }
  if (const auto found = schema_version_.integer(0); found != seen_schema_version_) {
    forget();
    seen_schema_version_ = found;
  }
  return {};
}

void Tables::begin_anew() {
  forget();
  seen_schema_version_ = kNoVersion;
}

void Tables::forget() {
  inserters_.clear();
  tables_.clear();
  ++version_;
}

Result<const TableInfo*> Tables::find(const std::string& table) {
  auto found = look_up(table);
  if (!found) {
    return tl::make_unexpected(std::move(found.error()));
  }
  return found->get();  // kept by tables_
}

Result<std::shared_ptr<const TableInfo>> Tables::look_up(const std::string& table) {
  if (const auto known = tables_.find(table); known != tables_.end()) {
    return known->second;
  }
  auto info = read(table);
  if (!info || *info == nullptr) {
    return info;
  }
  if (tables_.size() == kCached) {
    forget();
  }
  tables_.emplace(table, *info);
  return info;
}

Result<std::shared_ptr<const TableInfo>> Tables::read(const std::string& table) {
  auto about = connection_.prepare(
      "SELECT l.name, l.type, l.wr, l.strict, coalesce(s.sql, ''), "
      "  EXISTS (SELECT 1 FROM main.sqlite_schema WHERE type = 'trigger' AND "
      "          tbl_name = l.name COLLATE NOCASE), "
      "  EXISTS (SELECT 1 FROM pragma_index_list(l.name, 'main') WHERE origin = 'pk') "
      "FROM pragma_table_list AS l LEFT JOIN main.sqlite_schema AS s "
      "  ON s.name = l.name AND s.type IN ('table', 'view') "
      "WHERE l.schema = 'main' AND l.name = ?1 COLLATE NOCASE");
  auto columns = connection_.prepare(
      "SELECT name, type, pk, hidden, dflt_value IS NOT NULL "
      "FROM pragma_table_xinfo(?1, 'main') WHERE hidden <> 1 ORDER BY cid");
  if (!about || !columns) {
    return tl::make_unexpected(std::move(!about ? about.error() : columns.error()));
  }
  about->bind(1, std::string_view(table));
  int code = about->step();
  if (code == SQLITE_DONE) {
    return std::shared_ptr<const TableInfo>();
  }
  if (code != SQLITE_ROW) {
    return tl::make_unexpected(connection_.error(code, "reading the schema"));
  }
  auto info = std::make_shared<TableInfo>();
  info->name = about->text(0);
  const std::string_view type = about->text(1);
  const bool has_rowid = type == "table" && about->integer(2) == 0;
  const bool strict = about->integer(3) != 0;
  const std::string_view sql = about->text(4);
  const bool has_triggers = about->integer(5) != 0;
  const bool has_key_index = about->integer(6) != 0;

  int keys = 0;
  columns->bind(1, std::string_view(info->name));
  while ((code = columns->step()) == SQLITE_ROW) {
    const bool key = columns->integer(2) > 0;
    keys += key ? 1 : 0;
    info->columns.push_back({.name = std::string(columns->text(0)),
                             .affinity = affinity_of(columns->text(1), strict),
                             .has_default = columns->integer(4) != 0,
                             .generated = columns->integer(3) > 1,
                             .is_rowid = key});
  }
  if (code != SQLITE_DONE) {
    return tl::make_unexpected(connection_.error(code, "reading the schema"));
  }
  // A primary key that is the rowid itself is the only one without an index.
  const bool key_is_rowid = has_rowid && keys == 1 && !has_key_index;
  bool generated = false;
  for (auto& column : info->columns) {
    column.is_rowid = column.is_rowid && key_is_rowid;
    generated = generated || column.generated;
  }
  info->rowid = has_rowid ? rowid_word(*info) : std::string();
  const bool has_clause = mentions(sql, "CONFLICT");
  info->careful = type != "table" || has_triggers ||
                  (has_clause && (mentions(sql, "FAIL") || mentions(sql, "ROLLBACK")));
  info->plain = type == "table" && !has_triggers && !generated && !has_clause;
  info->may_fail = !has_clause && !mentions(sql, "AUTOINCREMENT");
  return std::shared_ptr<const TableInfo>(std::move(info));
}

Inserter* Tables::find_inserter(const std::string& table, const std::vector<std::string>& columns) {
  const auto known = inserters_.find(key_of(table, columns));
  return known == inserters_.end() ? nullptr : &known->second;
}

Result<Inserter*> Tables::inserter(const std::string& table,
                                   const std::vector<std::string>& columns) {
  if (Inserter* known = find_inserter(table, columns); known != nullptr) {
    return known;
  }
  auto made = make_inserter(table, columns);
  if (!made) {
    return tl::make_unexpected(std::move(made.error()));
  }
  if (inserters_.size() == kCached) {
    inserters_.clear();
  }
  return &inserters_.insert_or_assign(key_of(table, columns), std::move(*made)).first->second;
}

Result<Inserter*> Tables::inserter_or_lab(const std::string& table,
                                          const std::vector<std::string>& columns) {
  auto known = inserter(table, columns);
  const LabTable* lab = find_lab_table(table);
  if (!known || (*known)->table() != nullptr || lab == nullptr) {
    return known;
  }
  return connection_.execute(std::string(lab->create))
      .and_then([&] { return refresh(); })
      .and_then([&] { return inserter(table, columns); });
}

Result<Inserter> Tables::make_inserter(const std::string& table,
                                       const std::vector<std::string>& columns) {
  Inserter inserter;
  auto info = look_up(table);
  if (!info) {
    return tl::make_unexpected(std::move(info.error()));
  }
  if (*info == nullptr) {
    inserter.refusal_ = "no such table: " + table;
    return inserter;
  }
  inserter.table_ = *info;
  inserter.refusal_ = problem_with(columns);
  if (!inserter.refusal_.empty()) {
    return inserter;
  }
  // What else the table says against these columns, SQLite says when it prepares the insert.
  auto one =
      connection_.prepare(insert_sql("INSERT", **info, columns, values_of_one_row(columns.size())));
  if (one) {
    inserter.one_ = std::move(*one);
  } else if (sqlite3_extended_errcode(connection_.handle()) == SQLITE_ERROR) {
    inserter.refusal_ = connection_.message();
    return inserter;
  } else {
    return tl::make_unexpected(std::move(one.error()));
  }
  for (const auto& column : columns) {
    const std::size_t at = (*info)->find(column);
    inserter.affinities_.push_back(at < (*info)->columns.size() ? (*info)->columns[at].affinity
                                                                : Affinity::integer);
  }
  if ((*info)->careful || columns.size() > kGroupColumns) {
    return inserter;
  }
  auto rows = rows_table(columns.size());
  if (!rows) {
    return tl::make_unexpected(std::move(rows.error()));
  }
  auto group = connection_.prepare(insert_sql((*info)->may_fail ? "INSERT OR FAIL" : "INSERT",
                                              **info, columns, (*rows)->select_sql()));
  if (!group) {
    return tl::make_unexpected(std::move(group.error()));
  }
  inserter.group_ = std::move(*group);
  inserter.rows_table_ = *rows;
  inserter.groups_ = Inserter::Groups::up_to_refused;
  return inserter;
}

Result<RowsTable*> Tables::rows_table(std::size_t columns) {
  auto& known = rows_tables_[columns];
  if (known == nullptr) {
    auto made = RowsTable::make(connection_, columns);
    if (!made) {
      return tl::make_unexpected(std::move(made.error()));
    }
    known = std::move(*made);
  }
  return known.get();
}

namespace {

// What an empty value becomes there is the rowid's own: a new one.
constexpr std::string_view kRowidType = "INTEGER PRIMARY KEY";

std::string_view type_name(Affinity affinity) {
  switch (affinity) {
    case Affinity::integer:
      return "INTEGER";
    case Affinity::real:
      return "REAL";
    case Affinity::numeric:
      return "NUMERIC";
    case Affinity::text:
      return "TEXT";
    case Affinity::blob:
      break;
  }
  return "BLOB";
}

}  // namespace

TableAnswer answer_about(const Inserter& inserter, const std::string& table,
                         const std::vector<std::string>& columns) {
  TableAnswer answer;
  answer.state = TableState::ready;
  const TableInfo* info = inserter.table();
  if (auto reserved = reserved_table_problem(table); !reserved.empty()) {
    answer.state = TableState::unusable;
    answer.detail = std::move(reserved);
  } else if (info == nullptr) {
    answer.state = TableState::missing_table;
    answer.detail = inserter.refusal();
  } else if (!inserter.refusal().empty()) {
    const bool all_there = std::all_of(columns.begin(), columns.end(), [&](const auto& column) {
      return info->find(column) < info->columns.size() || info->names_rowid(column);
    });
    answer.state = all_there ? TableState::unusable : TableState::missing_column;
    answer.detail = inserter.refusal();
  } else {
    for (std::size_t i = 0; i < columns.size(); ++i) {
      answer.types.emplace_back(info->names_rowid(columns[i]) ? kRowidType
                                                              : type_name(inserter.affinities()[i]));
    }
  }
  return answer;
}

}  // namespace turnstile::store
