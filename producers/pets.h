// The lab's job: three processes; each inserts its pets one after another.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "client/producer.h"
#include "producers/report.h"
#include "producers/stopping.h"

namespace turnstile {

struct Pet {
  std::string name;
  std::string breed;
};

inline constexpr std::string_view kPetsTable = "pets";
std::vector<std::string> pet_columns();

// P1, P2, P3.
const std::vector<std::string>& pet_processes();

// Ace, Buddy, Cooper, Dingo, Emma, Felix: two for each process.
std::vector<Pet> lab_pets();

// Reads a CSV with the columns name and breed, in any order and among others. Errors: those of
// opening it; refused for a bad row or a missing column.
Result<std::vector<Pet>> read_pets(const std::string& path);

// The pets that a process inserts: the first, second or last third, in order.
std::vector<Pet> pets_of(const std::string& process, const std::vector<Pet>& pets);

struct PetsLog {
  std::function<void(const std::string&)> info;
  std::function<void(const std::string&)> error;
};

// Inserts the pets in turn, each after the one before is applied or refused. A refused or lost pet
// is logged and counted, and the next one is tried. `producer` must not be started yet, and must
// acknowledge at Ack::applied.
Report insert_pets(Producer& producer, const std::string& process, const std::vector<Pet>& pets,
                   Stopping& stopping, const PetsLog& log);

}  // namespace turnstile
