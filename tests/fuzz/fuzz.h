// What the fuzz targets share. Each target is one source that defines run_one() and seeds();
// libFuzzer calls run_one() with whatever it makes of the seeds. A target does not only look
// for crashes: it states what must hold of any input, with expect().
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

namespace turnstile::fuzz {

// One input, from the first byte to the last. Nothing may outlast the call that the next could see.
void run_one(std::string_view input);

// Inputs that reach far, made by the product's own encoders where it has them.
std::vector<std::string> seeds();

// Ends the program, which libFuzzer takes for a finding, when `holds` is false.
inline void expect(bool holds, std::string_view what) {
  if (!holds) {
    std::fprintf(stderr, "does not hold: %.*s\n", static_cast<int>(what.size()), what.data());
    std::abort();
  }
}

// Takes an input apart, from its front; what is not there any more reads as 0 and as empty.
class Input {
 public:
  explicit Input(std::string_view bytes) : rest_(bytes) {}

  std::size_t below(std::size_t bound) {  // at most 256
    return std::size_t{byte()} % bound;
  }
  std::string_view take(std::size_t bytes) {
    const auto taken = rest_.substr(0, bytes);
    rest_.remove_prefix(taken.size());
    return taken;
  }
  // What was put with sized().
  std::string_view take_sized() {
    const std::size_t high = byte();
    return take(high << 8U | byte());
  }
  std::string_view rest() { return take(rest_.size()); }

 private:
  unsigned char byte() {
    const auto taken = take(1);
    return taken.empty() ? 0 : static_cast<unsigned char>(taken.front());
  }

  std::string_view rest_;
};

inline std::string sized(std::string_view bytes) {
  const std::size_t size = std::min<std::size_t>(bytes.size(), 0xFFFF);
  return std::string{static_cast<char>(size >> 8U), static_cast<char>(size & 0xFFU)} +
         std::string(bytes.substr(0, size));
}

}  // namespace turnstile::fuzz
