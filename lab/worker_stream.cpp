// Writes the database as `produce csv --direct` does, but opens out9.txt for writing and keeps its
// own position in it, like a program that assumes it is the only writer.
#include <chrono>
#include <cstdio>
#include <memory>
#include <string>
#include <thread>
#include <variant>

#include <spdlog/spdlog.h>

#include "client/identity.h"
#include "client/producer.h"
#include "lab/rows.h"
#include "lab/workers.h"
#include "producers/csv/reader.h"
#include "producers/direct_link.h"

namespace turnstile::lab {
namespace {

struct CloseFile {
  void operator()(std::FILE* file) const {
    std::fclose(file);  // NOLINT(cppcoreguidelines-owning-memory): the unique_ptr's deleter
  }
};

store::DirectOptions options_of(const WorkerFlags& flags) {
  store::DirectOptions options;
  options.path = flags.db;
  options.busy_timeout = flags.busy_timeout;
  options.journal =
      flags.journal == "wal" ? store::DirectJournal::wal : store::DirectJournal::rollback;
  options.begin =
      flags.begin == "immediate" ? store::DirectBegin::immediate : store::DirectBegin::deferred;
  options.reopen_for_each = false;
  options.events = EventSink::from_environment();
  return options;
}

// False when the row was lost.
Result<bool> insert(Producer& producer, const csv::Record& record) {
  const std::uint64_t lost_before = producer.summary().dead_count;
  return producer.append(record.fields)
      .and_then([&](Sequence) { return producer.settle(); })
      .map([&](bool) { return producer.summary().dead_count == lost_before; });
}

}  // namespace

Result<int> work_stream(const WorkerFlags& flags) {
  auto source = csv::open_csv({.path = flags.csv});
  if (!source) {
    return tl::make_unexpected(source.error());
  }
  const std::unique_ptr<std::FILE, CloseFile> text(std::fopen(flags.text.c_str(), "we"));
  if (text == nullptr) {
    return fail(Errc::unreachable, "cannot open " + flags.text);
  }
  DirectLink link(options_of(flags));
  ProducerOptions with;
  with.id = random_producer_id();
  with.batch_rows = 1;
  with.events = EventSink::from_environment();
  Producer producer(link, std::move(with));
  if (auto started = producer.start(); !started) {
    return tl::make_unexpected(started.error());
  }
  producer.into(nutrients_table().name, (*source)->columns());
  bool is_any_lost = false;
  meet(flags, "start");
  // A fixed pace, so that the streams overlap.
  auto next = std::chrono::steady_clock::now();
  while (true) {
    std::this_thread::sleep_until(next);
    next += flags.interval;
    auto item = (*source)->next();
    if (!item) {
      return tl::make_unexpected(item.error());
    }
    const auto* record = *item ? std::get_if<csv::Record>(&**item) : nullptr;
    if (record == nullptr) {
      break;
    }
    auto inserted = insert(producer, *record);
    if (!inserted) {
      return tl::make_unexpected(inserted.error());
    }
    is_any_lost = is_any_lost || !*inserted;
    if (*inserted) {
      const std::vector<std::string> row(record->fields.begin(), record->fields.end());
      std::fprintf(text.get(), "%s\n", nutrient_line(row).c_str());
      std::fflush(text.get());  // people follow this file with tail -F
    } else {
      spdlog::error("ERROR while {} inserting nutrient {}: database is locked", flags.as,
                    record->fields.front());
    }
  }
  return is_any_lost ? 1 : 0;
}

}  // namespace turnstile::lab
