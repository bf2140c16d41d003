// The claims about speed, what was measured for them, and whether they hold.
#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "bench/latencies.h"

namespace turnstile::bench {

// The value that is compared with the bound: the median of the rounds' ratios (ours / theirs), our
// median, or our worst value.
enum class Judged { ratio, median, worst };
enum class Sense { at_least, at_most };

struct Claim {
  int line;  // of the table in README.md
  std::string_view key;
  std::string_view name;
  std::string_view theirs;  // what it is compared with; empty: nothing
  std::string_view unit;
  Judged judged;
  Sense sense;
  double bound;
  // True for rows/s, false for a time.
  bool more_is_better;
};

inline constexpr std::string_view kRate = "rows/s";

// In the order of the table.
const std::vector<Claim>& claims();

class Figure {
 public:
  explicit Figure(const Claim& claim) : claim_(&claim) {}

  void add(double ours, std::optional<double> theirs);
  void skip(std::string why) { skipped_ = std::move(why); }

  [[nodiscard]] const Claim& claim() const { return *claim_; }
  // Why the figure was not measured; empty if it was.
  [[nodiscard]] const std::string& skipped() const { return skipped_; }
  [[nodiscard]] bool measured() const { return !ours_.empty(); }
  [[nodiscard]] Spread ours() const { return spread_of(ours_); }
  [[nodiscard]] std::optional<Spread> theirs() const;
  [[nodiscard]] std::optional<Spread> ratio() const;  // ours / theirs in one round
  // Only when measured.
  [[nodiscard]] bool met() const;

 private:
  [[nodiscard]] double judged() const;

  const Claim* claim_;
  std::vector<double> ours_;
  std::vector<double> theirs_;
  std::vector<double> ratios_;
  std::string skipped_;
};

// One figure for each claim of the selected lines.
class Figures {
 public:
  explicit Figures(const std::set<int>& lines);

  // Ignores claims of lines that are not selected.
  void add(std::string_view key, double ours, std::optional<double> theirs = std::nullopt);
  void skip(std::string_view key, const std::string& why);

  [[nodiscard]] const std::vector<Figure>& all() const { return figures_; }

 private:
  Figure* find(std::string_view key);

  std::vector<Figure> figures_;
};

}  // namespace turnstile::bench
