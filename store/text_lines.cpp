#include "store/text_lines.h"

#include <array>
#include <charconv>

namespace turnstile::store {
namespace {

// Without a way out of the loop, so that the compiler makes vectors of it: fields are short.
bool has_line_end(std::string_view text) {
  bool found = false;
  for (const char c : text) {
    found |= (c == '\n') | (c == '\r');
  }
  return found;
}

void append_text(std::string_view text, std::string& out) {
  if (!has_line_end(text)) {
    out += text;
    return;
  }
  for (const char c : text) {
    if (c == '\n') {
      out += "\\n";
    } else if (c == '\r') {
      out += "\\r";
    } else {
      out += c;
    }
  }
}

void append_blob(std::string_view bytes, std::string& out) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  constexpr unsigned kHalf = 4;
  constexpr unsigned kLow = 0xF;
  out += "x'";
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    out += kDigits[byte >> kHalf];
    out += kDigits[byte & kLow];
  }
  out += '\'';
}

void append_integer(std::int64_t value, std::string& out) {
  std::array<char, 24> digits{};
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), value).ptr;
  out.append(digits.data(), end);
}

}  // namespace

void append_line(const sqlite::Statement& row, int first, std::string& out) {
  out += '[';
  const int columns = row.columns();
  for (int i = first; i < columns; ++i) {
    if (i > first) {
      out += ", ";
    }
    const ValueRef value = row.value(i);
    if (const auto* text = std::get_if<std::string_view>(&value)) {
      append_text(*text, out);
    } else if (const auto* integer = std::get_if<std::int64_t>(&value)) {
      append_integer(*integer, out);
    } else if (const auto* blob = std::get_if<Blob>(&value)) {
      append_blob(blob->bytes, out);
    } else if (std::holds_alternative<double>(value)) {
      out += row.text(i);
    }
  }
  out += "]\n";
}

std::optional<BatchLines> BatchLines::make(const TableInfo& table,
                                           const std::vector<std::string>& columns) {
  if (!table.plain) {
    return std::nullopt;
  }
  BatchLines lines;
  for (const auto& column : table.columns) {
    Field field{.source = column.is_rowid ? kRowid : kNull, .affinity = column.affinity};
    for (std::size_t i = 0; i < columns.size(); ++i) {
      if (same_name(columns[i], column.name)) {
        field.source = i;
      }
    }
    if (field.source == kNull && column.has_default) {
      return std::nullopt;
    }
    lines.fields_.push_back(field);
  }
  return lines;
}

bool BatchLines::append(std::span<const ValueRef> row, std::int64_t rowid, std::string& out) const {
  const std::size_t start = out.size();
  out += '[';
  for (const auto& field : fields_) {
    if (&field != &fields_.front()) {
      out += ", ";
    }
    if (field.source == kRowid) {
      append_integer(rowid, out);
    } else if (field.source != kNull) {
      const ValueRef& value = row[field.source];
      if (!prints_as_sent(field.affinity, value)) {
        out.resize(start);
        return false;
      }
      if (const auto* text = std::get_if<std::string_view>(&value)) {
        append_text(*text, out);
      } else if (const auto* integer = std::get_if<std::int64_t>(&value)) {
        append_integer(*integer, out);
      } else if (const auto* blob = std::get_if<Blob>(&value)) {
        append_blob(blob->bytes, out);
      }
    }
  }
  out += "]\n";
  return true;
}

}  // namespace turnstile::store
