// Between libFuzzer and a target. `TARGET --make-seeds=FOLDER` writes the seeds and ends.
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerInitialize(const int* count, char*** arguments) {
  constexpr std::string_view kFlag = "--make-seeds=";
  const std::string_view first = *count > 1 ? (*arguments)[1] : "";
  if (first.substr(0, kFlag.size()) == kFlag) {
    const std::filesystem::path folder(first.substr(kFlag.size()));
    std::filesystem::create_directories(folder);
    std::size_t number = 0;
    for (const auto& seed : turnstile::fuzz::seeds()) {
      std::ofstream(folder / ("seed-" + std::to_string(++number)), std::ios::binary) << seed;
    }
    std::exit(number > 0 ? 0 : 1);
  }
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  turnstile::fuzz::run_one({reinterpret_cast<const char*>(data), size});
  return 0;
}
