#include "cli/dead_letters.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/counted.h"
#include "inspect/check_target.h"
#include "store/schema.h"

namespace turnstile::dead_letters {
namespace {

using store::schema::LetterKind;

constexpr std::string_view kColumns =
    "SELECT id, producer, epoch, sequence, rows, kind, table_name, columns, reason, at_ms";

std::vector<std::string> names_in(std::string_view json_array) {
  std::vector<std::string> names;
  const auto json = nlohmann::json::parse(json_array, nullptr, false);
  if (json.is_array()) {
    for (const auto& name : json) {
      names.push_back(name.is_string() ? name.get<std::string>() : std::string());
    }
  }
  return names;
}

Letter letter_of(const check::Query& row) {
  return {.id = row.integer(0),
          .producer = std::string(row.bytes(1)),
          .epoch = static_cast<std::uint64_t>(row.integer(2)),
          .sequence = static_cast<std::uint64_t>(row.integer(3)),
          .rows = static_cast<std::uint64_t>(row.integer(4)),
          .kind = static_cast<LetterKind>(row.integer(5)),
          .table = std::string(row.bytes(6)),
          .columns = names_in(row.bytes(7)),
          .bytes = {},
          .reason = std::string(row.bytes(8)),
          .at_ms = row.integer(9)};
}

std::optional<std::string> bytes_of_hex(std::string_view digits) {
  if (digits.size() % 2 != 0) {
    return std::nullopt;
  }
  std::string bytes;
  constexpr int kHexadecimal = 16;
  for (std::size_t i = 0; i < digits.size(); i += 2) {
    unsigned value = 0;
    const char* const begin = digits.data() + i;
    const auto [end, error] = std::from_chars(begin, begin + 2, value, kHexadecimal);
    if (error != std::errc{} || end != begin + 2) {
      return std::nullopt;
    }
    bytes += static_cast<char>(value);
  }
  return bytes;
}

template <typename Number>
std::optional<Number> number_in(std::string_view text) {
  Number number{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || end != text.data() + text.size()) {
    return std::nullopt;
  }
  return number;
}

ValueRef value_of(const Setting& setting) {
  if (const auto* text = std::get_if<std::string>(&setting.value)) {
    return setting.is_blob ? ValueRef(Blob{*text}) : ValueRef(std::string_view(*text));
  }
  if (const auto* integer = std::get_if<std::int64_t>(&setting.value)) {
    return *integer;
  }
  if (const auto* real = std::get_if<double>(&setting.value)) {
    return *real;
  }
  return Null{};
}

}  // namespace

Result<check::Database> open_target(const std::filesystem::path& path) {
  auto target = check::Database::open(path);
  if (!target) {
    return target;
  }
  if (auto known = check::recognise_target(*target); !known) {
    return tl::make_unexpected(std::move(known.error()));
  }
  return target;
}

Result<std::vector<Letter>> list(const check::Database& target, const std::string& table) {
  auto rows = target.query(std::string(kColumns) +
                           " FROM main.turnstile_dead_letters "
                           "WHERE ?1 = '' OR table_name = ?1 COLLATE NOCASE ORDER BY id");
  if (!rows) {
    return tl::make_unexpected(std::move(rows.error()));
  }
  rows->bind(1, std::string_view(table));
  std::vector<Letter> letters;
  auto row = rows->next();
  for (; row && *row; row = rows->next()) {
    letters.push_back(letter_of(*rows));
  }
  if (!row) {
    return tl::make_unexpected(std::move(row.error()));
  }
  return letters;
}

Result<std::optional<Letter>> find(const check::Database& target, std::int64_t id) {
  auto rows =
      target.query(std::string(kColumns) + ", row FROM main.turnstile_dead_letters WHERE id = ?1");
  if (!rows) {
    return tl::make_unexpected(std::move(rows.error()));
  }
  rows->bind(1, id);
  auto row = rows->next();
  if (!row) {
    return tl::make_unexpected(std::move(row.error()));
  }
  if (!*row) {
    return std::optional<Letter>();
  }
  Letter letter = letter_of(*rows);
  letter.bytes = rows->bytes(rows->columns() - 1);
  return std::optional(std::move(letter));
}

Result<std::vector<ValueRef>> values_of(const Letter& letter) {
  if (letter.kind == LetterKind::frame) {
    return fail(Errc::corrupt, fmt::format("dead letter {} holds {} that cannot be decoded",
                                           letter.id, counted(letter.rows, "row")));
  }
  // With the frame's first byte before it, it is a frame of one row.
  const std::string frame = '\x91' + letter.bytes;
  DecodedRows rows;
  if (auto decoded = decode_rows(frame, 1, rows); !decoded) {
    return tl::make_unexpected(std::move(decoded.error()));
  }
  // The values refer into `frame`; moved by its first byte they refer into the letter.
  std::vector<ValueRef> values;
  const auto moved = [&](std::string_view view) {
    const auto at = static_cast<std::size_t>(view.data() - frame.data());
    return view.empty() ? std::string_view()
                        : std::string_view(letter.bytes).substr(at - 1, view.size());
  };
  for (const ValueRef& value : rows.row(0)) {
    if (const auto* text = std::get_if<std::string_view>(&value)) {
      values.emplace_back(moved(*text));
    } else if (const auto* blob = std::get_if<Blob>(&value)) {
      values.emplace_back(Blob{moved(blob->bytes)});
    } else {
      values.push_back(value);
    }
  }
  return values;
}

Result<Setting> parse_setting(std::string_view text) {
  const std::size_t equals = text.find('=');
  if (equals == 0 || equals == std::string_view::npos) {
    return fail(Errc::bad_input, fmt::format("'{}' sets no column", text),
                "write --set column=value, such as --set name=Ace");
  }
  Setting setting{std::string(text.substr(0, equals)), Null{}, false};
  std::string_view value = text.substr(equals + 1);
  const bool quoted = value.size() >= 2 && value.front() == '\'' && value.back() == '\'';
  if (value == "NULL") {
    return setting;
  }
  if (quoted) {
    setting.value = std::string(value.substr(1, value.size() - 2));
  } else if (const auto integer = number_in<std::int64_t>(value)) {
    setting.value = *integer;
  } else if (const auto real = number_in<double>(value); real && std::isfinite(*real)) {
    setting.value = *real;
  } else if (value.size() >= 3 && value.starts_with("x'") && value.ends_with("'")) {
    auto bytes = bytes_of_hex(value.substr(2, value.size() - 3));
    if (!bytes) {
      return fail(Errc::bad_input, fmt::format("{} is no blob", value),
                  "write it as x'00ff', two hexadecimal digits a byte");
    }
    setting.value = std::move(*bytes);
    setting.is_blob = true;
  } else {
    setting.value = std::string(value);
  }
  return setting;
}

Result<std::vector<ValueRef>> corrected(const Letter& letter,
                                        const std::vector<Setting>& settings) {
  if (letter.kind != LetterKind::row) {
    return fail(Errc::bad_input, fmt::format("dead letter {} is not of a row", letter.id),
                "it can be shown and discarded; send its rows again");
  }
  auto values = values_of(letter);
  if (!values) {
    return values;
  }
  for (const Setting& setting : settings) {
    const auto column = std::find(letter.columns.begin(), letter.columns.end(), setting.column);
    if (column == letter.columns.end()) {
      return fail(
          Errc::bad_input,
          fmt::format("the row of dead letter {} has no column {}", letter.id, setting.column),
          "`turnstile dead-letters show` tells its columns");
    }
    const auto at = static_cast<std::size_t>(column - letter.columns.begin());
    if (at >= values->size()) {
      // What lies between is NULL, unless another --set gives it a value.
      values->resize(at + 1);
    }
    (*values)[at] = value_of(setting);
  }
  return values;
}

}  // namespace turnstile::dead_letters
