// What a named producer reads, as the source of its batches says it (PROTOCOL.md, "The source").
#pragma once

#include <cstdint>
#include <string_view>

#include "proto/ids.h"

namespace turnstile {

// STEM, STEM+BASE or STEM+BASE@MARK. The rows of the input have the sequences from BASE + 1 on; the
// mark says how far into the input the producer was, in words of its own.
struct SourceText {
  explicit SourceText(std::string_view its_stem) : stem(its_stem) {}
  std::string_view stem;
  std::uint64_t base = 0;
  std::string_view mark;
};

// Any other text is all stem.
SourceText parse_source(std::string_view text);

// A batch of `source` that begins with `first` may follow rows through `through` of `known`: it is
// the same input, or one that begins right there. An empty text says nothing, and fits.
bool source_fits(std::string_view source, Sequence first, std::string_view known, Sequence through);

}  // namespace turnstile
