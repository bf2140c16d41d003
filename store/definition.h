// The definition of a table as it travels: a name, columns, and one row with their types.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "proto/rows.h"

namespace turnstile::store {

// The statement that makes the table if it is missing. The types are INTEGER, REAL, TEXT, BLOB or
// NUMERIC, one for each column. Errors: bad_input.
Result<std::string> definition_sql(const std::string& table,
                                   const std::vector<std::string>& columns,
                                   std::span<const ValueRef> types);

// "3 values for 2 columns"; empty when there are as many.
std::string count_problem(std::size_t values, std::size_t columns);

}  // namespace turnstile::store
