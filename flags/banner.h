// The banner that broker and consumer log when they start, at info level, a line for each value.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "flags/system_info.h"

namespace turnstile {

// `program` is "broker" or "consumer"; `opened` says where it listens and what it opened.
std::vector<std::string> banner_lines(std::string_view program,
                                      const std::vector<NamedValue>& opened);
void log_banner(std::string_view program, const std::vector<NamedValue>& opened);

}  // namespace turnstile
