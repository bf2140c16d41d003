#include "flags/banner.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "generated/version.h"

namespace turnstile {

std::vector<std::string> banner_lines(std::string_view program,
                                      const std::vector<NamedValue>& opened) {
  const Machine machine = look_at_machine();
  std::vector<NamedValue> values{
      {"date", current_date()},
      {"system", fmt::format("{}, {}", machine.system, machine.distribution)},
      {"SQLite", sqlite_version()},
      {"ZeroMQ", zeromq_version()},
  };
  values.insert(values.end(), opened.begin(), opened.end());
  std::vector<std::string> lines{fmt::format("turnstile {} {}", program, kVersion)};
  for (std::string& line : aligned(values, "  ")) {
    lines.push_back(std::move(line));
  }
  return lines;
}

void log_banner(std::string_view program, const std::vector<NamedValue>& opened) {
  for (const std::string& line : banner_lines(program, opened)) {
    spdlog::info("{}", line);
  }
}

}  // namespace turnstile
