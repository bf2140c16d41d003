#include "client/queue_state.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "base/utf8.h"
#include "proto/limits.h"
#include "proto/msgpack_reader.h"

namespace turnstile {
namespace {

constexpr int kDepth = 8;

// Calls read(key) for each entry of the next map; read() returns false if it cannot take the value.
// False: the next element is not a map, or an entry cannot be read.
template <typename Read>
bool read_map(MsgpackReader& in, Read&& read) {
  const Element map = in.next();
  if (map.kind != Element::Kind::map) {
    return false;
  }
  for (std::uint64_t i = 0; i < map.bits; ++i) {
    const Element key = in.next();
    if (key.kind != Element::Kind::text || !read(key.bytes())) {
      return false;
    }
  }
  return true;
}

bool read_text(MsgpackReader& in, std::string& text) {
  const Element element = in.next();
  if (element.kind != Element::Kind::text) {
    return false;
  }
  text = printable(element.bytes(), limits::kReasonBytes);
  return true;
}

bool read_number(MsgpackReader& in, std::uint64_t& number) {
  const Element element = in.next();
  number = element.bits;
  return element.kind == Element::Kind::positive;
}

bool read_tables(MsgpackReader& in, std::vector<TableTrouble>& tables) {
  const Element list = in.next();
  if (list.kind != Element::Kind::array || list.bits > limits::kTablesListed) {
    return false;
  }
  for (std::uint64_t i = 0; i < list.bits; ++i) {
    TableTrouble trouble;
    const bool is_read = read_map(in, [&](std::string_view key) {
      if (key == "table") {
        return read_text(in, trouble.table);
      }
      return key == "reason" ? read_text(in, trouble.reason) : in.skip(kDepth);
    });
    if (!is_read) {
      return false;
    }
    tables.push_back(std::move(trouble));
  }
  return true;
}

bool read_consumer(MsgpackReader& in, QueueState& state) {
  return read_map(in, [&](std::string_view key) {
    if (key == "attached") {
      const Element attached = in.next();
      state.has_consumer = attached.bits != 0;
      return attached.kind == Element::Kind::boolean;
    }
    if (key == "problem") {
      return read_text(in, state.problem);
    }
    if (key == "tables") {
      return read_tables(in, state.tables);
    }
    return key == "rows_applied" ? read_number(in, state.rows_applied) : in.skip(kDepth);
  });
}

bool read_journal(MsgpackReader& in, QueueState& state) {
  return read_map(in, [&](std::string_view key) {
    return key == "problem" ? read_text(in, state.journal_problem) : in.skip(kDepth);
  });
}

}  // namespace

std::optional<QueueState> read_queue_state(std::string_view report) {
  MsgpackReader in(report);
  QueueState state;
  std::uint64_t oldest_ms = 0;
  const bool is_read = read_map(in, [&](std::string_view key) {
    if (key == "consumer") {
      return read_consumer(in, state);
    }
    if (key == "journal") {
      return read_journal(in, state);
    }
    return key == "oldest_waiting_ms" ? read_number(in, oldest_ms) : in.skip(kDepth);
  });
  if (!is_read) {
    return std::nullopt;
  }
  constexpr std::uint64_t kMost = std::numeric_limits<std::int32_t>::max();
  state.oldest = std::chrono::milliseconds(oldest_ms < kMost ? oldest_ms : kMost);
  return state;
}

bool is_only_busy(const QueueState& state, bool stored, const std::string& table) {
  const bool refuses = std::any_of(state.tables.begin(), state.tables.end(),
                                   [&](const TableTrouble& t) { return t.table == table; });
  return state.has_consumer && state.problem.empty() && !refuses &&
         (stored || state.journal_problem.empty());
}

std::string reason_of(const QueueState& state, bool stored, const std::string& table) {
  if (!stored && !state.journal_problem.empty()) {
    return "the broker cannot store rows: " + state.journal_problem;
  }
  if (!state.has_consumer) {
    return "no consumer is running";
  }
  if (!state.problem.empty()) {
    return "the consumer cannot apply rows: " + state.problem;
  }
  for (const TableTrouble& trouble : state.tables) {
    if (trouble.table == table) {
      return "the consumer refuses rows of " + table + ": " + trouble.reason;
    }
  }
  return "the consumer is busy";
}

}  // namespace turnstile
