#include "inspect/check_journal.h"

#include <xxhash.h>

#include <algorithm>
#include <optional>
#include <string_view>
#include <utility>

#include <fmt/format.h>
#include <msgpack.hpp>

#include "base/counted.h"
#include "broker/journal_schema.h"

namespace turnstile::check {
namespace {

// What the header frame of a batch says: an array of the message's type, the producer id, its
// epoch, the first sequence, the number of rows, and five more that the journal has no columns for.
struct Header {
  std::string producer;
  std::uint64_t first = 0;
  std::uint64_t rows = 0;
};
constexpr std::uint64_t kBatchType = 4;
constexpr std::size_t kFields = 10;
constexpr std::size_t kColumns = 2'000;
constexpr std::size_t kHeaderBytes = std::size_t{1024} * 1024;

std::optional<std::uint64_t> number(const msgpack::object& value) {
  return value.type == msgpack::type::POSITIVE_INTEGER ? std::optional(value.via.u64)
                                                       : std::nullopt;
}

std::optional<Header> parse_header(std::string_view frame) {
  try {
    const msgpack::unpack_limit limit(kColumns, 0, kHeaderBytes, 0, 0, 3);
    std::size_t end = 0;
    const auto handle = msgpack::unpack(frame.data(), frame.size(), end, nullptr, nullptr, limit);
    const msgpack::object& header = handle.get();
    if (end != frame.size() || header.type != msgpack::type::ARRAY ||
        header.via.array.size != kFields) {
      return std::nullopt;
    }
    const msgpack::object* field = header.via.array.ptr;
    const auto first = number(field[3]);
    const auto rows = number(field[4]);
    if (number(field[0]) != kBatchType || field[1].type != msgpack::type::STR || !first || !rows) {
      return std::nullopt;
    }
    return Header{field[1].as<std::string>(), *first, *rows};
  } catch (const msgpack::unpack_error&) {
    return std::nullopt;
  }
}

struct Batch {
  std::uint64_t offset = 0;
  std::string producer;
  std::int64_t first = 0;
  std::int64_t last = 0;
};

// The checksum as JOURNAL.md describes it. It shares no code with the broker's, so that a mistake
// in one of them shows.
std::int64_t checksum(const Batch& batch, std::string_view header, std::string_view rows) {
  std::string range;
  for (const std::int64_t number : {batch.first, batch.last}) {
    for (int shift = 56; shift >= 0; shift -= 8) {
      range += static_cast<char>(static_cast<std::uint64_t>(number) >> shift);
    }
  }
  XXH64_hash_t hash = batch.offset;
  for (const std::string_view column :
       {std::string_view(batch.producer), std::string_view(range), header, rows}) {
    hash = XXH3_64bits_withSeed(column.data(), column.size(), hash);
  }
  return static_cast<std::int64_t>(hash);
}

// Why the batch is not what was stored; empty when it is.
std::string damage(const Query& row, const Batch& batch) {
  const std::string_view header_frame = row.bytes(5);
  if (checksum(batch, header_frame, row.bytes(6)) != row.integer(4)) {
    return "its checksum does not match";
  }
  if (batch.first < 1 || batch.last < batch.first) {
    return fmt::format("it has the sequences {} to {}", batch.first, batch.last);
  }
  const auto header = parse_header(header_frame);
  if (!header) {
    return "its header cannot be decoded";
  }
  const auto first = static_cast<std::uint64_t>(batch.first);
  const auto rows = static_cast<std::uint64_t>(batch.last - batch.first) + 1;
  if (header->producer != batch.producer || header->first != first || header->rows != rows) {
    return fmt::format(
        "its header says producer {}, {} from sequence {}; its columns say producer {}, {} from {}",
        header->producer, counted(header->rows, "row"), header->first, batch.producer,
        counted(rows, "row"), first);
  }
  return {};
}

// Promise 3: the consumer gets a producer's batches in this order, so each must follow.
void judge_order(const Batch& batch, ProducerReport& producer, Report& report) {
  const auto first = static_cast<std::uint64_t>(batch.first);
  const auto last = static_cast<std::uint64_t>(batch.last);
  const std::uint64_t reached = std::max(producer.through, producer.journaled.greatest());
  if (first > reached + 1) {
    report.add(
        Breach::journal,
        fmt::format("the journal, offset {}: producer {} continues with sequence {}, but {} to "
                    "{} are neither applied nor in the journal before it",
                    batch.offset, batch.producer, first, reached + 1, first - 1));
  }
  producer.journaled.add(first, last);
}

Result<void> read_batches(const Database& journal, Report& report) {
  auto rows = journal.query(
      "SELECT offset, producer, first, last, checksum, header, rows FROM batches ORDER BY offset");
  if (!rows) {
    return tl::make_unexpected(std::move(rows.error()));
  }
  JournalReport& figures = *report.journal;
  auto row = rows->next();
  for (; row && *row; row = rows->next()) {
    const Batch batch{static_cast<std::uint64_t>(rows->integer(0)), std::string(rows->bytes(1)),
                      rows->integer(2), rows->integer(3)};
    if (figures.batches++ == 0) {
      figures.first_offset = batch.offset;
    }
    figures.last_offset = batch.offset;
    if (const std::string why = damage(*rows, batch); !why.empty()) {
      ++figures.damaged;
      report.add(Breach::journal, fmt::format("the journal, offset {}: the batch is damaged: {}",
                                              batch.offset, why));
      continue;
    }
    figures.rows += static_cast<std::uint64_t>(batch.last - batch.first) + 1;
    judge_order(batch, report.producers[batch.producer], report);
  }
  return row ? Result<void>() : tl::make_unexpected(std::move(row.error()));
}

}  // namespace

Result<void> recognise_journal(const Database& journal) {
  const auto format = journal.integer("SELECT value FROM turnstile_journal WHERE key = 'format'");
  if (!format || !format->has_value()) {
    return fail(Errc::unreachable, journal.path().string() + " is no journal of turnstile",
                "name the file that `turnstile broker --journal-file` keeps");
  }
  if (**format < broker::kJournalBatchesSince || **format > broker::kJournalFormat) {
    return fail(Errc::unreachable,
                fmt::format("the journal {} has format {}, this program knows {}",
                            journal.path().string(), **format, broker::kJournalFormat),
                "use the version of turnstile that wrote it");
  }
  return {};
}

void check_journal(const Database& journal, Report& report) {
  report.journal.emplace();
  if (auto read = read_batches(journal, report); !read) {
    report.journal->is_read = false;
    report.add(Breach::integrity, fmt::format("the journal {} cannot be read to the end: {}",
                                              journal.path().string(), read.error().what));
  }
  JournalReport& figures = *report.journal;
  if (figures.batches > 0) {
    figures.missing_offsets = figures.last_offset - figures.first_offset + 1 - figures.batches;
  }
  for (auto& [id, producer] : report.producers) {
    const Ranges waiting = producer.journaled.behind(producer.through);
    producer.waiting = waiting.count();
    if (waiting.empty()) {
      continue;
    }
    Ranges through_last;
    through_last.add(producer.through + 1, waiting.greatest());
    producer.lost.add(through_last.minus(waiting));
  }
}

}  // namespace turnstile::check
