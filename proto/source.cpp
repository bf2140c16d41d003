#include "proto/source.h"

#include <charconv>
#include <system_error>

#include "proto/limits.h"

namespace turnstile {

SourceText parse_source(std::string_view text) {
  const std::size_t at = text.find('@');
  const std::string_view name = text.substr(0, at);
  const std::size_t plus = name.rfind('+');
  if (plus == std::string_view::npos) {
    return SourceText(text);
  }
  const char* const end = name.data() + name.size();
  SourceText parsed(name.substr(0, plus));
  const auto [stop, error] = std::from_chars(name.data() + plus + 1, end, parsed.base);
  if (error != std::errc{} || stop != end || parsed.base > limits::kSequence) {
    return SourceText(text);
  }
  if (at != std::string_view::npos) {
    parsed.mark = text.substr(at + 1);
  }
  return parsed;
}

bool source_fits(std::string_view source, Sequence first, std::string_view known,
                 Sequence through) {
  if (source.empty() || known.empty() || source == known) {
    return true;
  }
  const SourceText ours = parse_source(source);
  const SourceText theirs = parse_source(known);
  if (ours.stem == theirs.stem && ours.base == theirs.base) {
    return true;
  }
  return ours.base > 0 && ours.base == through.value && first == next(through);
}

}  // namespace turnstile
