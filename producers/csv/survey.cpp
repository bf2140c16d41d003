#include "producers/csv/survey.h"

#include <xxhash.h>

#include <algorithm>
#include <set>
#include <utility>

#include <fmt/format.h>

namespace turnstile::csv {
namespace {

std::string lower_ascii(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  return text;
}

// A single column whose name contains a delimiter is a mistake.
Result<void> check_delimiter(const std::vector<std::string>& columns, const std::string& name) {
  const std::size_t at = columns.size() == 1 ? columns[0].find_first_of(";\t|") : std::string::npos;
  if (at == std::string::npos) {
    return {};
  }
  const std::string delimiter =
      columns[0][at] == '\t' ? "a tab" : fmt::format("'{}'", columns[0][at]);
  return fail(Errc::bad_input,
              fmt::format("{}: its columns seem to be separated by {}", name, delimiter),
              "columns must be separated by commas; other delimiters are not read");
}

}  // namespace

Result<std::optional<Header>> read_header(Scanner& scanner, const std::string& name) {
  const auto first = scanner.next();
  if (!first) {
    return tl::make_unexpected(first.error());
  }
  if (!*first && scanner.waits_for_line_feed()) {
    return std::optional<Header>();
  }
  if (!*first) {
    return fail(Errc::unreachable, fmt::format("{} is empty", name),
                "it needs a first line with the column names");
  }
  const auto bad = [&name](std::uint64_t line, std::string_view reason) {
    return fail(Errc::bad_input, fmt::format("{}, line {}: bad header: {}", name, line, reason),
                "the first line must hold the column names, as comma-separated UTF-8");
  };
  if (const auto* fault = std::get_if<BadRow>(&**first)) {
    return bad(fault->line, fault->reason);
  }
  const auto& record = std::get<Record>(**first);
  if (record.fields.size() > kMaxColumns) {
    return bad(record.line, fmt::format("more than {} columns", kMaxColumns));
  }
  Header header{.columns = {record.fields.begin(), record.fields.end()},
                .raw = std::string(scanner.raw())};
  std::set<std::string> seen;
  for (std::size_t i = 0; i < header.columns.size(); ++i) {
    if (header.columns[i].empty()) {
      return bad(record.line, fmt::format("column {} has no name", i + 1));
    }
    if (!seen.insert(lower_ascii(header.columns[i])).second) {
      return bad(record.line, fmt::format("two columns are named {}", header.columns[i]));
    }
  }
  if (auto checked = check_delimiter(header.columns, name); !checked) {
    return tl::make_unexpected(checked.error());
  }
  scanner.expect_columns(header.columns.size());
  return std::optional(std::move(header));
}

Result<Survey> survey(Scanner& scanner, const Limits& limits,
                      std::optional<TypeInference> inference) {
  Survey result;
  bool first = true;
  bool block_open = false;
  for (;;) {
    const Place begin = scanner.place();
    const auto item = scanner.next();
    if (!item) {
      return tl::make_unexpected(item.error());
    }
    if (!*item) {
      break;
    }
    if (first) {
      result.first_row = scanner.raw();
      first = false;
    }
    if (!block_open) {
      result.blocks.push_back({.begin = begin});
    }
    Block& block = result.blocks.back();
    if (const auto* record = std::get_if<Record>(&**item)) {
      if (inference) {
        inference->add(record->fields);
      }
      ++block.rows;
      ++result.rows;
    } else {
      ++block.bad_rows;
    }
    block_open = scanner.place().offset - block.begin.offset < limits.block_bytes;
  }
  result.bytes = scanner.place().offset;
  result.unfinished_line = scanner.unfinished_line();
  if (inference) {
    result.types = inference->types();
  }
  return result;
}

std::string fingerprint_of(std::string_view header, std::string_view first_row,
                           std::string_view tail) {
  const std::string all = fmt::format("{}\n{}\n{}", header, first_row, tail);
  return fmt::format("{:016x}", XXH3_64bits(all.data(), all.size()));
}

}  // namespace turnstile::csv
