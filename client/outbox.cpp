#include "client/outbox.h"

#include <algorithm>
#include <cassert>
#include <utility>

#include <fmt/format.h>

#include "base/counted.h"

namespace turnstile {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kTableAnswer{5000};
constexpr milliseconds kSpoolTableAnswer{300};  // rows are taken with or without a broker

// While rows come fast, one sync covers the rows of this time, or this many bytes.
constexpr milliseconds kGroupTime{20};
constexpr std::size_t kGroupBytes = std::size_t{1024} * 1024;
constexpr std::size_t kFeedBytes = std::size_t{256} * 1024;  // of one read from the spool

Result<void> ignore_full(Result<void> result) {
  return !result && result.error().code == Errc::full ? Result<void>() : std::move(result);
}

class MemoryOutbox final : public Outbox {
 public:
  MemoryOutbox(Resend& resend, OutboxOptions options) : Outbox(resend, std::move(options)) {}

  [[nodiscard]] bool is_durable() const override { return false; }
  Result<std::string> start(const std::string& source) override { return source; }
  Result<std::vector<Sequence>> definitions() override { return {}; }
  [[nodiscard]] milliseconds table_answer_timeout() const override { return kTableAnswer; }

  void add(Batch batch, TimePoint /*since*/, std::string source) override {
    batch.header.source = std::move(source);
    resend_.add(std::move(batch));
  }
  [[nodiscard]] Sequence last() const override { return resend_.last(); }
  [[nodiscard]] bool is_idle() const override { return !resend_.has_held(); }
  [[nodiscard]] bool is_full() const override {
    return resend_.held_bytes() > std::min(options_.max_bytes, resend_.bytes_ahead());
  }
  [[nodiscard]] bool is_store_due(std::optional<TimePoint> /*rows_since*/) const override {
    return false;
  }
  Result<void> store() override { return {}; }

  Result<bool> feed() override { return false; }
  [[nodiscard]] Sequence acknowledged() const override { return acknowledged_on_link(); }
  Result<void> drop_acknowledged() override { return {}; }
  Result<void> make_room() override { return {}; }

  [[nodiscard]] Sequence unacknowledged_after() const override {
    return std::max(acknowledged(), resend_.begun_after());
  }
  [[nodiscard]] Sequence spooled_through() const override { return {}; }
  void explain(Error& error, std::uint64_t /*rows_spooled*/) const override {
    error.hint = "what is stored is applied later: do not send it again; --timeout waits longer";
  }
};

class SpoolOutbox final : public Outbox {
 public:
  SpoolOutbox(Spool& spool, Resend& resend, OutboxOptions options)
      : Outbox(resend, std::move(options)), spool_(spool) {}

  [[nodiscard]] bool is_durable() const override { return true; }
  Result<std::string> start(const std::string& source) override;
  Result<std::vector<Sequence>> definitions() override { return spool_.definitions(); }
  [[nodiscard]] milliseconds table_answer_timeout() const override { return kSpoolTableAnswer; }

  void add(Batch batch, TimePoint since, std::string source) override;
  [[nodiscard]] Sequence last() const override {
    return gathered_.empty() ? spool_.last() : gathered_.back().header.last();
  }
  [[nodiscard]] bool is_idle() const override { return false; }
  [[nodiscard]] bool is_full() const override { return false; }
  [[nodiscard]] bool is_store_due(std::optional<TimePoint> rows_since) const override;
  Result<void> store() override;

  Result<bool> feed() override;
  [[nodiscard]] Sequence acknowledged() const override {
    return std::max(acknowledged_on_link(),
                    options_.ack == Ack::stored ? spool_.dropped() : spool_.applied());
  }
  Result<void> drop_acknowledged() override { return ignore_full(drop()); }
  Result<void> make_room() override {
    return ignore_full(drop().and_then([this] { return spool_.trim(); }));
  }

  [[nodiscard]] Sequence unacknowledged_after() const override { return acknowledged(); }
  [[nodiscard]] Sequence spooled_through() const override { return spool_.last(); }
  void explain(Error& error, std::uint64_t rows_spooled) const override;

 private:
  Result<void> drop() { return spool_.drop(acknowledged(), resend_.applied_through()); }
  [[nodiscard]] Result<void> check_welcome(Sequence through) const;

