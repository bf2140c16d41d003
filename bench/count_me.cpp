// Runs one inner loop, so that valgrind can count its instructions.
//
//   bench_count_me                              prints the loops, and the rows per run
//   bench_count_me SAMPLE DIRECTORY LOOP RUNS   does RUNS runs of one loop
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>

#include <fmt/format.h>

#include "bench/inner_loops.h"

int main(int argc, char** argv) {
  using namespace turnstile::bench;
  if (argc == 1) {
    for (const auto& loop : inner_loops()) {
      fmt::print("{} {}\n", loop.name, kRowsPerRun);
    }
    return EXIT_SUCCESS;
  }
  if (argc != 5) {
    fmt::print(stderr, "give a CSV of nutrients, a directory for files, a loop and a number\n");
    return 2;
  }
  try {
    for (const auto& loop : inner_loops()) {
      if (loop.name == argv[3]) {
        loop.make(argv[1], argv[2])->run(std::stoull(argv[4]) * kRowsPerRun);
        return EXIT_SUCCESS;
      }
    }
    fmt::print(stderr, "there is no loop '{}'\n", argv[3]);
  } catch (const std::exception& problem) {
    fmt::print(stderr, "bench_count_me: {}\n", problem.what());
  }
  return EXIT_FAILURE;
}
