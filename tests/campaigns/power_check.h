// What a disk must hold, whoever wrote it and whatever happened: read with a plain connection each,
// by the documented formats (TARGET.md, JOURNAL.md), and held against what producers were told.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/power_disk.h"

namespace turnstile::test::power {

struct Paths {
  std::string journal;
  std::string target;
  std::string text;
};

// What one producer was told.
struct Told {
  std::uint64_t stored = 0;  // or applied
  std::uint64_t applied = 0;
  std::uint64_t dead = 0;  // rows of those that were named as dead letters
};

struct Account {
  std::map<std::string, Told> told;  // by producer
  // Somebody else changed the text log's table, or the text log, and no consumer has seen it yet.
  bool text_is_disturbed = false;
  // A consumer has taken over and the text log was completed since, without a crash.
  bool text_is_settled = false;
  // Everything was drained: the journal is empty, every row is applied up to the sequence `sent`
  // at least (a process that is gone may have sent more).
  bool is_drained = false;
  std::map<std::string, std::uint64_t> sent;
  // Of batches that somebody was told of: which producer's, and its first sequence.
  std::map<std::uint64_t, std::pair<std::string, std::uint64_t>> offsets;
};

// The disk should be a copy: looking may change it. Gives what is wrong, and keeps the offsets.
std::vector<std::string> check(PowerDisk& disk, const Paths& paths, Account& account);

}  // namespace turnstile::test::power
