#include "store/definition.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "store/sqlite.h"

namespace turnstile::store {
namespace {

std::string count_of(std::size_t count, std::string_view what) {
  return std::to_string(count) + " " + std::string(what) + (count == 1 ? "" : "s");
}

}  // namespace

std::string count_problem(std::size_t values, std::size_t columns) {
  return values == columns ? std::string()
                           : count_of(values, "value") + " for " + count_of(columns, "column");
}

Result<std::string> definition_sql(const std::string& table,
                                   const std::vector<std::string>& columns,
                                   std::span<const ValueRef> types) {
  constexpr std::array<std::string_view, 5> kTypes{"INTEGER", "REAL", "TEXT", "BLOB", "NUMERIC"};
  if (columns.empty()) {
    return fail(Errc::bad_input, "the definition of a table names no column");
  }
  if (auto problem = count_problem(types.size(), columns.size()); !problem.empty()) {
    return fail(Errc::bad_input, std::move(problem));
  }
  std::string sql = "CREATE TABLE IF NOT EXISTS main." + sqlite::quoted(table) + "(";
  for (std::size_t i = 0; i < columns.size(); ++i) {
    const auto* type = std::get_if<std::string_view>(&types[i]);
    if (type == nullptr || std::find(kTypes.begin(), kTypes.end(), *type) == kTypes.end()) {
      return fail(Errc::bad_input, "the type of column " + columns[i] +
                                       " is none of INTEGER, REAL, TEXT, BLOB, NUMERIC");
    }
    sql += (i == 0 ? "" : ", ") + sqlite::quoted(columns[i]) + " ";
    sql += *type;
  }
  return sql + ")";
}

}  // namespace turnstile::store
