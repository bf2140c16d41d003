// From events to what is drawn: a lane for each process, and what became of each row. Pure: events
// come in, in order of time. EVENTS.md says what is derived from what, HTTP.md what a segment is.
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
  std::vector<Segment> segments;  // that are over, in the order in which they ended
};

struct LaneSegment {
  std::size_t lane = 0;
  Segment segment;
};

// What became of a row, in nanoseconds since the run began; -1: it did not happen.
struct RowFate {
  std::string name;
  std::size_t lane = 0;
  std::int64_t tried_ns = -1;
  std::int64_t lock_ns = -1;      // the lock for it was got, by whoever writes it
  std::int64_t answered_ns = -1;  // acknowledged or refused
  std::int64_t ended_ns = -1;     // its process ended before there was an answer
  bool committed = false;
  bool refused = false;
  bool unsure = false;  // its process ended in the middle of it: it may be in the database
  std::string error;
  std::uint32_t turns_of_others = 0;  // how often others got the lock while it waited
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
  std::vector<std::string> cycle;  // empty: there is none

  [[nodiscard]] bool same_as(const WaitGraph& other) const {
    return edges == other.edges && cycle == other.cycle;
  }
};

// The cycle that is in the edges, from its first name in order of the alphabet on; empty: none.
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
  // Nothing more comes: what is open ends now (CLOCK_MONOTONIC).
  void finish(std::int64_t time_ns);

  [[nodiscard]] const RunInfo& run() const { return run_; }
  [[nodiscard]] const std::vector<Lane>& lanes() const { return lanes_; }
  [[nodiscard]] std::int64_t now_ns() const { return now_ns_; }  // of the latest event

  // Segments that ended since the last call.
  std::vector<LaneSegment> take_done();
  // Bars that are open, up to `now_ns` since the run began.
  [[nodiscard]] std::vector<LaneSegment> open(std::int64_t now_ns) const;

  // Every row that was tried, by lane and in order of sequence.
  [[nodiscard]] std::vector<const RowFate*> rows() const;
  // Rows in the order of their commits.
  [[nodiscard]] const std::vector<std::pair<std::string, std::string>>& commits() const {
    return commits_;  // row, process
  }
  // How many waits there are now (processes), and who holds the database; empty: nobody.
  [[nodiscard]] std::vector<std::string> waiting() const;
  [[nodiscard]] std::string holder() const;
  [[nodiscard]] std::string row_held() const;
  [[nodiscard]] bool is_alive(std::string_view process) const;
  // The latest lost and crashed segment of any lane.
  [[nodiscard]] const std::optional<LaneSegment>& last_loss() const { return last_loss_; }
  [[nodiscard]] const std::optional<LaneSegment>& last_crash() const { return last_crash_; }

  [[nodiscard]] WaitGraph graph() const;
  [[nodiscard]] const std::optional<WaitGraph>& first_cycle() const { return first_cycle_; }

 private:
  static constexpr std::size_t kNobody = static_cast<std::size_t>(-1);

  // What is being drawn on a lane.
  struct Bar {
    SegmentKind kind = SegmentKind::trying;
    std::int64_t from_ns = 0;
    std::string row;
    Resource resource = Resource::database;
    std::size_t holder = kNobody;              // of a wait: who held when it began
    std::map<std::size_t, std::int64_t> held;  // of a wait: for how long who held meanwhile
  };
  struct Known {  // of a lane
    bool alive = false;
    std::optional<Bar> bar;
    RowFate* row = nullptr;              // direct: the one at hand
    std::int64_t opening_since_ns = -1;  // direct: it waits to open the database, for its next row
    std::uint32_t turns_of_others = 0;   // meanwhile
    std::deque<RowFate*> in_queue;       // queued: not answered yet
    std::vector<Resource> holds;
    std::optional<Segment> commit;  // a moment that further batches of the transaction may join
    std::size_t commit_rows = 0;
    std::optional<Segment> loss;  // a moment whose holder may still be named
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
  std::vector<Known> known_;  // one a lane
  std::unordered_map<std::string, std::size_t> lane_by_name_;
  std::unordered_map<std::string, ProducerRows> producers_;
  std::map<Resource, Hold> held_;
  std::int64_t last_hold_ns_ = 0;  // how long the last hold that ended had lasted
  std::int64_t now_ns_ = 0;
  std::size_t losses_pending_ = 0;  // lanes that have one
  std::vector<LaneSegment> done_;
  std::vector<std::pair<std::string, std::string>> commits_;
  std::optional<LaneSegment> last_loss_;
  std::optional<LaneSegment> last_crash_;
  std::optional<WaitGraph> first_cycle_;
};

}  // namespace turnstile::lab
