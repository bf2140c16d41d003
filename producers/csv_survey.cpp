#include "producers/csv_survey.h"

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

}  // namespace

Result<Header> read_header(Scanner& scanner, const std::string& name) {
  const auto first = scanner.next();
  if (!first) {
    return tl::make_unexpected(first.error());
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
  scanner.expect_columns(header.columns.size());
  return header;
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
