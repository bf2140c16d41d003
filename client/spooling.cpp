#include "client/spooling.h"

#include <cassert>
#include <string>
#include <utility>

namespace turnstile {
namespace {

constexpr std::size_t kGroupBytes = std::size_t{1024} * 1024;  // or of so many bytes
constexpr std::size_t kFeedBytes = std::size_t{256} * 1024;    // read at once

}  // namespace

void Spooling::add(Batch batch, TimePoint now, std::string input) {
  assert(batch.header.first == next(last()));
  if (gathered_.empty()) {
    gathered_since_ = now;
  }
  gathered_bytes_ += batch.rows_frame.size();
  gathered_.push_back(std::move(batch));
  input_ = std::move(input);
}

Sequence Spooling::last() const {
  return gathered_.empty() ? spool_.last() : gathered_.back().header.last();
}

bool Spooling::is_due(TimePoint now) const {
  return !gathered_.empty() &&
         (gathered_bytes_ >= kGroupBytes || now - gathered_since_ >= kGroupTime);
}

Result<void> Spooling::store() {
  if (gathered_.empty()) {
    return {};
  }
  auto stored = spool_.store(gathered_, input_);
  if (stored) {
    gathered_.clear();
    gathered_bytes_ = 0;
  }
  return stored;
}

Result<void> Spooling::begin_behind(Sequence welcomed_through) {
  const std::string spool = "the spool " + spool_.path().string();
  const std::string name = "'" + spool_.producer().text + "'";
  if (welcomed_through > spool_.last()) {
    return fail(Errc::refused,
                "rows of " + name + " are known through " + std::to_string(welcomed_through.value) +
                    ", and " + spool + " gave numbers only through " +
                    std::to_string(spool_.last().value),
                "is it an old copy? Begin anew with another --resume name and another --spool");
  }
  if (welcomed_through < spool_.dropped()) {
    return fail(Errc::refused,
                "rows of " + name + " through " + std::to_string(spool_.dropped().value) +
                    " were acknowledged and have left " + spool +
                    ", and the broker knows of them only through " +
                    std::to_string(welcomed_through.value),
                "was its journal removed? Begin anew with another --resume name and another "
                "--spool");
  }
  fed_ = welcomed_through;
  return {};
}

Result<bool> Spooling::feed(Resend& resend, Sequence welcomed_through, std::size_t max_bytes) {
  if (!fed_) {
    if (auto begun = begin_behind(welcomed_through); !begun) {
      return tl::make_unexpected(begun.error());
    }
  }
  bool has_fed = false;
  while (*fed_ < spool_.last() && resend.held_bytes() < max_bytes) {
    auto batches = spool_.read(*fed_, kFeedBytes);
    if (!batches) {
      return tl::make_unexpected(batches.error());
    }
    if (batches->empty()) {
      return fail(Errc::corrupt, "the spool " + spool_.path().string() + " lacks row " +
                                     std::to_string(fed_->value + 1));
    }
    for (auto& batch : *batches) {
      fed_ = batch.header.last();
      resend.add(std::move(batch));
    }
    has_fed = true;
  }
  return has_fed;
}

}  // namespace turnstile
