// The work done for each row, one loop per step, to be timed (inner.cpp) and to have its
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

  // `rows`: a multiple of kRowsPerRun.
  virtual void run(std::uint64_t rows) = 0;
};

inline constexpr std::uint64_t kRowsPerRun = 20'000;

struct NamedLoop {
  std::string_view name;
  // `csv`: a sample of nutrients. The loop writes its files into `directory`, which must outlive
  // it.
  std::function<std::unique_ptr<InnerLoop>(const std::filesystem::path& csv,
                                           const std::filesystem::path& directory)>
      make;
};
const std::vector<NamedLoop>& inner_loops();

}  // namespace turnstile::bench
