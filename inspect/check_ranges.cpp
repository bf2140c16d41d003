#include "inspect/check_ranges.h"

#include <algorithm>
#include <iterator>

namespace turnstile::check {

void Ranges::add(std::uint64_t first, std::uint64_t last) {
  auto at = ranges_.upper_bound(first);
  if (at != ranges_.begin() && std::prev(at)->second + 1 >= first) {
    --at;
    first = at->first;
    last = std::max(last, at->second);
  }
  while (at != ranges_.end() && at->first <= last + 1) {
    last = std::max(last, at->second);
    at = ranges_.erase(at);
  }
  ranges_.emplace_hint(at, first, last);
}

void Ranges::add(const Ranges& other) {
  for (const auto& [first, last] : other.ranges_) {
    add(first, last);
  }
}

Ranges Ranges::minus(const Ranges& other) const {
  Ranges left;
  for (const auto& [begin, last] : ranges_) {
    std::uint64_t first = begin;
    auto cut = other.ranges_.upper_bound(first);
    if (cut != other.ranges_.begin()) {
      --cut;
    }
    for (; cut != other.ranges_.end() && cut->first <= last && first <= last; ++cut) {
      if (cut->second < first) {
        continue;
      }
      if (cut->first > first) {
        left.add(first, cut->first - 1);
      }
      first = cut->second + 1;
    }
    if (first <= last) {
      left.add(first, last);
    }
  }
  return left;
}

Ranges Ranges::behind(std::uint64_t through) const {
  if (through == 0) {
    return *this;
  }
  Ranges before;
  before.add(1, through);
  return minus(before);
}

std::uint64_t Ranges::count() const {
  std::uint64_t rows = 0;
  for (const auto& [first, last] : ranges_) {
    rows += last - first + 1;
  }
  return rows;
}

std::uint64_t Ranges::greatest() const {
  return ranges_.empty() ? 0 : ranges_.rbegin()->second;
}

}  // namespace turnstile::check
