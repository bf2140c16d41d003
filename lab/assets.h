// The files of lab/page/, embedded when this program was built.
#pragma once

#include <span>
#include <string_view>

namespace turnstile::lab {

struct Asset {
  std::string_view name;  // of the file
  std::string_view type;  // Content-Type
  std::string_view content;
};

std::span<const Asset> assets();

// The file's content; empty when there is no such file.
std::string_view asset(std::string_view name);

}  // namespace turnstile::lab
