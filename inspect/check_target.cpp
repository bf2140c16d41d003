#include "inspect/check_target.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "base/counted.h"
#include "store/schema.h"

namespace turnstile::check {
namespace {

namespace schema = store::schema;

// Tables of rows: not turnstile's, not SQLite's, not what a virtual table keeps its own things in.
constexpr std::string_view kTables =
    "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'table' "
    "AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND name NOT LIKE 'turnstile\\_%' ESCAPE '\\' "
    "ORDER BY name";

std::uint64_t as_count(std::int64_t value) {
  return static_cast<std::uint64_t>(std::max<std::int64_t>(value, 0));
}

Result<std::int64_t> meta(const Database& target, std::string_view key) {
  auto value =
      target.integer(fmt::format("SELECT value FROM main.turnstile_meta WHERE key = '{}'", key));
  if (!value) {
    return tl::make_unexpected(std::move(value.error()));
  }
  return value->value_or(0);
}

void read_failed(const Database& target, std::string_view what, const Error& error,
                 Report& report) {
  report.add(Breach::integrity, fmt::format("{} of {} cannot be read to the end: {}", what,
                                            target.path().string(), error.what));
}

// Promise 2: what a producer counts is its progress.
void judge_producer(const std::string& id, ProducerReport& producer, Report& report) {
  const std::uint64_t accounted = producer.rows_applied + producer.rows_dead + producer.changes;
  if (accounted < producer.through) {
    producer.missing = producer.through - accounted;
    report.add(Breach::progress,
               fmt::format("producer {}: progress says {} sequences, but only {} were applied or "
                           "refused: {} are missing",
                           id, producer.through, accounted, producer.missing));
  } else if (accounted > producer.through) {
    producer.twice = accounted - producer.through;
    report.add(Breach::progress,
               fmt::format("producer {}: progress says {} sequences, but {} were applied or "
                           "refused: {} twice, or to be applied again",
                           id, producer.through, accounted, producer.twice));
  }
}

Result<void> read_producers(const Database& target, Report& report) {
  auto rows = target.query(
      "SELECT producer, epoch, through, rows_applied, rows_dead, changes, letters_gone "
      "FROM main.turnstile_producers ORDER BY producer");
  if (!rows) {
    return tl::make_unexpected(std::move(rows.error()));
  }
  auto row = rows->next();
  for (; row && *row; row = rows->next()) {
    const std::string id(rows->bytes(0));
    ProducerReport& producer = report.producers[id];
    producer.in_target = true;
    producer.epoch = rows->integer(1);
    for (int column = 1; column < rows->columns(); ++column) {
      if (rows->type(column) != SQLITE_INTEGER || rows->integer(column) < 0) {
        report.add(Breach::format,
                   fmt::format("producer {}: its progress holds something that is no number", id));
      }
    }
    producer.through = as_count(rows->integer(2));
    producer.rows_applied = as_count(rows->integer(3));
    producer.rows_dead = as_count(rows->integer(4));
    producer.changes = as_count(rows->integer(5));
    producer.letters_gone = as_count(rows->integer(6));
    report.target.rows_applied += producer.rows_applied;
    report.target.rows_dead += producer.rows_dead;
    judge_producer(id, producer, report);
  }
  return row ? Result<void>() : tl::make_unexpected(std::move(row.error()));
}

// The dead letters of one producer, in order of sequence.
struct Letters {
  std::string producer;
  std::uint64_t rows = 0;
  std::uint64_t last = 0;
};

void judge_letters(const Letters& letters, Report& report) {
  const auto found = report.producers.find(letters.producer);
  if (found == report.producers.end() || !found->second.in_target) {
    report.add(Breach::dead_letters,
               fmt::format("producer {} has dead letters but no progress", letters.producer));
    return;
  }
  if (letters.last > found->second.through) {
    report.add(Breach::dead_letters,
               fmt::format("producer {}: there is a dead letter for sequence {}, but its progress "
                           "is {}",
                           letters.producer, letters.last, found->second.through));
  }
}

Result<void> read_letters(const Database& target, Report& report) {
  auto rows = target.query(
      "SELECT producer, sequence, rows, id FROM main.turnstile_dead_letters WHERE live "
      "ORDER BY producer, sequence");
  if (!rows) {
    return tl::make_unexpected(std::move(rows.error()));
  }
  std::map<std::string, std::uint64_t> per_producer;
  Letters letters;
  auto row = rows->next();
  for (; row && *row; row = rows->next()) {
    if (rows->bytes(0) != letters.producer) {
      if (!letters.producer.empty()) {
        judge_letters(letters, report);
        per_producer[letters.producer] = letters.rows;
      }
      letters = {.producer = std::string(rows->bytes(0)), .rows = 0, .last = 0};
    }
    const std::uint64_t first = as_count(rows->integer(1));
    const std::uint64_t count = as_count(rows->integer(2));
    if (first == 0 || count == 0) {
      report.add(Breach::dead_letters,
                 fmt::format("dead letter {} stands for no sequence", rows->integer(3)));
      continue;
    }
    if (first <= letters.last) {
      const std::uint64_t again = std::min(letters.last - first + 1, count);
      report.producers[letters.producer].twice += again;
      report.add(Breach::dead_letters,
                 fmt::format("producer {}: dead letter {} stands for sequence {}, which has one "
                             "already",
                             letters.producer, rows->integer(3), first));
    }
    letters.rows += count;
    letters.last = std::max(letters.last, first + count - 1);
  }
  if (!row) {
    return tl::make_unexpected(std::move(row.error()));
  }
  if (!letters.producer.empty()) {
    judge_letters(letters, report);
    per_producer[letters.producer] = letters.rows;
  }
  for (const auto& [id, producer] : report.producers) {
    if (const std::uint64_t kept = per_producer[id];
        producer.in_target && kept + producer.letters_gone != producer.rows_dead) {
      report.add(
          Breach::dead_letters,
          fmt::format("producer {}: {} {} refused, {} of them dealt with since, but its dead "
                      "letters stand for {}",
                      id, counted(producer.rows_dead, "row"), was_or_were(producer.rows_dead),
                      producer.letters_gone, kept));
    }
  }
  return {};
}

Result<void> count_rows(const Database& target, Report& report) {
  auto tables = target.query(kTables);
  if (!tables) {
    return tl::make_unexpected(std::move(tables.error()));
  }
  auto row = tables->next();
  for (; row && *row; row = tables->next()) {
    auto rows = target.integer("SELECT count(*) FROM main." + quoted_name(tables->bytes(0)));
    if (!rows) {
      return tl::make_unexpected(std::move(rows.error()));
    }
    report.target.table_rows += as_count(rows->value_or(0));
  }
  return row ? Result<void>() : tl::make_unexpected(std::move(row.error()));
}

}  // namespace

Result<void> recognise_target(const Database& target) {
  const auto version = meta(target, schema::kMetaFormatVersion);
  if (!version || *version == 0) {
    return fail(Errc::unreachable, target.path().string() + " is no target: no consumer wrote it",
                "name the file that `turnstile consumer --db` writes");
  }
  if (*version > schema::kFormatVersion) {
    return fail(Errc::unreachable,
                fmt::format("{} has format version {}, this program knows {}",
                            target.path().string(), *version, schema::kFormatVersion),
                "use the program that wrote it, or a newer one");
  }
  return {};
}

void check_target(const Database& target, Report& report) {
  if (const auto generation = meta(target, schema::kMetaGeneration)) {
    report.target.generation = *generation;
  }
  if (auto read = read_producers(target, report); !read) {
    report.target.has_progress = false;
    read_failed(target, "the producers' progress", read.error(), report);
  }
  if (auto read = read_letters(target, report); !read) {
    read_failed(target, "the dead letters", read.error(), report);
  }
  const auto letters =
      target.integer("SELECT coalesce(sum(rows), 0) FROM main.turnstile_dead_letters");
  report.target.dead_letters = letters ? as_count(letters->value_or(0)) : 0;
  report.target.has_letters = letters.has_value();
  if (auto counted_rows = count_rows(target, report); !counted_rows) {
    report.target.has_rows = false;
    read_failed(target, "the tables", counted_rows.error(), report);
  }
}

}  // namespace turnstile::check
