// Turns events into a lane for each process, and the fate of each row. Pure; events must be added
// in order of time. EVENTS.md says what is derived from which event, HTTP.md what a segment is.
//
//   a direct producer's lane      trying ──waiting──► waiting ──lock──► holding ──committed──► ·
//                                    └────────lock───────────────────────┘ └──refused──► lost
//   a queued producer's lane      waiting (in the queue) ──acknowledged──► · ──more rows──► waiting
//   the consumer's lane           trying ──lock──► holding ──committed──► ·
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "events/event.h"
#include "lab/run.h"

namespace turnstile::lab {

enum class SegmentKind : char {
  trying = 't',
  waiting = 'w',
  holding = 'h',
  committed = 'c',
  lost = 'l',
  acknowledged = 'a',
  crashed = 'x',
};

struct Segment {
  SegmentKind kind = SegmentKind::trying;
  std::int64_t from_ns = 0;  // since the run began, as `to_ns`
  std::int64_t to_ns = 0;
  std::string row;
  std::string holder;
  std::string error;

  bool operator==(const Segment&) const = default;
};

struct Lane {
  LaneInfo info;
  std::vector<Segment> segments;  // finished ones, ordered by their end
};

struct LaneSegment {
  std::size_t lane = 0;
  Segment segment;
};

// What happened to a row. Times in nanoseconds since the run began; -1: did not happen.
struct RowFate {
  std::string name;
  std::size_t lane = 0;
  std::int64_t tried_ns = -1;
  std::int64_t lock_ns = -1;      // its writer got the lock for it
  std::int64_t answered_ns = -1;  // acknowledged or refused
  std::int64_t ended_ns = -1;     // its process ended before the answer
  bool committed = false;
  bool refused = false;
  bool unsure = false;  // its process ended while writing it: it may be in the database
  std::string error;
  std::uint32_t turns_of_others = 0;  // times that others got the lock while it waited
};

struct WaitEdge {
  std::string from;
  std::string to;
  Resource resource = Resource::database;

  bool operator==(const WaitEdge&) const = default;
};

// Who waits for whom.
struct WaitGraph {
  std::int64_t at_ns = 0;
  std::vector<WaitEdge> edges;
  std::vector<std::string> cycle;  // empty: none

  [[nodiscard]] bool same_as(const WaitGraph& other) const {
    return edges == other.edges && cycle == other.cycle;
  }
};

// Finds a cycle; starts with its alphabetically first name. Empty: none.
std::vector<std::string> find_cycle(const std::vector<WaitEdge>& edges);

class Timeline {
 public:
  explicit Timeline(RunInfo run);
  Timeline(const Timeline&) = delete;  // it points into itself
  Timeline& operator=(const Timeline&) = delete;
  Timeline(Timeline&&) = default;
  Timeline& operator=(Timeline&&) = default;
  ~Timeline() = default;

  void add(const Event& event);
  // After the last event: closes open bars at this time (CLOCK_MONOTONIC).
  void finish(std::int64_t time_ns);

  [[nodiscard]] const RunInfo& run() const { return run_; }
  [[nodiscard]] const std::vector<Lane>& lanes() const { return lanes_; }
  [[nodiscard]] std::int64_t now_ns() const { return now_ns_; }  // time of the latest event

  // Returns the segments that ended since the last call.
  std::vector<LaneSegment> take_done();
  // The open bars, up to `now_ns` since the run began.
  [[nodiscard]] std::vector<LaneSegment> open(std::int64_t now_ns) const;

  // All rows that were tried, by lane and in order of sequence.
  [[nodiscard]] std::vector<const RowFate*> rows() const;
  // Rows in commit order.
  [[nodiscard]] const std::vector<std::pair<std::string, std::string>>& commits() const {
    return commits_;  // row, process
  }
  // The processes that wait now, and the one that holds the database; empty: none.
  [[nodiscard]] std::vector<std::string> waiting() const;
  [[nodiscard]] std::string holder() const;
  [[nodiscard]] std::string row_held() const;
  [[nodiscard]] bool is_alive(std::string_view process) const;
  // The latest lost segment of any lane, and the latest crashed one.
  [[nodiscard]] const std::optional<LaneSegment>& last_loss() const { return last_loss_; }
  [[nodiscard]] const std::optional<LaneSegment>& last_crash() const { return last_crash_; }

