#include <array>
#include <chrono>
#include <ctime>

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/counted.h"
#include "base/utf8.h"
#include "cli/dead_letters.h"

namespace turnstile::dead_letters {
namespace {

using Json = nlohmann::ordered_json;
using store::schema::LetterKind;

constexpr std::size_t kShown = 4096;  // of one value

std::string_view kind_name(LetterKind kind) {
  switch (kind) {
    case LetterKind::row:
      return "row";
    case LetterKind::definition:
      return "definition";
    case LetterKind::frame:
      return "frame";
    case LetterKind::command:
      return "command";
  }
  return "unknown";
}

std::string time_text(std::int64_t at_ms) {
  const auto seconds = static_cast<std::time_t>(at_ms / 1000);
  return fmt::format("{:%Y-%m-%d %H:%M:%S}", fmt::localtime(seconds));
}

std::string hex(std::string_view bytes) {
  std::string out;
  for (const char c : bytes) {
    out += fmt::format("{:02x}", static_cast<unsigned char>(c));
  }
  return out;
}

// As --set takes it back, so that a shown value can be corrected and sent.
std::string value_text(const ValueRef& value) {
  if (const auto* text = std::get_if<std::string_view>(&value)) {
    return "'" + printable(*text, kShown) + "'";
  }
  if (const auto* blob = std::get_if<Blob>(&value)) {
    return "x'" + hex(blob->bytes.substr(0, kShown)) + "'";
  }
  if (const auto* integer = std::get_if<std::int64_t>(&value)) {
    return std::to_string(*integer);
  }
  if (const auto* real = std::get_if<double>(&value)) {
    return fmt::format("{}", *real);
  }
  return "NULL";
}

Json value_json(const ValueRef& value) {
  if (const auto* text = std::get_if<std::string_view>(&value)) {
    return *text;
  }
  if (const auto* blob = std::get_if<Blob>(&value)) {
    return {{"blob", hex(blob->bytes)}};
  }
  if (const auto* integer = std::get_if<std::int64_t>(&value)) {
    return *integer;
  }
  if (const auto* real = std::get_if<double>(&value)) {
    return *real;
  }
  return nullptr;
}

Json letter_json(const Letter& letter) {
  return {{"id", letter.id},
          {"table", letter.table},
          {"producer", letter.producer},
          {"epoch", letter.epoch},
          {"sequence", letter.sequence},
          {"rows", letter.rows},
          {"kind", kind_name(letter.kind)},
          {"reason", letter.reason},
          {"at_ms", letter.at_ms}};
}

std::string dumped(const Json& json) {
  return json.dump(-1, ' ', true, Json::error_handler_t::replace) + "\n";
}

// A refused retry has the dead letter's id before its row.
std::string column_name(const Letter& letter, std::size_t values, std::size_t at) {
  if (letter.kind == LetterKind::command && values == letter.columns.size() + 1) {
    return at == 0 ? "dead letter" : printable(letter.columns[at - 1], kShown);
  }
  return at < letter.columns.size() ? printable(letter.columns[at], kShown) : "(no column)";
}

}  // namespace

std::string list_text(const std::vector<Letter>& letters) {
  std::string out;
  for (const Letter& letter : letters) {
    const std::string sequences = letter.rows == 1 ? fmt::format("{}", letter.sequence)
                                                   : fmt::format("{} to {}", letter.sequence,
                                                                 letter.sequence + letter.rows - 1);
    out += fmt::format("{:>6}  {}  {}  {} {}  {}\n", letter.id, time_text(letter.at_ms),
                       printable(letter.table, kShown), printable(letter.producer, kShown),
                       sequences, printable(letter.reason, kShown));
  }
  return out + counted(letters.size(), "dead letter") + "\n";
}

std::string list_json(const std::vector<Letter>& letters) {
  Json list = Json::array();
  for (const Letter& letter : letters) {
    list.push_back(letter_json(letter));
  }
  return dumped({{"dead_letters", list}});
}

std::string show_text(const Letter& letter) {
  std::string out = fmt::format(
      "dead letter  {}\nkind         {}\ntable        {}\nproducer     {}, epoch {}\n"
      "sequence     {}{}\ntime         {}\nreason       {}\n",
      letter.id, kind_name(letter.kind), printable(letter.table, kShown),
      printable(letter.producer, kShown), letter.epoch, letter.sequence,
      letter.rows == 1 ? "" : fmt::format(" to {}", letter.sequence + letter.rows - 1),
      time_text(letter.at_ms), printable(letter.reason, kShown));
  const auto values = values_of(letter);
  if (!values) {
    return out + fmt::format("values       {}\n", printable(values.error().what));
  }
  for (std::size_t i = 0; i < values->size(); ++i) {
    out += fmt::format("  {} = {}\n", column_name(letter, values->size(), i),
                       value_text((*values)[i]));
  }
  for (std::size_t i = values->size(); i < letter.columns.size(); ++i) {
    out += fmt::format("  {} has no value\n", column_name(letter, values->size(), i));
  }
  return out;
}

std::string show_json(const Letter& letter) {
  Json json = letter_json(letter);
  json["columns"] = letter.columns;
  json["values"] = nullptr;
  if (const auto values = values_of(letter)) {
    json["values"] = Json::array();
    for (const ValueRef& value : *values) {
      json["values"].push_back(value_json(value));
    }
  }
  return dumped(json);
}

}  // namespace turnstile::dead_letters
