#include "lab/run.h"

#include <array>
#include <numeric>

namespace turnstile::lab {
namespace {

constexpr std::array kModes{Mode::direct, Mode::immediate, Mode::queued};

}  // namespace

std::string_view name_of(Mode mode) {
  switch (mode) {
    case Mode::direct:
      return "direct";
    case Mode::immediate:
      return "immediate";
    case Mode::queued:
      break;
  }
  return "queued";
}

std::string_view title_of(Mode mode) {
  switch (mode) {
    case Mode::direct:
      return "Direct";
    case Mode::immediate:
      return "Direct, BEGIN IMMEDIATE";
    case Mode::queued:
      break;
  }
  return "Through the queue";
}

std::optional<Mode> mode_of(std::string_view name) {
  for (const Mode mode : kModes) {
    if (name_of(mode) == name) {
      return mode;
    }
  }
  return std::nullopt;
}

std::string_view name_of(Role role) {
  switch (role) {
    case Role::producer:
      return "producer";
    case Role::consumer:
      return "consumer";
    case Role::broker:
      break;
  }
  return "broker";
}

std::size_t RunInfo::rows_wanted() const {
  return std::accumulate(
      lanes.begin(), lanes.end(), std::size_t{0},
      [](std::size_t sum, const LaneInfo& lane) { return sum + lane.wanted.size(); });
}

}  // namespace turnstile::lab
