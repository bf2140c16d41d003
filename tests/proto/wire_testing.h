// What the tests of the wire share: bytes written by hand, messages made at random, and what a
// message says, as text.
#pragma once

#include <cstddef>
#include <cstdint>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "proto/messages.h"

namespace turnstile::testing {

// "DD 00 00 00 01" as bytes; what is no hexadecimal digit is passed over.
std::string from_hex(std::string_view digits);

// `length` bytes, big-endian.
std::string big_endian(std::uint64_t value, std::size_t length);

// MessagePack by hand, of what a test needs: always in the longest form, which encode() never uses
// for small values, so that both forms are read.
namespace pack {
std::string array(std::uint64_t count);
std::string number(std::uint64_t value);
std::string text(std::string_view value);
std::string boolean(bool value);
std::string nil();
}  // namespace pack

class Random {
 public:
  explicit Random(std::uint64_t seed) : engine_(seed) {}

  // 0 to bound - 1
  std::uint64_t below(std::uint64_t bound) {
    return std::uniform_int_distribution<std::uint64_t>(0, bound - 1)(engine_);
  }
  bool chance() { return below(2) == 0; }
  // Of any length of bits, up to `max`.
  std::uint64_t number(std::uint64_t max);
  std::string text(std::size_t max_bytes);

 private:
  std::mt19937_64 engine_;
};

// Another one each time, printed; a failure is played again with TURNSTILE_TEST_SEED.
std::uint64_t chosen_seed();

constexpr std::size_t kMessageTypes = std::variant_size_v<Message>;

// Any message that an encoder may send, of the type at `index` of Message.
Message random_message(std::size_t index, Random& random);

// Each field of a message, by name.
std::string describe(const Message& message);

// A batch of one row for a table of two columns.
BatchHeader small_header();

// The fields of small_header() as pack'ed text, for tests that replace one.
std::vector<std::string> small_header_fields();
std::string header_of(const std::vector<std::string>& fields);

Frames frames(std::vector<std::string> texts);

}  // namespace turnstile::testing
