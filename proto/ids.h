// The identifiers of the wire and of the disk, as types that cannot be swapped.
#pragma once

#include <compare>
#include <cstdint>
#include <string>

namespace turnstile {

// Number of a row within its producer: from 1, no holes. 0 stands for "none yet".
struct Sequence {
  std::uint64_t value = 0;
  auto operator<=>(const Sequence&) const = default;
};

inline Sequence next(Sequence s) {
  return {s.value + 1};
}
inline Sequence plus(Sequence s, std::uint64_t rows) {
  return {s.value + rows};
}

// Which process of a named producer: a newer one (greater) fences an older one. 0 asks for a new
// one.
struct Epoch {
  std::uint64_t value = 0;
  auto operator<=>(const Epoch&) const = default;
};

// A batch's place in the journal: from 1, in order of storing.
struct Offset {
  std::uint64_t value = 0;
  auto operator<=>(const Offset&) const = default;
};

// Names one hand-over of a batch from a broker to a consumer; means nothing after either restarts.
struct Ticket {
  std::uint64_t value = 0;
  auto operator<=>(const Ticket&) const = default;
};

// Which holder of the consumer's lease; counted by one broker.
struct Lease {
  std::uint64_t value = 0;
  auto operator<=>(const Lease&) const = default;
};

// Which writer of a target: written in the target, counted by it (promise 4).
struct Generation {
  std::uint64_t value = 0;
  auto operator<=>(const Generation&) const = default;
};

// Who sends: 32 hexadecimal digits of a 128-bit random id, or a name given with --resume.
// Valid: 1 to 64 of A-Z a-z 0-9 . _ - (is_valid_producer_id).
struct ProducerId {
  std::string text;
  auto operator<=>(const ProducerId&) const = default;
};

bool is_valid_producer_id(const std::string& text);
// 32 hexadecimal digits.
bool is_random_id(const std::string& text);

}  // namespace turnstile

template <>
struct std::hash<turnstile::ProducerId> {
  std::size_t operator()(const turnstile::ProducerId& id) const noexcept {
    return std::hash<std::string>{}(id.text);
  }
};
