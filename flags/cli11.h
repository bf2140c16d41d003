// CLI11's names, for headers that only hand them on: the library is large.
#pragma once

namespace CLI {  // NOLINT(readability-identifier-naming): its own name
class App;
class Option;
}  // namespace CLI
