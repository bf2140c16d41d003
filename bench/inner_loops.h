// What is done for each row, one loop each, so that it can be timed (inner.cpp) and its
// instructions counted (instructions).
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string_view>
#include <vector>

namespace turnstile::bench {

class InnerLoop {
 public:
  InnerLoop() = default;
  InnerLoop(const InnerLoop&) = delete;
  InnerLoop& operator=(const InnerLoop&) = delete;
  virtual ~InnerLoop() = default;

  // Does it for that many rows: a multiple of kRowsPerRun.
  virtual void run(std::uint64_t rows) = 0;
};

inline constexpr std::uint64_t kRowsPerRun = 20'000;

struct NamedLoop {
  std::string_view name;
  // `csv` is a sample of nutrients; what is written lies in `folder`, which must outlive the loop.
  std::function<std::unique_ptr<InnerLoop>(const std::filesystem::path& csv,
                                           const std::filesystem::path& folder)>
      make;
};
const std::vector<NamedLoop>& inner_loops();

}  // namespace turnstile::bench
