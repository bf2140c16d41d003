#include "proto/header_reader.h"

#include "base/utf8.h"
#include "proto/limits.h"

namespace turnstile {
namespace {

using Kind = Element::Kind;

// How deep a field that nobody here knows may be nested.
constexpr int kUnknownDepth = 4;

std::string above(const char* name, std::uint64_t value, const char* unit, std::uint64_t max) {
  return std::string(name) + " has " + std::to_string(value) + " " + unit +
         ", above the limit of " + std::to_string(max);
}

}  // namespace

HeaderReader::HeaderReader(std::string_view frame) : in_(frame) {
  if (frame.size() > limits::kHeaderBytes) {
    note(above("header", frame.size(), "bytes", limits::kHeaderBytes));
    return;
  }
  left_ = 1;
  left_ = array("header", std::numeric_limits<std::uint64_t>::max());
}

Element HeaderReader::take(const char* name, Kind kind, const char* expected) {
  if (!ok()) {
    return {};
  }
  if (left_ == 0) {
    note(std::string(name) + " is missing");
    return {};
  }
  --left_;
  const Element element = in_.next();
  if (element.kind == Kind::truncated || element.kind == Kind::invalid) {
    note(std::string(name) +
         (element.kind == Kind::truncated ? " is truncated" : " is not MessagePack"));
  } else if (element.kind != kind) {
    note(std::string(name) + " is not " + expected);
  }
  return element;
}

std::uint64_t HeaderReader::array(const char* name, std::uint64_t max_count) {
  const Element element = take(name, Kind::array, "an array");
  if (ok() && element.bits > max_count) {
    note(above(name, element.bits, "elements", max_count));
  }
  return ok() ? element.bits : 0;
}

std::uint64_t HeaderReader::number(const char* name, std::uint64_t max) {
  const Element element = take(name, Kind::positive, "an unsigned integer");
  if (ok() && element.bits > max) {
    note(std::string(name) + " is " + std::to_string(element.bits) + ", above the limit of " +
         std::to_string(max));
  }
  return ok() ? element.bits : 0;
}

std::uint32_t HeaderReader::count(const char* name, std::uint32_t max) {
  return static_cast<std::uint32_t>(number(name, max));
}

bool HeaderReader::boolean(const char* name) {
  return take(name, Kind::boolean, "true or false").bits == 1 && ok();
}

std::string HeaderReader::text(const char* name, std::size_t max_bytes) {
  const Element element = take(name, Kind::text, "a string");
  if (!ok()) {
    return {};
  }
  if (element.bits > max_bytes) {
    note(above(name, element.bits, "bytes", max_bytes));
    return {};
  }
  if (!is_text(element.bytes())) {
    note(std::string(name) + " is not UTF-8 text without NUL");
    return {};
  }
  return std::string(element.bytes());
}

std::vector<std::string> HeaderReader::texts(const char* name, std::size_t max_count,
                                             std::size_t max_bytes) {
  std::vector<std::string> out;
  each(name, max_count, [&] { out.push_back(text(name, max_bytes)); });
  return out;
}

Sequence HeaderReader::sequence(const char* name) {
  return {number(name, limits::kSequence)};
}

Epoch HeaderReader::epoch() {
  return {number("epoch", limits::kEpoch)};
}

ProducerId HeaderReader::producer() {
  ProducerId id{text("producer", limits::kProducerBytes)};
  if (ok() && !is_valid_producer_id(id.text)) {
    note("producer '" + id.text + "' is empty or has characters outside A-Z a-z 0-9 . _ -");
  }
  return id;
}

std::vector<DeadRow> HeaderReader::dead() {
  std::vector<DeadRow> out;
  each("dead", limits::kDeadListed, [&] {
    record("dead row", [&] {
      DeadRow row;
      row.sequence = sequence("sequence");
      row.reason = text("reason", limits::kReasonBytes);
      out.push_back(std::move(row));
    });
  });
  return out;
}

void HeaderReader::skip_rest() {
  for (; ok() && left_ > 0; --left_) {
    if (!in_.skip(kUnknownDepth)) {
      note("a field after the known ones is truncated, not MessagePack or nested too deeply");
    }
  }
}

void HeaderReader::finish() {
  skip_rest();
  if (ok() && !in_.at_end()) {
    note("header has bytes after its end");
  }
}

void HeaderReader::note(std::string problem) {
  if (problem_.empty()) {
    problem_ = std::move(problem);
  }
}

}  // namespace turnstile
