#include <chrono>
#include <map>
#include <utility>

#include <fmt/format.h>

#include "base/counted.h"
#include "cli/dead_letters.h"
#include "client/identity.h"
#include "client/producer.h"
#include "proto/limits.h"
#include "store/schema.h"

namespace turnstile::dead_letters {
namespace {

// The first value of each row says which dead letter is meant; a retry's others are the row.
Result<Sequence> append(Producer& producer, const Change& change) {
  std::vector<ValueRef> values{change.letter.id};
  if (change.row) {
    values.insert(values.end(), change.row->begin(), change.row->end());
    producer.into(change.letter.table, change.letter.columns, BatchKind::retry);
  } else {
    producer.into(std::string(store::schema::kDeadLetters), {"id"}, BatchKind::discard);
  }
  return producer.append(std::span<const ValueRef>(values));
}

}  // namespace

Result<std::vector<Outcome>> send(Link& link, const std::vector<Change>& changes,
                                  const SendOptions& options) {
  std::map<Sequence, std::string> refused;
  ProducerOptions of_producer;
  of_producer.id = random_producer_id();
  of_producer.timeout = options.timeout;
  of_producer.peer = options.peer;
  of_producer.if_no_broker = IfNoBroker::fail;
  of_producer.interrupted = options.interrupted;
  of_producer.on_dead = [&](const DeadRow& dead) { refused.emplace(dead.sequence, dead.reason); };
  Producer producer(link, std::move(of_producer));
  if (auto started = producer.start(); !started) {
    return tl::make_unexpected(std::move(started.error()));
  }
  std::vector<Sequence> sequences;
  for (const Change& change : changes) {
    auto sequence = append(producer, change);
    if (!sequence) {
      return tl::make_unexpected(std::move(sequence.error()));
    }
    sequences.push_back(*sequence);
    // One answer names no more refused rows than that.
    const bool full = sequences.size() % limits::kDeadListed == 0;
    auto settled = full ? producer.settle() : Result<bool>(true);
    if (settled && *settled && sequences.size() == changes.size()) {
      settled = producer.finish();
    }
    if (!settled || !*settled) {
      const Summary summary = producer.summary();
      const std::uint64_t done = summary.applied + summary.dead_count;
      Error error = settled ? Error{Errc::unreachable, "interrupted", ""} : settled.error();
      error.what =
          fmt::format("{} of {} {} dealt with; {}", done, counted(changes.size(), "dead letter"),
                      was_or_were(done), error.what);
      error.hint = "what is stored happens later, and what is asked for twice happens once";
      return tl::make_unexpected(std::move(error));
    }
  }
  std::vector<Outcome> outcomes;
  for (std::size_t i = 0; i < changes.size(); ++i) {
    const auto reason = refused.find(sequences[i]);
    outcomes.push_back(
        {changes[i].letter.id, reason == refused.end() ? std::string() : reason->second});
  }
  return outcomes;
}

}  // namespace turnstile::dead_letters
