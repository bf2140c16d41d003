#include "tests/campaigns/simulation_disks.h"

#include <algorithm>

namespace turnstile::simulation {
namespace {

using namespace std::chrono_literals;

constexpr auto kAskEvery = 100ms;

std::size_t bytes_of(const JournalDisk::Batch& batch) {
  return batch.header.size() + batch.rows.size();
}

}  // namespace

// ---- the journal

SimulatedJournal::SimulatedJournal(JournalDisk& disk, Host& host, std::size_t limit)
    : disk_(disk), host_(host), limit_(limit) {
  count();
}

void SimulatedJournal::count() {
  batches_ = disk_.batches.size();
  rows_ = 0;
  bytes_ = 0;
  last_offset_ = disk_.last_offset;
  removed_.clear();
  for (const auto& [offset, batch] : disk_.batches) {
    rows_ += batch.last - batch.first + 1;
    bytes_ += bytes_of(batch);
    last_offset_ = std::max(last_offset_, offset);
  }
}

Result<void> SimulatedJournal::check_usable() const {
  if (broken_) {
    return fail(Errc::io, "the journal failed to sync and was not opened anew since");
  }
  if (host_.now() < disk_.unreadable_until) {
    return fail(Errc::io, "the journal cannot be read");
  }
  return {};
}

Result<void> SimulatedJournal::commit(Transaction&& transaction) {
  const Fate fate = disk_.syncs.next();
  host_.pass(host_.sync_time());
  switch (fate) {
    case Fate::good:
      apply(std::move(transaction));
      return {};
    case Fate::full:
      return fail(Errc::full, "no space is left for the journal");
    case Fate::lost:
      break;
    case Fate::kept:
      apply(std::move(transaction));
      break;
    case Fate::dies_after:
      apply(std::move(transaction));
      throw ProcessDied{};
    case Fate::dies_before:
      throw ProcessDied{};
  }
  broken_ = true;
  return fail(Errc::io, "the journal failed to sync");
}

void SimulatedJournal::apply(Transaction&& transaction) {
  for (const std::uint64_t offset : transaction.removed) {
    disk_.last_offset = std::max(disk_.last_offset, offset);
    disk_.batches.erase(offset);
  }
  for (auto& [offset, batch] : transaction.added) {
    disk_.batches.emplace_hint(disk_.batches.end(), offset, std::move(batch));
  }
  if (transaction.epoch) {
    disk_.epochs[transaction.epoch->first] = transaction.epoch->second;
  }
}

Result<std::vector<Offset>> SimulatedJournal::store(
    const std::vector<const broker::Held*>& batches) {
  if (auto usable = check_usable(); !usable) {
    return tl::make_unexpected(usable.error());
  }
  Transaction transaction;
  transaction.removed = removed_;
  std::vector<Offset> offsets;
  std::uint64_t offset = last_offset_;
  std::uint64_t rows = 0;
  std::uint64_t bytes = 0;
  for (const broker::Held* held : batches) {
    JournalDisk::Batch batch{held->producer.text, held->first.value, held->last.value,
                             held->header_frame,  held->rows_frame,  host_.now()};
    bytes += bytes_of(batch);
    rows += batch.last - batch.first + 1;
    offsets.push_back({++offset});
    transaction.added.emplace_back(offset, std::move(batch));
  }
  if (bytes > room() && bytes_ > 0) {
    return fail(Errc::full, "the journal is at its limit");
  }
  if (auto committed = commit(std::move(transaction)); !committed) {
    return tl::make_unexpected(committed.error());
  }
  removed_.clear();
  last_offset_ = offset;
  batches_ += batches.size();
  rows_ += rows;
  bytes_ += bytes;
  return offsets;
}

Result<broker::DurableStore::Read> SimulatedJournal::read(Offset from, Offset last,
                                                          std::size_t max_bytes, TimePoint now) {
  if (auto usable = check_usable(); !usable) {
    return tl::make_unexpected(usable.error());
  }
  Read out;
  out.through = last;
  std::size_t bytes = 0;
  for (auto at = disk_.batches.lower_bound(from.value);
       at != disk_.batches.end() && at->first <= last.value; ++at) {
    if (bytes >= max_bytes) {
      out.through = out.batches.back().offset.value();
      break;
    }
    const auto& batch = at->second;
    bytes += bytes_of(batch);
    out.batches.push_back({ProducerId{batch.producer}, Sequence{batch.first}, Sequence{batch.last},
                           batch.header, batch.rows, Offset{at->first}, std::min(now, batch.stored),
                           Ticket{}});
  }
  return out;
}

void SimulatedJournal::remove(const broker::Window::Settled& settled) {
  removed_.push_back(settled.remove->value);
  --batches_;
  rows_ -= settled.rows;
  bytes_ -= settled.bytes;
}

bool SimulatedJournal::wants_trim() const {
  return has_removed() && (batches_ == 0 || removed_.size() >= 8);
}

Result<void> SimulatedJournal::trim() {
  if (auto usable = check_usable(); !usable) {
    return usable;
  }
  Transaction transaction;
  transaction.removed = removed_;
  auto committed = commit(std::move(transaction));
  if (committed) {
    removed_.clear();
  }
  return committed;
}

Result<Epoch> SimulatedJournal::epoch(const ProducerId& producer) {
  if (auto usable = check_usable(); !usable) {
    return tl::make_unexpected(usable.error());
  }
  const auto found = disk_.epochs.find(producer.text);
  return Epoch{found == disk_.epochs.end() ? 0 : found->second};
}

Result<void> SimulatedJournal::set_epoch(const ProducerId& producer, Epoch epoch) {
  if (auto usable = check_usable(); !usable) {
    return usable;
  }
  Transaction transaction;
  transaction.epoch = {producer.text, epoch.value};
  return commit(std::move(transaction));
}

Result<void> SimulatedJournal::reopen() {
  broken_ = true;
  if (host_.now() < disk_.unreadable_until) {
    return fail(Errc::io, "the journal cannot be opened");
  }
  broken_ = false;
  count();
  return {};
}

Result<broker::DurableStore::Contents> SimulatedJournal::contents() {
  if (auto usable = check_usable(); !usable) {
    return tl::make_unexpected(usable.error());
  }
  Contents contents;
  if (!disk_.batches.empty()) {
    contents.range = {Offset{disk_.batches.begin()->first}, Offset{disk_.batches.rbegin()->first}};
  }
  for (const auto& [offset, batch] : disk_.batches) {
    const auto known =
        std::find_if(contents.producers.begin(), contents.producers.end(),
                     [&id = batch.producer](const auto& kept) { return kept.producer.text == id; });
    if (known == contents.producers.end()) {
      contents.producers.push_back({ProducerId{batch.producer}, Sequence{batch.last}, 1});
    } else {
      known->last = std::max(known->last, Sequence{batch.last});
      ++known->batches;
    }
  }
  return contents;
}

// ---- the target

// Promise 8.
void SimulatedTarget::check_usable() {
  if (broken_) {
    host_.violated("the target is used on after a failed sync, without being opened anew");
  }
}

bool SimulatedTarget::is_held() const {
  return (disk_.writer != nullptr && disk_.writer != this) || host_.now() < disk_.locked_until;
}

Result<void> SimulatedTarget::lock() {
  Duration waited{0};
  while (is_held()) {
    if (waited >= options_.busy_timeout || !options_.while_waiting()) {
      return fail(Errc::locked, "the target is locked");
    }
    host_.pass(kAskEvery);
    waited += kAskEvery;
  }
  disk_.writer = this;
  open_ = true;
  return {};
}

void SimulatedTarget::unlock() {
  staged_.clear();
  rows_.clear();
  open_ = false;
  if (disk_.writer == this) {
    disk_.writer = nullptr;
  }
}

Result<void> SimulatedTarget::sync() {
  const Fate fate = disk_.syncs.next();
  host_.pass(host_.sync_time());
  switch (fate) {
    case Fate::good:
      write();
      unlock();
      return {};
    case Fate::full:
      unlock();
      return fail(Errc::full, "no space is left for the target");
    case Fate::lost:
      break;
    case Fate::kept:
      write();
      break;
    case Fate::dies_after:
      write();
      throw ProcessDied{};
    case Fate::dies_before:
      throw ProcessDied{};
  }
  unlock();
  broken_ = true;
  return fail(Errc::io, "the target failed to sync");
}

void SimulatedTarget::write() {
  disk_.generation = std::max(disk_.generation, generation_);
  for (auto& [producer, record] : staged_) {
    save(producer, std::move(record));
  }
  disk_.on_commit(generation_, rows_);
}

Result<Generation> SimulatedTarget::take_over() {
  check_usable();
  if (auto locked = lock(); !locked) {
    return tl::make_unexpected(locked.error());
  }
  generation_ = disk_.generation + 1;
  if (auto synced = sync(); !synced) {
    return tl::make_unexpected(synced.error());
  }
  return Generation{generation_};
}

Result<void> SimulatedTarget::begin() {
  check_usable();
  rollback();
  if (auto caught_up = catch_up_text_log(); !caught_up) {
    return caught_up;
  }
  if (auto locked = lock(); !locked) {
    return locked;
  }
  if (is_fenced()) {
    unlock();
    return fail(Errc::fenced, "another consumer writes the target");
  }
  return {};
}

TargetDisk::Producer& SimulatedTarget::staged(const std::string& producer) {
  const auto found = staged_.find(producer);
  if (found != staged_.end()) {
    return found->second;
  }
  const auto on_disk = disk_.producers.find(producer);
  return staged_[producer] =
             on_disk == disk_.producers.end() ? TargetDisk::Producer{} : on_disk->second;
}

std::uint64_t SimulatedTarget::known_rows(const BatchHeader& header, std::uint64_t through) const {
  return std::min<std::uint64_t>(header.rows, through + 1 - header.first.value);
}

Result<store::BatchOutcome> SimulatedTarget::apply(const BatchHeader& header,
                                                   const Bytes& rows_frame) {
  check_usable();
  if (!open_) {
    host_.violated("rows are applied without a transaction");
  }
  auto& record = staged(header.producer.text);
  store::BatchOutcome outcome;
  outcome.through = {record.through};
  if (header.epoch.value < record.epoch) {
    outcome.outcome = Outcome::fenced;
    return outcome;
  }
  if (!record.source.empty() && header.source != record.source) {
    outcome.outcome = Outcome::other_source;
    return outcome;
  }
  if (header.first.value > record.through + 1) {
    outcome.outcome = Outcome::hole;
    return outcome;
  }
  if (auto decoded = decode_rows(rows_frame.view(), header.rows, decoded_); !decoded) {
    host_.violated("rows that no producer sent: " + decoded.error().what);
  }
  record.epoch = header.epoch.value;
  record.source = header.source;
  for (std::uint64_t i = known_rows(header, record.through); i < header.rows; ++i) {
    const std::uint64_t sequence = header.first.value + i;
    const auto row = decoded_.row(i);
    CommittedRow committed{header.producer.text, header.epoch.value,
                           static_cast<std::uint64_t>(std::get<std::int64_t>(row[0])),
                           static_cast<std::uint64_t>(std::get<std::int64_t>(row[1])), false};
    committed.dead = is_refused(committed.content);
    if (committed.dead) {
      record.dead.push_back(sequence);
      ++outcome.dead_now;
    } else {
      ++outcome.rows_applied;
    }
    rows_.push_back(std::move(committed));
    record.through = std::max(record.through, sequence);
  }
  outcome.through = {record.through};
  for (const std::uint64_t dead : record.dead) {
    if (dead >= header.first.value && dead <= header.last().value) {
      ++outcome.dead_count;
      outcome.dead.push_back({{dead}, "refused"});
    }
  }
  return outcome;
}

Result<void> SimulatedTarget::commit() {
  check_usable();
  if (!open_) {
    host_.violated("a commit without a transaction");
  }
  if (auto synced = sync(); !synced) {
    return synced;
  }
  if (host_.now() < disk_.text_full_until) {
    text_error_ = Error{Errc::full, "no space is left for the text log", ""};
  }
  return {};
}

void SimulatedTarget::rollback() {
  unlock();
}

Result<void> SimulatedTarget::catch_up_text_log() {
  check_usable();
  if (host_.now() >= disk_.text_full_until) {
    text_error_.reset();
  }
  return text_error_ ? Result<void>(tl::make_unexpected(*text_error_)) : Result<void>();
}

Result<Progress> SimulatedTarget::progress(const ProducerId& producer, Sequence since) {
  check_usable();
  if (open_) {
    host_.violated("progress is told from within a transaction");
  }
  Progress progress;
  const auto found = disk_.producers.find(producer.text);
  if (found == disk_.producers.end()) {
    return progress;
  }
  const auto& record = found->second;
  progress.known = true;
  progress.epoch = {record.epoch};
  progress.through = {record.through};
  progress.source = record.source;
  for (const std::uint64_t dead : record.dead) {
    if (dead > since.value) {
      ++progress.dead_count;
      progress.dead.push_back({{dead}, "refused"});
    }
  }
  return progress;
}

Result<TableAnswer> SimulatedTarget::check_table(const std::string& /*table*/,
                                                 const std::vector<std::string>& /*columns*/) {
  if (auto begun = begin(); !begun) {
    return tl::make_unexpected(begun.error());
  }
  if (auto committed = commit(); !committed) {
    return tl::make_unexpected(committed.error());
  }
  return TableAnswer{0, TableState::ready, ""};
}

Result<void> SimulatedTarget::housekeeping() {
  check_usable();
  return catch_up_text_log();
}

}  // namespace turnstile::simulation
