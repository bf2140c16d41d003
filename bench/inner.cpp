// Times the work done for each row. bench/inner builds and runs it.
//
//   bench_inner SAMPLE DIRECTORY [--benchmark_...]
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <memory>
#include <string>
#include <vector>

#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include "bench/inner_loops.h"

int main(int argc, char** argv) {
  using namespace turnstile::bench;
  benchmark::Initialize(&argc, argv);
  if (argc != 3) {
    fmt::print(stderr, "give a CSV of nutrients and a directory for files\n");
    return 2;
  }
  try {
    std::vector<std::unique_ptr<InnerLoop>> made;
    for (const auto& named : inner_loops()) {
      InnerLoop& loop = *made.emplace_back(named.make(argv[1], argv[2]));
      benchmark::RegisterBenchmark(std::string(named.name).c_str(),
                                   [&loop](benchmark::State& state) {
                                     for (auto _ : state) {
                                       loop.run(kRowsPerRun);
                                     }
                                     using benchmark::Counter;
                                     state.counters["per_row"] = Counter(
                                         static_cast<double>(kRowsPerRun),
                                         Counter::kIsIterationInvariantRate | Counter::kInvert);
                                   })
          ->Unit(benchmark::kMillisecond)
          ->UseRealTime();
    }
    benchmark::RunSpecifiedBenchmarks();
  } catch (const std::exception& problem) {
    fmt::print(stderr, "bench_inner: {}\n", problem.what());
    return EXIT_FAILURE;
  }
  return EXIT_SUCCESS;
}
