// Runs, settings and figures as JSON: for --json, HTTP, the report and the events file. HTTP.md and
// EVENTS.md are the formats.
#pragma once

#include <cstdint>

#include <nlohmann/json.hpp>

#include "lab/numbers.h"
#include "lab/run.h"
#include "lab/scenario.h"
#include "lab/timeline.h"
#include "base/result.h"

namespace turnstile::lab {

using Json = nlohmann::ordered_json;

Json json_of(const Settings& settings);
// `json` is an object of some of the settings; the others stay as they are in `otherwise`.
// Errors: bad_input for an unknown name or another type. Bounds are check_settings()'s.
Result<Settings> settings_from(const nlohmann::json& json, Settings otherwise);

// What `GET /api/scenarios` gives.
Json json_of_scenarios();

Json json_of(const Numbers& numbers);
Json json_of(const WaitGraph& graph);
// [kind, from_ms, to_ms, row, holder, error], what is empty at the end left out.
Json json_of(const Segment& segment);
// [[lane, Segment], ...]
Json json_of(const std::vector<LaneSegment>& segments);

// The `run` event of the stream.
Json json_of_run(const RunInfo& run, std::uint64_t number);
// The `ended` event of the stream; also an element of what --json prints.
Json json_of_end(const Outcome& outcome, std::uint64_t number);

// Milliseconds with up to three decimals.
double to_ms(std::int64_t ns);

// In one line. Bytes that are no UTF-8 become U+FFFD.
std::string dump(const Json& json);

}  // namespace turnstile::lab
