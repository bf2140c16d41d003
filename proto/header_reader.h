// Reads the fields of a header frame in order, with their limits. The first fault is kept as
// problem(), and everything after it reads as empty. Fields after the known ones are skipped, so
// that a later version can add some.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "proto/ids.h"
#include "proto/messages.h"
#include "proto/msgpack_reader.h"

namespace turnstile {

class HeaderReader {
 public:
  explicit HeaderReader(std::string_view frame);

  std::uint64_t number(const char* name,
                       std::uint64_t max = std::numeric_limits<std::uint64_t>::max());
  std::uint32_t count(const char* name,
                      std::uint32_t max = std::numeric_limits<std::uint32_t>::max());
  // One of `first` to `last`.
  template <typename Enum>
  Enum choice(const char* name, Enum first, Enum last) {
    const auto value = number(name, static_cast<std::uint64_t>(last));
    if (ok() && value < static_cast<std::uint64_t>(first)) {
      note(std::string(name) + " is " + std::to_string(value));
    }
    return ok() ? static_cast<Enum>(value) : first;
  }
  bool boolean(const char* name);
  // UTF-8 without NUL.
  std::string text(const char* name, std::size_t max_bytes);
  std::vector<std::string> texts(const char* name, std::size_t max_count, std::size_t max_bytes);
  Sequence sequence(const char* name);
  Epoch epoch();
  ProducerId producer();
  std::vector<DeadRow> dead();

  // Calls `read_one` for each element of an array; it reads one field.
  template <typename ReadOne>
  void each(const char* name, std::uint64_t max_count, ReadOne&& read_one) {
    const std::uint64_t outer = std::exchange(left_, array(name, max_count));
    while (ok() && left_ > 0) {
      read_one();
    }
    left_ = outer;
  }

  // Calls `read_fields` for an array of fields.
  template <typename ReadFields>
  void record(const char* name, ReadFields&& read_fields) {
    const std::uint64_t outer =
        std::exchange(left_, array(name, std::numeric_limits<std::uint64_t>::max()));
    read_fields();
    skip_rest();
    left_ = outer;
  }

  // Whether the innermost array has another field, for those that may be missing.
  [[nodiscard]] bool has_more() const { return ok() && left_ > 0; }
  // Passes over what was not asked for. Call last.
  void finish();

  void note(std::string problem);
  [[nodiscard]] bool ok() const { return problem_.empty(); }
  [[nodiscard]] const std::string& problem() const { return problem_; }

 private:
  // The next field if it is of this kind.
  Element take(const char* name, Element::Kind kind, const char* expected);
  std::uint64_t array(const char* name, std::uint64_t max_count);
  void skip_rest();

  MsgpackReader in_;
  std::uint64_t left_ = 0;  // fields of the innermost array
  std::string problem_;
};

}  // namespace turnstile
