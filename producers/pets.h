// The lab's job: three processes, each of which inserts its pets one after another.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "client/producer.h"
#include "producers/report.h"
#include "producers/stopping.h"
#include "base/result.h"

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

// A CSV with the columns name and breed, in any order and among others.
// Errors: those of opening it; refused for a bad row or a missing column.
Result<std::vector<Pet>> read_pets(const std::string& path);

// The part of `pets` that a process inserts: the first, second or last third of them, in order.
std::vector<Pet> pets_of(const std::string& process, const std::vector<Pet>& pets);

struct PetsLog {
  std::function<void(const std::string&)> info;
  std::function<void(const std::string&)> error;
};

// Inserts one pet after another, each after the one before is applied or refused. A pet that is
// refused or lost is logged and counted, and the next one is tried. `producer` was not started yet
// and acknowledges at Ack::applied.
Report insert_pets(Producer& producer, const std::string& process, const std::vector<Pet>& pets,
                   Stopping& stopping, const PetsLog& log);

}  // namespace turnstile
