// Runs, settings and figures as JSON: for --json, HTTP, the report and the events file. HTTP.md and
// EVENTS.md describe the formats.
#pragma once

#include <cstdint>

#include <nlohmann/json.hpp>

#include "base/result.h"
#include "lab/numbers.h"
#include "lab/run.h"
#include "lab/scenario.h"
#include "lab/timeline.h"

namespace turnstile::lab {

using Json = nlohmann::ordered_json;

Json json_of(const Settings& settings);
// `json`: an object with some of the settings; the others keep their value in `defaults`.
// Errors: bad_input for an unknown name or a wrong type. check_settings() checks the bounds.
Result<Settings> settings_from(const nlohmann::json& json, Settings defaults);

// The answer to `GET /api/scenarios`.
Json json_of_scenarios();

Json json_of(const Numbers& numbers);
Json json_of(const WaitGraph& graph);
// [kind, from_ms, to_ms, row, holder, error], without empty elements at the end.
Json json_of(const Segment& segment);
// [[lane, Segment], ...]
Json json_of(const std::vector<LaneSegment>& segments);

// The `run` event of the stream.
Json json_of_run(const RunInfo& run, std::uint64_t number);
// The `ended` event of the stream; also an element of the --json output.
Json json_of_end(const Outcome& outcome, std::uint64_t number);

// Milliseconds with up to three decimals.
double to_ms(std::int64_t ns);

// On one line. Bytes that are not UTF-8 become U+FFFD.
std::string dump(const Json& json);

}  // namespace turnstile::lab
