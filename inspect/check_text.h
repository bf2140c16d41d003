// The text log, for `turnstile check`: promise 5, byte for byte. The form of a line is made here
// once more from its description (TARGET.md), not taken from the writer.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "inspect/check.h"
#include "inspect/check_sqlite.h"
#include "store/schema.h"

namespace turnstile::check {

// What the target has recorded of a text log.
struct TextRecord {
  std::string path;
  std::string table;
  std::uint64_t length = 0;
  std::int64_t last_rowid = store::schema::kNoRowid;
  std::uint64_t synced_length = 0;
  std::uint64_t base_length = 0;                      // its lines begin here, ...
  std::int64_t base_rowid = store::schema::kNoRowid;  // ... with the row after this
};

// The record of this file; where there is only one at all, that one. Nothing: there is none.
Result<std::optional<TextRecord>> find_text_record(const Database& target,
                                                   const std::filesystem::path& file);

// Takes snapshots of its own, so none may be open. Compares again while there are differences, for
// options.patience; only the last comparison counts.
void check_text_log(Database& target, Report& report);

}  // namespace turnstile::check
