#include "client/identity.h"

#include <sys/random.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <span>
#include <string_view>
#include <system_error>

#include "base/utf8.h"
#include "proto/limits.h"

namespace turnstile {
namespace {

constexpr std::size_t kIdBytes = 16;
constexpr std::string_view kHexDigits = "0123456789abcdef";

void fill_from_kernel(std::span<unsigned char> bytes) {
  while (!bytes.empty()) {
    const ssize_t got = getrandom(bytes.data(), bytes.size(), 0);
    if (got < 0 && errno != EINTR) {
      throw std::system_error(errno, std::generic_category(), "getrandom");
    }
    if (got > 0) {
      bytes = bytes.subspan(static_cast<std::size_t>(got));
    }
  }
}

bool looks_random(const std::string& name) {
  return name.size() == 2 * kIdBytes && name.find_first_not_of(kHexDigits) == std::string::npos;
}

}  // namespace

ProducerId random_producer_id() {
  std::array<unsigned char, kIdBytes> bytes{};
  fill_from_kernel(bytes);
  ProducerId id;
  for (const unsigned char byte : bytes) {
    id.text += kHexDigits[byte >> 4U];
    id.text += kHexDigits[byte & 0xFU];
  }
  return id;
}

Result<ProducerId> named_producer_id(const std::string& name) {
  const std::string shown = printable(name, limits::kProducerBytes);
  if (!is_valid_producer_id(name)) {
    return fail(Errc::bad_input, "'" + shown + "' is not a valid name for a producer",
                "use 1 to 64 of A-Z a-z 0-9 . _ -");
  }
  if (looks_random(name)) {
    return fail(Errc::bad_input, "'" + shown + "' looks like the random id of an unnamed producer",
                "use a name that is not 32 hexadecimal digits");
  }
  return ProducerId{name};
}

}  // namespace turnstile
