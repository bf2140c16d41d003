// The scenarios: what each shows, what it claims, and what its settings are.
#pragma once

#include <chrono>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lab/run.h"
#include "base/result.h"

namespace turnstile::lab {

enum class Setting { processes, rows, task_duration, busy_timeout, journal, begin };

// A setting as people and HTTP know it.
struct SettingInfo {
  Setting setting;
  std::string_view name;  // in JSON
  std::string_view flag;
  std::string_view title;
  std::int64_t min = 0;  // of a number; a duration's in milliseconds
  std::int64_t max = 0;
  bool is_duration = false;
  std::vector<std::string_view> choices;  // of a text
};

std::span<const SettingInfo> all_settings();
const SettingInfo& info_of(Setting setting);

// As its flag takes it.
std::string value_of(const Settings& settings, Setting setting);

struct Scenario {
  std::string_view name;
  std::string_view title;
  std::string_view about;
  std::string_view claim;  // what is to be seen in it
  std::vector<Mode> modes;
  Settings settings;
  std::vector<Setting> adjustable;
  std::chrono::milliseconds takes;  // all modes together, about

  [[nodiscard]] bool adjusts(Setting setting) const;
};

std::span<const Scenario> scenarios();

// Errors: bad_input, with the names that there are.
Result<const Scenario*> find_scenario(std::string_view name);

// Those that take under a minute together, in their order.
std::vector<const Scenario*> default_scenarios();

// What is wrong with these settings for the scenario: out of bounds, or changed and not adjustable.
Result<void> check_settings(const Scenario& scenario, const Settings& settings);

}  // namespace turnstile::lab
