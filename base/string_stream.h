// What msgpack's packer writes to: a string that grows.
#pragma once

#include <cstddef>
#include <string>

namespace turnstile {

struct StringStream {
  std::string* out;
  void write(const char* data, std::size_t size) { out->append(data, size); }
};

}  // namespace turnstile
