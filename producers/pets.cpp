#include "producers/pets.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <utility>
#include <variant>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/counted.h"
#include "producers/csv/reader.h"

namespace turnstile {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

Result<std::size_t> column_of(const csv::RowSource& source, const std::string& name) {
  const auto& columns = source.columns();
  const auto at = std::find(columns.begin(), columns.end(), name);
  if (at == columns.end()) {
    return fail(Errc::refused, fmt::format("{} has no column '{}'", source.name(), name),
                "pets are a CSV with the header name,breed");
  }
  return static_cast<std::size_t>(at - columns.begin());
}

// The outcome of the latest pet; empty if it is not known yet (interrupted).
Result<bool> settle(Producer& producer, Stopping& stopping) {
  auto settled = producer.settle();
  if (settled && !*settled && stopping.requested()) {
    stopping.be_patient();
    settled = producer.settle(steady_clock::now() + Stopping::kLastWait);
  }
  return settled;
}

Result<void> insert_all(Producer& producer, const std::string& process,
                        const std::vector<Pet>& pets, Stopping& stopping, const PetsLog& log) {
  if (auto started = producer.start(); !started) {
    return tl::make_unexpected(started.error());
  }
  producer.into(std::string(kPetsTable), pet_columns());
  std::vector<std::string> refused;
  for (const auto& pet : pets) {
    if (stopping.requested()) {
      return {};
    }
    log.info(fmt::format("Called insert_pet() with process={}, name={}, breed={}.", process,
                         pet.name, pet.breed));
    const auto begun = steady_clock::now();
    const std::uint64_t dead_before = producer.summary().dead_count;
    const auto appended = producer.append(std::array<std::string_view, 2>{pet.name, pet.breed});
    if (!appended) {
      return tl::make_unexpected(appended.error());
    }
    const auto settled = settle(producer, stopping);
    if (!settled) {
      return tl::make_unexpected(settled.error());
    }
    const auto waited = std::chrono::round<milliseconds>(steady_clock::now() - begun);
    const Summary summary = producer.summary();
    if (summary.dead_count > dead_before) {
      const std::string reason = summary.dead.empty() ? "" : summary.dead.back().reason;
      log.error(fmt::format("ERROR while {} inserting pet {}: {}", process, pet.name, reason));
      refused.push_back(pet.name);
    } else if (*settled) {
      log.info(fmt::format("{} inserted pet {}, committed after {} ms", process, pet.name,
                           waited.count()));
    }
  }
  if (!refused.empty()) {
    log.error(fmt::format("{} of {} of {} were not inserted: {}", refused.size(),
                          counted(pets.size(), "pet"), process, fmt::join(refused, ", ")));
  }
  return {};
}

}  // namespace

std::vector<std::string> pet_columns() {
  return {"name", "breed"};
}

const std::vector<std::string>& pet_processes() {
  static const std::vector<std::string> processes{"P1", "P2", "P3"};
  return processes;
}

std::vector<Pet> lab_pets() {
  return {{"Ace", "Dog"},   {"Buddy", "Dog"},   {"Cooper", "Rabbit"},
          {"Dingo", "Dog"}, {"Emma", "Rabbit"}, {"Felix", "Cat"}};
}

Result<std::vector<Pet>> read_pets(const std::string& path) {
  auto source = csv::open_csv({.path = path});
  if (!source) {
    return tl::make_unexpected(source.error());
  }
  const auto name = column_of(**source, "name");
  const auto breed = column_of(**source, "breed");
  if (!name || !breed) {
    return tl::make_unexpected((!name ? name : breed).error());
  }
  std::vector<Pet> pets;
  while (true) {
    auto item = (*source)->next();
    if (!item) {
      return tl::make_unexpected(item.error());
    }
    if (!*item) {
      return pets;
    }
    if (const auto* bad = std::get_if<csv::BadRow>(&**item)) {
      return fail(Errc::refused,
                  fmt::format("{}:{}: {}", (*source)->name(), bad->line, bad->reason));
    }
    const auto& fields = std::get<csv::Record>(**item).fields;
    pets.push_back({std::string(fields[*name]), std::string(fields[*breed])});
  }
}

std::vector<Pet> pets_of(const std::string& process, const std::vector<Pet>& pets) {
  const auto& processes = pet_processes();
  const auto index = static_cast<std::size_t>(
      std::find(processes.begin(), processes.end(), process) - processes.begin());
  std::vector<Pet> part;
  for (std::size_t i = 0; i < pets.size(); ++i) {
    if (i * processes.size() / pets.size() == index) {
      part.push_back(pets[i]);
    }
  }
  return part;
}

Report insert_pets(Producer& producer, const std::string& process, const std::vector<Pet>& pets,
                   Stopping& stopping, const PetsLog& log) {
  const auto begun = steady_clock::now();
  Report report;
  report.producer = process;
  report.table = kPetsTable;
  auto inserted = insert_all(producer, process, pets, stopping, log);
  if (inserted && producer.summary().unacknowledged == 0) {
    // Waits for nothing more; says goodbye to the broker.
    inserted = producer.finish().map([](bool) {});
  }
  report.summary = producer.summary();
  report.rows_read = report.summary.appended;
  report.interrupted = stopping.requested();
  report.took = std::chrono::round<milliseconds>(steady_clock::now() - begun);
  if (!inserted) {
    report.failure = std::move(inserted.error());
  }
  return report;
}

}  // namespace turnstile
