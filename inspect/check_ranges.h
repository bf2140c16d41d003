// Sets of sequences, kept as ranges: what is acknowledged or journaled is nearly one range, however
// many rows it has.
#pragma once

#include <cstdint>
#include <map>

namespace turnstile::check {

class Ranges {
 public:
  // first <= last; what is in already stays in once.
  void add(std::uint64_t first, std::uint64_t last);
  void add(const Ranges& other);

  [[nodiscard]] Ranges minus(const Ranges& other) const;
  [[nodiscard]] Ranges behind(std::uint64_t through) const;  // those greater than `through`

  [[nodiscard]] std::uint64_t count() const;
  [[nodiscard]] bool empty() const { return ranges_.empty(); }
  [[nodiscard]] std::uint64_t greatest() const;  // 0: empty

  // First to last, disjoint, ascending.
  [[nodiscard]] const std::map<std::uint64_t, std::uint64_t>& ranges() const { return ranges_; }

 private:
  std::map<std::uint64_t, std::uint64_t> ranges_;
};

}  // namespace turnstile::check
