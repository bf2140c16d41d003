#include "store/text_lines.h"

#include <algorithm>
#include <charconv>
#include <cstring>

#include "base/utf8.h"

namespace turnstile::store {
namespace {

template <typename Word>
bool has_odd_byte(const char* from) {
  constexpr Word kOnes = static_cast<Word>(0x0101010101010101U);
  Word word = 0;
  std::memcpy(&word, from, sizeof word);
  // A byte below a space borrows into its highest bit, one from DEL on has it or carries into it.
  const Word odd = static_cast<Word>((word - kOnes * ' ') | (word + kOnes) | word);
  return (odd & (kOnes * 0x80U)) != 0;
}

bool is_odd(char c) {
  constexpr char kDelete = 0x7F;
  return static_cast<signed char>(c) < ' ' || c == kDelete;  // those from 0x80 on are negative
}

// Whether a byte is no printable ASCII: fields are short, and most have none.
bool may_need_escapes(std::string_view text) {
  const auto any = [&]<typename Word>(Word /*type*/) {
    bool found = has_odd_byte<Word>(text.data() + text.size() - sizeof(Word));
    for (std::size_t i = 0; i + sizeof(Word) <= text.size(); i += sizeof(Word)) {
      found |= has_odd_byte<Word>(text.data() + i);
    }
    return found;
  };
  if (text.size() >= sizeof(std::uint64_t)) {
    return any(std::uint64_t());
  }
  return text.size() >= sizeof(std::uint32_t) ? any(std::uint32_t())
                                              : std::any_of(text.begin(), text.end(), is_odd);
}

// Each writes to where there is room enough (most_bytes), and says where it ended.
char* put_text(std::string_view text, Texts texts, char* at) {
  return texts == Texts::escaped ? put_printable(text, at)
                                 : std::copy_n(text.data(), text.size(), at);
}

char* put_blob(std::string_view bytes, char* at) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  constexpr unsigned kHalf = 4;
  constexpr unsigned kLow = 0xF;
  *at++ = 'x';
  *at++ = '\'';
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    *at++ = kDigits[byte >> kHalf];
    *at++ = kDigits[byte & kLow];
  }
  *at++ = '\'';
  return at;
}

constexpr std::size_t kMostDigits = 20;

char* put_integer(std::int64_t value, char* at) {
  return std::to_chars(at, at + kMostDigits, value).ptr;
}

// A number with a fraction is SQLite's to print, as text.
char* put_value(const ValueRef& value, Texts texts, char* at) {
  if (const auto* text = std::get_if<std::string_view>(&value)) {
    return put_text(*text, texts, at);
  }
  if (const auto* integer = std::get_if<std::int64_t>(&value)) {
    return put_integer(*integer, at);
  }
  const auto* blob = std::get_if<Blob>(&value);
  return blob == nullptr ? at : put_blob(blob->bytes, at);
}

std::size_t most_bytes(const ValueRef& value, Texts texts) {
  if (const auto* text = std::get_if<std::string_view>(&value)) {
    return texts == Texts::escaped ? kPrintableBytes * text->size() : text->size();
  }
  const auto* blob = std::get_if<Blob>(&value);
  return blob == nullptr ? kMostDigits : 2 * blob->bytes.size() + 3;
}

char* put_separator(char* at) {
  *at++ = ',';
  *at++ = ' ';
  return at;
}

constexpr std::size_t kSeparatorBytes = 2;
constexpr std::size_t kLineBytes = 3;  // [, ] and the end of the line

// Lets `write` append at most `most` bytes.
template <typename Write>
void append_room(std::size_t most, std::string& out, Write write) {
  const std::size_t start = out.size();
  out.resize(start + most);
  const char* end = write(out.data() + start);
  out.resize(static_cast<std::size_t>(end - out.data()));
}

}  // namespace

void append_line(const sqlite::Statement& row, int first, std::string& out) {
  out += '[';
  const int columns = row.columns();
  for (int i = first; i < columns; ++i) {
    if (i > first) {
      out += ", ";
    }
    ValueRef value = row.value(i);
    if (std::holds_alternative<double>(value)) {
      value = row.text(i);
    }
    const auto* text = std::get_if<std::string_view>(&value);
    const Texts texts =
        text != nullptr && may_need_escapes(*text) ? Texts::escaped : Texts::as_they_are;
    append_room(most_bytes(value, texts), out,
                [&](char* at) { return put_value(value, texts, at); });
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

void BatchLines::append_fields(std::span<const ValueRef> row, std::int64_t rowid, Texts texts,
                               std::string& out) const {
  std::size_t most = kLineBytes;
  for (const auto& field : fields_) {
    most += kSeparatorBytes + kMostDigits;
    most += is_sent(field) ? most_bytes(row[field.source], texts) : 0;
  }
  append_room(most, out, [&](char* at) {
    *at++ = '[';
    for (const auto& field : fields_) {
      if (&field != &fields_.front()) {
        at = put_separator(at);
      }
      if (field.source == kRowid) {
        at = put_integer(rowid, at);
      } else if (field.source != kNull) {
        at = put_value(row[field.source], texts, at);
      }
    }
    *at++ = ']';
    return at;
  });
}

bool BatchLines::append(std::span<const ValueRef> row, std::int64_t rowid, std::string& out) const {
  for (const auto& field : fields_) {
    if (is_sent(field) && !prints_as_sent(field.affinity, row[field.source])) {
      return false;
    }
  }
  // Few texts need escapes, and one look at a whole line is cheaper than one at each.
  const std::size_t start = out.size();
  append_fields(row, rowid, Texts::as_they_are, out);
  if (may_need_escapes(std::string_view(out).substr(start))) {
    out.resize(start);
    append_fields(row, rowid, Texts::escaped, out);
  }
  out += '\n';
  return true;
}

}  // namespace turnstile::store