  [[nodiscard]] WaitGraph graph() const;
  [[nodiscard]] const std::optional<WaitGraph>& first_cycle() const { return first_cycle_; }

 private:
  static constexpr std::size_t kNobody = static_cast<std::size_t>(-1);

  // The open bar of a lane.
  struct Bar {
    SegmentKind kind = SegmentKind::trying;
    std::int64_t from_ns = 0;
    std::string row;
    Resource resource = Resource::database;
    std::size_t holder = kNobody;              // of a wait: the holder when it began
    std::map<std::size_t, std::int64_t> held;  // of a wait: time that each lane held the lock
  };
  struct LaneState {
    bool alive = false;
    std::optional<Bar> bar;
    RowFate* row = nullptr;              // direct: the current row
    std::int64_t opening_since_ns = -1;  // direct: waits to open the database for its next row
    std::uint32_t turns_of_others = 0;   // during that wait
    std::deque<RowFate*> in_queue;       // queued: rows without an answer
    std::vector<Resource> holds;
    std::optional<Segment> commit;  // later batches of the transaction may still join it
    std::size_t commit_rows = 0;
    std::optional<Segment> loss;  // its holder may not be known yet
  };
  struct Hold {
    std::size_t lane = kNobody;
    std::int64_t since_ns = 0;
  };
  struct ProducerRows {
    std::size_t lane = 0;
    std::map<std::uint64_t, RowFate> rows;  // by sequence
  };

  void on_trying(std::size_t lane, const Event& event);
  void on_waiting(std::size_t lane, const Event& event);
  void on_lock(std::size_t lane, const Event& event);
  void on_committed(std::size_t lane, const Event& event);
  void on_released(std::size_t lane, const Event& event);
  void on_refused(std::size_t lane, const Event& event);
  void on_acknowledged(std::size_t lane, const Event& event);
  void on_end(std::size_t lane, const Event& event);

  [[nodiscard]] std::size_t lane_of(std::string_view process) const;
  [[nodiscard]] bool is_queued() const { return run_.mode == Mode::queued; }
  [[nodiscard]] bool waits(std::size_t lane, Resource resource) const;
  RowFate* find_row(const Event& event, std::uint64_t offset);
  [[nodiscard]] std::string name_of_rows(const Event& event);
  void open_bar(std::size_t lane, SegmentKind kind, std::string row, Resource resource);
  void close_bar(std::size_t lane);
  void moment(std::size_t lane, Segment segment);
  void flush_commit(std::size_t lane);
  void flush_losses(std::int64_t until_ns, std::size_t holder);
  void emit(std::size_t lane, Segment segment);
  void take(std::size_t lane, Resource resource);
  void release(Resource resource);
  void release_all(std::size_t lane);
  [[nodiscard]] std::size_t holder_of(std::size_t lane) const;
  [[nodiscard]] std::string name_or_empty(std::size_t lane) const;
  void look_for_cycle();

  RunInfo run_;
  std::vector<Lane> lanes_;
  std::vector<LaneState> states_;  // one per lane
  std::unordered_map<std::string, std::size_t> lane_by_name_;
  std::unordered_map<std::string, ProducerRows> producers_;
  std::map<Resource, Hold> held_;
  std::int64_t last_hold_ns_ = 0;  // duration of the hold that ended last
  std::int64_t now_ns_ = 0;
  std::size_t losses_pending_ = 0;  // lanes with a loss that was not emitted
  std::vector<LaneSegment> done_;
  std::vector<std::pair<std::string, std::string>> commits_;
  std::optional<LaneSegment> last_loss_;
  std::optional<LaneSegment> last_crash_;
  std::optional<WaitGraph> first_cycle_;
};

}  // namespace turnstile::lab
