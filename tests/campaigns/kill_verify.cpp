// After the drain: the product's own checker, and a second look that shares nothing with it.
#include <algorithm>
#include <map>
#include <sstream>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tests/campaigns/kill_system.h"

namespace turnstile::campaign {

void KillSystem::verify() {
  verify_by_check();
  verify_streams();
  verify_pets();
  EXPECT_EQ(e2e::read_file(system_.folder.file("out9.txt")), expected_text_log(system_))
      << "the text log is not the table";
  EXPECT_EQ(system_.query("SELECT count(*) FROM turnstile_dead_letters"), 0);
  EXPECT_EQ(system_.rows("PRAGMA integrity_check")[0][0], "ok");
  figures_.takeovers +=
      system_.query("SELECT value FROM turnstile_meta WHERE key='generation'") - 1;
}

void KillSystem::verify_by_check() {
  std::vector<std::string> ledgers;
  for (const Stream& stream : streams_) {
    if (std::filesystem::exists(stream.ledger)) {
      ledgers.insert(ledgers.end(), {"--ledger", stream.ledger});
    }
  }
  ledgers.emplace_back("--json");
  e2e::Process check = system_.check(ledgers);
  EXPECT_EQ(check.wait(), 0) << check.out() << check.err();
  const auto verdict = check.json();
  ASSERT_TRUE(verdict.is_object()) << check.err();
  figures_.rows_acknowledged += verdict.value("acknowledged", std::uint64_t{0});
  figures_.rows_present += verdict.value("present", std::uint64_t{0});
  figures_.lost += verdict.value("lost", std::uint64_t{0});
  figures_.twice += verdict.value("twice", std::uint64_t{0});
}

// The last row that the ledger has as applied.
std::int64_t KillSystem::acknowledged(const Stream& stream) const {
  std::istringstream ledger(e2e::read_file(stream.ledger));
  std::int64_t last = 0;
  for (std::string line; std::getline(ledger, line);) {
    const auto told = nlohmann::json::parse(line, nullptr, false);
    if (!told.is_object()) {
      ADD_FAILURE() << "not a line of a ledger: " << line;
    } else if (told["level"] == "applied") {
      last = std::max(last, told["last"].get<std::int64_t>());
    }
  }
  return last;
}

// Each row of each stream once, in its order, and none that nobody sent.
void KillSystem::verify_streams() {
  std::map<std::int64_t, std::int64_t> next_id;  // by the stream's first
  for (const Stream& stream : streams_) {
    if (stream.role != Actor::pets) {
      next_id[stream.first_id] = stream.first_id;
      EXPECT_TRUE(stream.is_finished) << stream.name;
      EXPECT_EQ(acknowledged(stream), stream.rows) << stream.name << ": rows in its ledger";
    }
  }
  int wrong = 0;
  for (const auto& row : system_.rows("SELECT id FROM nutrients ORDER BY rowid")) {
    const std::int64_t id = std::stoll(row[0]);
    const auto stream = next_id.upper_bound(id);
    if (stream == next_id.begin() || std::prev(stream)->second != id) {
      EXPECT_LT(++wrong, 10) << "row " << id << " instead of "
                             << (stream == next_id.begin() ? 0 : std::prev(stream)->second);
      if (wrong == 10) {
        return;
      }
    } else {
      ++std::prev(stream)->second;
    }
  }
  EXPECT_EQ(wrong, 0) << "rows came twice, out of order, or not at all";
  for (const Stream& stream : streams_) {
    if (stream.role != Actor::pets) {
      EXPECT_EQ(next_id[stream.first_id], stream.first_id + stream.rows)
          << "the end of " << stream.name << " is missing";
    }
  }
}

// Pets go one by one: a process that was killed had at most one that it knew nothing of.
void KillSystem::verify_pets() {
  std::map<std::string, std::int64_t> present;
  for (const auto& row : system_.rows("SELECT name FROM pets ORDER BY id")) {
    const auto dash = row[0].find('-');
    EXPECT_EQ(row[0].substr(dash + 1), std::to_string(present[row[0].substr(0, dash)]++))
        << row[0] << " came twice or out of order";
  }
  for (const Stream& stream : streams_) {
    if (stream.role == Actor::pets) {
      const std::int64_t told = acknowledged(stream);
      const std::int64_t there = present[stream.name];
      EXPECT_TRUE(told <= there && there <= told + 1)
          << stream.name << ": " << told << " pets acknowledged, " << there << " there";
      if (stream.is_finished) {
        EXPECT_EQ(there, stream.rows) << stream.name;
      }
    }
  }
}

}  // namespace turnstile::campaign