  Spool& spool_;
  std::vector<Batch> gathered_;  // not stored yet
  std::size_t gathered_bytes_ = 0;
  std::string source_;  // of the last of them
  TimePoint gathered_since_;
  std::optional<Sequence> fed_;  // Resend got rows through here; nothing before the first welcome
};

Result<std::string> SpoolOutbox::start(const std::string& source) {
  if (spool_.input().empty() && !source.empty()) {
    if (auto set = spool_.set_input(source); !set) {
      return tl::make_unexpected(set.error());
    }
  }
  return spool_.input();
}

void SpoolOutbox::add(Batch batch, TimePoint since, std::string source) {
  assert(batch.header.first == next(last()));
  batch.header.source = spool_.id();
  if (gathered_.empty()) {
    gathered_since_ = since;
  }
  gathered_bytes_ += batch.rows_frame.size();
  gathered_.push_back(std::move(batch));
  source_ = std::move(source);
}

bool SpoolOutbox::is_store_due(std::optional<TimePoint> rows_since) const {
  const TimePoint now = options_.clock();
  const bool is_due =
      !gathered_.empty() && (gathered_bytes_ >= kGroupBytes || now - gathered_since_ >= kGroupTime);
  return is_due || (rows_since && now - *rows_since >= kGroupTime);
}

Result<void> SpoolOutbox::store() {
  if (gathered_.empty()) {
    return {};
  }
  auto stored = spool_.store(gathered_, source_);
  if (stored) {
    gathered_.clear();
    gathered_bytes_ = 0;
  }
  return stored;
}

Result<void> SpoolOutbox::check_welcome(Sequence through) const {
  const std::string spool = "the spool " + spool_.path().string();
  const std::string name = "'" + spool_.producer().text + "'";
  if (through > spool_.last()) {
    return fail(Errc::refused,
                fmt::format("rows of {} are known through {}, and {} gave numbers only through {}",
                            name, through.value, spool, spool_.last().value),
                "is it an old copy? Start again with another --resume name and another --spool");
  }
  if (through < spool_.dropped()) {
    return fail(Errc::refused,
                fmt::format("rows of {} through {} were acknowledged and deleted from {}, and the "
                            "broker knows of them only through {}",
                            name, spool_.dropped().value, spool, through.value),
                "was its journal removed? Start again with another --resume name and another "
                "--spool");
  }
  return {};
}

Result<bool> SpoolOutbox::feed() {
  if (!fed_) {
    const Sequence welcomed_through = resend_.begun_after();
    if (auto checked = check_welcome(welcomed_through); !checked) {
      return tl::make_unexpected(checked.error());
    }
    fed_ = welcomed_through;
  }
  bool has_fed = false;
  while (*fed_ < spool_.last() && resend_.held_bytes() < options_.max_bytes) {
    auto batches = spool_.read(*fed_, kFeedBytes);
    if (!batches) {
      return tl::make_unexpected(batches.error());
    }
    if (batches->empty()) {
      return fail(Errc::corrupt, fmt::format("the spool {} lacks row {}", spool_.path().string(),
                                             fed_->value + 1));
    }
    for (auto& batch : *batches) {
      fed_ = batch.header.last();
      resend_.add(std::move(batch));
    }
    has_fed = true;
  }
  return has_fed;
}

void SpoolOutbox::explain(Error& error, std::uint64_t rows_spooled) const {
  if (rows_spooled > 0) {
    error.what +=
        fmt::format("; {} {} kept in {} and sent by the next start", counted(rows_spooled, "row"),
                    is_or_are(rows_spooled), spool_.path().string());
  }
  error.hint = "do not hand the same rows over again";
}

}  // namespace

std::unique_ptr<Outbox> Outbox::make(Spool* spool, Resend& resend, OutboxOptions options) {
  if (spool == nullptr) {
    return std::make_unique<MemoryOutbox>(resend, std::move(options));
  }
  return std::make_unique<SpoolOutbox>(*spool, resend, std::move(options));
}

Sequence Outbox::acknowledged_on_link() const {
  return options_.ack == Ack::stored ? resend_.stored_through() : resend_.applied_through();
}

void set_for_spool(SessionOptions& session, const Spool& spool) {
  session.named = true;
  session.known = spool.applied();
  session.source = spool.id();
  session.timeout = milliseconds(0);
  session.if_no_broker = IfNoBroker::wait;
}

}  // namespace turnstile
