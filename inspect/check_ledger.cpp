#include "inspect/check_ledger.h"

#include <algorithm>
#include <array>
#include <fstream>
#include <optional>
#include <system_error>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace turnstile::check {
namespace {

constexpr std::size_t kProblemsListed = 20;

struct Line {
  std::string producer;
  std::uint64_t first = 0;
  std::uint64_t last = 0;
  bool applied = false;
};

std::optional<std::uint64_t> number(const nlohmann::json& line, const char* key) {
  const auto found = line.find(key);
  if (found == line.end() || !found->is_number_unsigned()) {
    return std::nullopt;
  }
  return found->get<std::uint64_t>();
}

std::optional<std::string> text(const nlohmann::json& line, const char* key) {
  const auto found = line.find(key);
  if (found == line.end() || !found->is_string()) {
    return std::nullopt;
  }
  return found->get<std::string>();
}

std::optional<Line> parse_line(std::string_view bytes) {
  const auto json = nlohmann::json::parse(bytes, nullptr, false);
  if (!json.is_object()) {
    return std::nullopt;
  }
  const auto producer = text(json, "producer");
  const auto first = number(json, "first");
  const auto last = number(json, "last");
  const auto level = text(json, "level");
  constexpr auto kGreatest = static_cast<std::uint64_t>(INT64_MAX);
  if (!producer || !first || !last || !level || !number(json, "at_ms") || producer->empty() ||
      *first == 0 || *first > *last || *last > kGreatest ||
      (*level != "stored" && *level != "applied")) {
    return std::nullopt;
  }
  return Line{*producer, *first, *last, *level == "applied"};
}

}  // namespace

Result<void> read_ledger(const std::filesystem::path& path, Ledgers& into) {
  std::error_code failed;
  const auto size = std::filesystem::file_size(path, failed);
  std::ifstream file(path, std::ios::binary);
  if (failed || !file) {
    return fail(Errc::unreachable, "the ledger " + path.string() + " cannot be read",
                "name the file that a producer wrote with --ledger");
  }
  LedgerFile& ledger = into.files.emplace_back();
  ledger.path = path;
  const auto unreadable = [&] {
    if (ledger.problems.size() < kProblemsListed) {
      ledger.problems.push_back(
          fmt::format("line {} of the ledger {} cannot be read", ledger.lines, path.string()));
    }
  };

  std::array<char, kLedgerLineBytes + 1> line{};
  std::uint64_t left = size;
  while (left > 0) {
    file.getline(line.data(), line.size());
    const auto taken = static_cast<std::uint64_t>(file.gcount());
    const bool too_long = file.fail() && !file.eof() && taken > 0;
    if (taken > left || taken == 0 || file.eof()) {
      break;  // not ended by a line feed, or not yet written when the reading began
    }
    left -= taken;
    if (too_long) {
      file.clear();
      file.ignore(static_cast<std::streamsize>(left), '\n');
      left -= std::min(left, static_cast<std::uint64_t>(file.gcount()));
      if (file.unget().get() != '\n') {
        break;
      }
      ++ledger.lines;
      unreadable();
      continue;
    }
    ++ledger.lines;
    const auto parsed = parse_line({line.data(), static_cast<std::size_t>(taken - 1)});
    if (!parsed) {
      unreadable();
      continue;
    }
    auto& told = into.producers[parsed->producer];
    (parsed->applied ? told.applied : told.stored).add(parsed->first, parsed->last);
  }
  return {};
}

}  // namespace turnstile::check
