// The scenarios: what each shows, what to look for, and its settings.
#pragma once

#include <chrono>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "lab/run.h"

namespace turnstile::lab {

enum class Setting { processes, rows, task_duration, busy_timeout, journal, begin };

// How a setting appears on the command line, on the page and in JSON.
struct SettingInfo {
  Setting setting;
  std::string_view name;  // in JSON
  std::string_view flag;
  std::string_view title;
  std::int64_t min = 0;  // of a number; of a duration in milliseconds
  std::int64_t max = 0;
  bool is_duration = false;
  std::vector<std::string_view> choices;  // of a string
};

std::span<const SettingInfo> all_settings();
const SettingInfo& info_of(Setting setting);

// As its flag accepts it.
std::string value_of(const Settings& settings, Setting setting);

struct Scenario {
  std::string_view name;
  std::string_view title;
  std::string_view about;
  std::string_view claim;  // what to look for
  std::vector<Mode> modes;
  Settings settings;
  std::vector<Setting> adjustable;
  std::chrono::milliseconds takes;  // about, all modes together

  [[nodiscard]] bool adjusts(Setting setting) const;
};

std::span<const Scenario> scenarios();

// Errors: bad_input, with the names of all scenarios.
Result<const Scenario*> find_scenario(std::string_view name);

// The scenarios that together take under a minute.
std::vector<const Scenario*> default_scenarios();

// Errors: bad_input for a value out of bounds, or a changed setting that is not adjustable.
Result<void> check_settings(const Scenario& scenario, const Settings& settings);

}  // namespace turnstile::lab
