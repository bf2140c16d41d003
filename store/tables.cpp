#include "store/tables.h"

#include <algorithm>
#include <utility>

#include "store/lab_tables.h"
#include "store/schema.h"

namespace turnstile::store {
namespace {

// A sender may name new columns for ever: promise 6.
constexpr std::size_t kCached = 256;
constexpr std::size_t kCachedBytes = std::size_t{16} * 1024 * 1024;
constexpr std::chrono::seconds kLookAgain{5};
constexpr int kFailures = 2;
constexpr int kPause = 10;
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

// `insert`: INSERT, or with OR ABORT or OR FAIL. `rows`: VALUES or SELECT.
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

// Whether a statement failed for what it names, and not for the file.
bool about_table(const Error& error) {
  return error.code == Errc::refused;
}

// Why rows with these columns cannot be inserted, where SQLite would not say so.
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

std::string definition_problem(std::string_view table) {
  constexpr std::string_view kPragma = "pragma_";
  if (same_name(table.substr(0, kPragma.size()), kPragma)) {
    return "table " + std::string(table) + " would hide a function of SQLite: use another name";
  }
  return reserved_table_problem(table);
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

void Inserter::failed(const std::string& row, const std::string& reason, Clock::duration took) {
  if (std::exchange(last_failed_, row) != row && ++failures_ >= kFailures) {
    trouble_ = reason;
    trouble_until_ = Clock::now() + std::max<Clock::duration>(kLookAgain, kPause * took);
  }
}

void Inserter::refuse_for_now(std::string reason) {
  refusal_ = reason;
  trouble_ = std::move(reason);
  trouble_until_ = Clock::now() + kLookAgain;
}

const std::string* Inserter::trouble() const {
  return trouble_until_ && Clock::now() < *trouble_until_ ? &trouble_ : nullptr;
}

std::size_t Inserter::memory() const {
  return one_.memory() + group_.memory() + affinities_.size() * sizeof(Affinity) + refusal_.size() +
         sizeof(Inserter);
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

void Tables::forget_all() {
  forget();
  seen_schema_version_ = kNoVersion;
}

void Tables::forget() {
  inserters_.clear();
  inserters_memory_ = 0;
  tables_.clear();
  tables_memory_ = 0;
  ++version_;
}

std::vector<TableTrouble> Tables::troubles(std::size_t most) const {
  std::vector<TableTrouble> found;
  for (const auto& [key, inserter] : inserters_) {
    const std::string* reason = inserter.trouble();
    if (reason == nullptr || found.size() == most) {
      continue;
    }
    const std::string& table = inserter.table()->name;
    if (std::none_of(found.begin(), found.end(),
                     [&](const TableTrouble& known) { return known.table == table; })) {
      found.push_back({table, *reason});
    }
  }
  return found;
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
  std::size_t memory = sizeof(TableInfo) + table.size();
  for (const Column& column : (*info)->columns) {
    memory += sizeof(Column) + column.name.size();
  }
  if (tables_.size() == kCached || tables_memory_ + memory > kCachedBytes) {
    forget();
  }
  tables_memory_ += memory;
  tables_.emplace(table, *info);
  return info;
}

// By statements and by sqlite_schema alone: nobody can make a table of such a name, while a table
// takes the place of a pragma's function in any query that reads it.
Result<std::shared_ptr<const TableInfo>> Tables::read(const std::string& table) {
  if (table.find('\0') != std::string::npos) {
    return std::shared_ptr<const TableInfo>();  // no SQL can name it
  }
  const std::string quoted = sqlite::quoted(table);
  auto list = connection_.prepare("PRAGMA main.table_list(" + quoted + ")");
  if (!list) {
    return tl::make_unexpected(std::move(list.error()));
  }
  int code = list->step();
  if (code == SQLITE_DONE) {
    return std::shared_ptr<const TableInfo>();
  }
  if (code != SQLITE_ROW) {
    return tl::make_unexpected(connection_.error(code, "reading the schema"));
  }
  auto info = std::make_shared<TableInfo>();
  info->name = list->text(1);
  const std::string type(list->text(2));
  const bool has_rowid = type == "table" && list->integer(4) == 0;
  const bool strict = list->integer(5) != 0;
  info->is_view = type == "view";

  auto schema = connection_.prepare(
      "SELECT (SELECT sql FROM main.sqlite_schema WHERE name = ?1 AND type IN ('table', 'view')), "
      "  EXISTS (SELECT 1 FROM main.sqlite_schema WHERE type = 'trigger' AND "
      "          tbl_name = ?1 COLLATE NOCASE)");
  if (!schema) {
    return tl::make_unexpected(std::move(schema.error()));
  }
  schema->bind(1, std::string_view(info->name));
  if (code = schema->step(); code != SQLITE_ROW) {
    return tl::make_unexpected(connection_.error(code, "reading the schema"));
  }
  const std::string sql(schema->text(0));
  const bool has_triggers = schema->integer(1) != 0;
  info->careful = true;
  info->may_run_out_of_ids = has_triggers || mentions(sql, "AUTOINCREMENT");

  auto keys = count_key_indexes(quoted);
  auto read = keys ? read_columns(quoted, strict, *info) : tl::make_unexpected(keys.error());
  if (!read) {
    if (about_table(read.error())) {
      info->problem = connection_.message();
      return std::shared_ptr<const TableInfo>(std::move(info));
    }
    return tl::make_unexpected(std::move(read.error()));
  }
  // A primary key that is the rowid itself is the only one without an index.
  const bool key_is_rowid = has_rowid && *read == 1 && *keys == 0;
  bool generated = false;
  for (auto& column : info->columns) {
    column.is_rowid = column.is_rowid && key_is_rowid;
    generated = generated || column.generated;
  }
  info->rowid = has_rowid ? rowid_word(*info) : std::string();
  const bool has_clause = mentions(sql, "CONFLICT");
  info->overrule = has_clause && type == "table" && !has_triggers && !mentions(sql, "IGNORE") &&
                   !mentions(sql, "REPLACE");
  const bool obeys_clause = has_clause && !info->overrule;
  info->careful = type != "table" || has_triggers ||
                  (obeys_clause && (mentions(sql, "FAIL") || mentions(sql, "ROLLBACK")));
  info->plain = type == "table" && !has_triggers && !generated && !obeys_clause;
  info->may_fail = !obeys_clause && !mentions(sql, "AUTOINCREMENT");
  return std::shared_ptr<const TableInfo>(std::move(info));
}

// Of the table's primary key: one or none.
Result<int> Tables::count_key_indexes(const std::string& quoted) {
  auto list = connection_.prepare("PRAGMA main.index_list(" + quoted + ")");
  if (!list) {
    return tl::make_unexpected(std::move(list.error()));
  }
  int found = 0;
  int code = SQLITE_ROW;
  while ((code = list->step()) == SQLITE_ROW) {
    found += list->text(3) == "pk" ? 1 : 0;
  }
  if (code != SQLITE_DONE) {
    return tl::make_unexpected(connection_.error(code, "reading the schema"));
  }
  return found;
}

// How many columns the primary key has.
Result<int> Tables::read_columns(const std::string& quoted, bool strict, TableInfo& into) {
  constexpr std::int64_t kHidden = 1;
  auto list = connection_.prepare("PRAGMA main.table_xinfo(" + quoted + ")");
  if (!list) {
    return tl::make_unexpected(std::move(list.error()));
  }
  int keys = 0;
  int code = SQLITE_ROW;
  while ((code = list->step()) == SQLITE_ROW) {
    const std::int64_t hidden = list->integer(6);
    if (hidden == kHidden) {
      continue;
    }
    const bool key = list->integer(5) > 0;
    keys += key ? 1 : 0;
    into.columns.push_back({.name = std::string(list->text(1)),
                            .affinity = affinity_of(list->text(2), strict),
                            .has_default = !std::holds_alternative<Null>(list->value(4)),
                            .generated = hidden > kHidden,
                            .is_rowid = key});
  }
  if (code != SQLITE_DONE) {
    return tl::make_unexpected(connection_.error(code, "reading the schema"));
  }
  return keys;
}

Inserter* Tables::find_inserter(const std::string& table, const std::vector<std::string>& columns) {
  const auto known = inserters_.find(key_of(table, columns));
  return known == inserters_.end() ? nullptr : &known->second;
}

Result<Inserter*> Tables::inserter(const std::string& table,
                                   const std::vector<std::string>& columns) {
  if (Inserter* known = find_inserter(table, columns);
      known != nullptr && !(known->trouble_until_ && known->trouble() == nullptr)) {
    return known;
  }
  auto made = make_inserter(table, columns);
  if (!made) {
    return tl::make_unexpected(std::move(made.error()));
  }
  std::string key = key_of(table, columns);
  const std::size_t memory = made->memory() + 2 * key.size();
  if (inserters_.size() == kCached || inserters_memory_ + memory > kCachedBytes) {
    inserters_.clear();
    inserters_memory_ = 0;
  }
  inserters_memory_ += memory;
  return &inserters_.insert_or_assign(std::move(key), std::move(*made)).first->second;
}

Result<Inserter*> Tables::inserter_or_lab(const std::string& table,
                                          const std::vector<std::string>& columns) {
  auto known = inserter(table, columns);
  const LabTable* lab = find_lab_table(table);
  if (!known || (*known)->table() != nullptr || lab == nullptr) {
    return known;
  }
  auto made = connection_.execute(std::string(lab->create)).and_then([&] { return refresh(); });
  if (!made && about_table(made.error())) {
    return known;  // such as an index of this name: there is no such table
  }
  return made ? inserter(table, columns) : tl::make_unexpected(std::move(made.error()));
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
  if (!(*info)->problem.empty()) {
    inserter.refuse_for_now((*info)->problem);
    return inserter;
  }
  inserter.refusal_ = problem_with(columns);
  if (!inserter.refusal_.empty()) {
    return inserter;
  }
  // What else the table says against these columns, SQLite says when it prepares the insert.
  auto one = connection_.prepare(insert_sql((*info)->overrule ? "INSERT OR ABORT" : "INSERT",
                                            **info, columns, values_of_one_row(columns.size())));
  if (!one && !about_table(one.error())) {
    return tl::make_unexpected(std::move(one.error()));
  }
  if (!one) {
    const bool all_there = std::all_of(columns.begin(), columns.end(), [&](const auto& column) {
      return (*info)->find(column) < (*info)->columns.size() || (*info)->names_rowid(column);
    });
    if (all_there && !(*info)->is_view) {
      inserter.refuse_for_now(connection_.message());
    } else {
      inserter.refusal_ = connection_.message();
    }
    return inserter;
  }
  inserter.one_ = std::move(*one);
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
  const char* const insert = (*info)->may_fail   ? "INSERT OR FAIL"
                             : (*info)->overrule ? "INSERT OR ABORT"
                                                 : "INSERT";
  auto group = connection_.prepare(insert_sql(insert, **info, columns, (*rows)->select_sql()));
  if (!group) {
    return about_table(group.error()) ? Result<Inserter>(std::move(inserter))
                                      : tl::make_unexpected(std::move(group.error()));
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
  } else if (!info->problem.empty()) {
    answer.state = TableState::unusable;
    answer.detail = info->problem;
  } else if (!inserter.refusal().empty()) {
    const bool all_there = std::all_of(columns.begin(), columns.end(), [&](const auto& column) {
      return info->find(column) < info->columns.size() || info->names_rowid(column);
    });
    answer.state = all_there ? TableState::unusable : TableState::missing_column;
    answer.detail = inserter.refusal();
  } else {
    for (std::size_t i = 0; i < columns.size(); ++i) {
      answer.types.emplace_back(
          info->names_rowid(columns[i]) ? kRowidType : type_name(inserter.affinities()[i]));
    }
  }
  return answer;
}

}  // namespace turnstile::store
