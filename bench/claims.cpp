#include "bench/claims.h"

#include <algorithm>
#include <stdexcept>
#include <utility>

namespace turnstile::bench {
namespace {

constexpr const char* kOneRowEach = "JetStream, 1 row a message";

}  // namespace

const std::vector<Claim>& claims() {
  using enum Judged;
  using enum Sense;
  // clang-format off
  static const std::vector<Claim> all{
      {1, "csv", "CSV to SQLite", "sqlite3 .import", kRate, ratio, at_least, 2.2, true},
      {2, "csv-text", "the same with out9.txt", "sqlite3 .import", kRate, ratio, at_least, 1.8, true},
      {3, "limit", "CSV to SQLite", "physical limit", kRate, ratio, at_least, 0.8, true},
      {4, "four", "4 producers together", "1 producer (line 1)", kRate, ratio, at_least, 0.8, true},
      {5, "each", "append for each row", kOneRowEach, kRate, ratio, at_least, 10, true},
      {6, "jetstream", "CSV to SQLite", "JetStream, 1,000 rows a message", kRate, ratio, at_least, 1.05, true},
      {7, "waiting", "64 processes, row by row", "64 processes direct", kRate, ratio, at_least, 8, true},
      {7, "waiting-p999", "64 processes: 99.9 % of rows wait", "64 processes direct", "ms", median, at_most, 15, false},
      {7, "waiting-worst", "64 processes: longest wait", "64 processes direct", "ms", worst, at_most, 40, false},
      {7, "waiting-lost", "64 processes: rows lost", "64 processes direct", "rows", worst, at_most, 0, false},
      {7, "waiting-fair", "64 processes: slowest / fastest", "64 processes direct", "of 1", median, at_least, 0.8, true},
      {8, "one", "1 process, row by row: median wait", "1 process direct", "µs", ratio, at_most, 2.2, false},
      {8, "one-serve", "the same with turnstile serve", "1 process direct", "µs", ratio, at_most, 2.2, false},
      {8, "one-jetstream", "1 process, row by row: median wait", "JetStream to commit", "µs", ratio, at_most, 0.75, false},
      {9, "store", "no consumer: until all are stored", "line 1", "s", ratio, at_most, 0.7, false},
      {10, "drain", "then a consumer: until all are applied", "line 1", "s", ratio, at_most, 1.1, false},
      {11, "big-store", "ten times the rows: stored", "line 9", kRate, ratio, at_least, 0.85, true},
      {11, "big-drain", "ten times the rows: applied", "line 10", kRate, ratio, at_least, 0.85, true},
      {11, "big-memory", "ten times the rows: largest process", "", "MiB", worst, at_most, 128, false},
      {12, "idle", "idle, 100 producers: processor", "", "% of a core", median, at_most, 1, false},
      {12, "idle-writes", "idle, 100 producers: disk writes", "", "KiB", worst, at_most, 0, false},
      {13, "start", "from nothing to the first row applied", "", "ms", median, at_most, 150, false},
  };
  // clang-format on
  return all;
}

void Figure::add(double ours, std::optional<double> theirs) {
  ours_.push_back(ours);
  if (theirs) {
    theirs_.push_back(*theirs);
    if (*theirs != 0) {
      ratios_.push_back(ours / *theirs);
    }
  }
}

std::optional<Spread> Figure::theirs() const {
  return theirs_.empty() ? std::nullopt : std::optional(spread_of(theirs_));
}

std::optional<Spread> Figure::ratio() const {
  return ratios_.empty() ? std::nullopt : std::optional(spread_of(ratios_));
}

double Figure::judged() const {
  switch (claim_->judged) {
    case Judged::ratio:
      return spread_of(ratios_).median;
    case Judged::median:
      return ours().median;
    case Judged::worst:
      return claim_->sense == Sense::at_most ? ours().max : ours().min;
  }
  throw std::logic_error("unknown value of Judged");
}

bool Figure::met() const {
  return claim_->sense == Sense::at_least ? judged() >= claim_->bound : judged() <= claim_->bound;
}

Figures::Figures(const std::set<int>& lines) {
  for (const auto& claim : claims()) {
    if (lines.contains(claim.line)) {
      figures_.emplace_back(claim);
    }
  }
}

Figure* Figures::find(std::string_view key) {
  const auto at = std::find_if(figures_.begin(), figures_.end(),
                               [&](const Figure& figure) { return figure.claim().key == key; });
  return at == figures_.end() ? nullptr : &*at;
}

void Figures::add(std::string_view key, double ours, std::optional<double> theirs) {
  if (Figure* figure = find(key)) {
    figure->add(ours, theirs);
  }
}

void Figures::skip(std::string_view key, const std::string& why) {
  if (Figure* figure = find(key)) {
    figure->skip(why);
  }
}

}  // namespace turnstile::bench
