#include "lab/timeline.h"

#include <algorithm>
#include <tuple>

namespace turnstile::lab {
namespace {

constexpr std::int64_t kNsInMs = 1'000'000;
// A wait is cut when a lock that was held at least this long changes hands, so that each piece has
// its own holder.
constexpr std::int64_t kLongHoldNs = 100 * kNsInMs;
// A refusal may be recorded before the lock that caused it. A lock that comes later than this was
// not the cause.
constexpr std::int64_t kLateLockNs = 20 * kNsInMs;
// Shorter bars would be invisible.
constexpr std::int64_t kShortestTryNs = kNsInMs;

std::string with_more(const std::string& row, std::size_t rows) {
  return rows > 1 ? row + " +" + std::to_string(rows - 1) : row;
}

}  // namespace

Timeline::Timeline(RunInfo run) : run_(std::move(run)) {
  for (const LaneInfo& info : run_.lanes) {
    lane_by_name_.emplace(info.name, lanes_.size());
    lanes_.push_back({info, {}});
  }
  states_.resize(lanes_.size());
}

std::size_t Timeline::lane_of(std::string_view process) const {
  const auto found = lane_by_name_.find(std::string(process));
  return found == lane_by_name_.end() ? kNobody : found->second;
}

void Timeline::add(const Event& event) {
  const std::size_t lane = lane_of(event.process);
  if (lane == kNobody) {
    return;  // a process without a lane, such as the broker
  }
  now_ns_ = std::max(now_ns_, event.time_ns - run_.began_ns);
  flush_losses(now_ns_ - kLateLockNs, kNobody);
  if (event.kind != EventKind::committed) {
    flush_commit(lane);
  }
  switch (event.kind) {
    case EventKind::trying:
      return on_trying(lane, event);
    case EventKind::waiting:
      return on_waiting(lane, event);
    case EventKind::lock:
      return on_lock(lane, event);
    case EventKind::committed:
      return on_committed(lane, event);
    case EventKind::released:
      return on_released(lane, event);
    case EventKind::refused:
      return on_refused(lane, event);
    case EventKind::acknowledged:
      return on_acknowledged(lane, event);
    case EventKind::started:
      states_[lane].alive = true;
      return;
    case EventKind::ended:
    case EventKind::crashed:
      return on_end(lane, event);
    case EventKind::holding:
    case EventKind::ready:
      return;
  }
}

void Timeline::finish(std::int64_t time_ns) {
  now_ns_ = std::max(now_ns_, time_ns - run_.began_ns);
  flush_losses(INT64_MAX, kNobody);
  for (std::size_t lane = 0; lane < lanes_.size(); ++lane) {
    flush_commit(lane);
    close_bar(lane);
  }
}

// ---- rows

RowFate* Timeline::find_row(const Event& event, std::uint64_t offset) {
  const auto producer = producers_.find(event.producer);
  if (producer == producers_.end()) {
    return nullptr;
  }
  const auto row = producer->second.rows.find(event.first + offset);
  return row == producer->second.rows.end() ? nullptr : &row->second;
}

std::string Timeline::name_of_rows(const Event& event) {
  const RowFate* row = find_row(event, 0);
  return with_more(row != nullptr ? row->name : event.row, event.rows);
}

std::vector<const RowFate*> Timeline::rows() const {
  std::vector<const RowFate*> all;
  for (const auto& [id, producer] : producers_) {
    for (const auto& [sequence, row] : producer.rows) {
      all.push_back(&row);
    }
  }
  std::stable_sort(all.begin(), all.end(), [](const RowFate* a, const RowFate* b) {
    return std::tie(a->lane, a->tried_ns, a->name) < std::tie(b->lane, b->tried_ns, b->name);
  });
  return all;
}

// ---- events

void Timeline::on_trying(std::size_t lane, const Event& event) {
  LaneState& state = states_[lane];
  if (lanes_[lane].info.role == Role::consumer) {
    release_all(lane);
    close_bar(lane);
    open_bar(lane, SegmentKind::trying, name_of_rows(event), event.resource);
    return;
  }
  ProducerRows& producer = producers_[event.producer];
  producer.lane = lane;
  const auto& wanted = lanes_[lane].info.wanted;
  const std::int64_t opening_since_ns = std::exchange(state.opening_since_ns, -1);
  const std::int64_t since_ns = opening_since_ns < 0 ? now_ns_ : opening_since_ns;
  const std::uint32_t turns = std::exchange(state.turns_of_others, 0);
  for (std::uint64_t i = 0; i < event.rows; ++i) {
    RowFate& row = producer.rows[event.first + i];
    row.lane = lane;
    row.tried_ns = since_ns;
    row.turns_of_others = turns;
    const std::uint64_t index = event.first + i - 1;  // sequences count from 1
    row.name = i == 0 ? event.row : index < wanted.size() ? wanted[index] : "";
    if (is_queued()) {
      state.in_queue.push_back(&row);
    } else {
      state.row = &row;
    }
  }
  if (!is_queued()) {
    close_bar(lane);
    open_bar(lane, SegmentKind::trying, with_more(event.row, event.rows), event.resource);
  } else if (!state.bar) {
    open_bar(lane, SegmentKind::waiting, event.row, Resource::queue);
  }
}

void Timeline::on_waiting(std::size_t lane, const Event& event) {
  const auto held = held_.find(event.resource);
  const bool is_own = held != held_.end() && held->second.lane == lane;
  if (is_own || waits(lane, event.resource)) {
    return;  // a holder's COMMIT waits for readers to finish
  }
  LaneState& state = states_[lane];
  if (!is_queued() && state.row == nullptr && state.opening_since_ns < 0) {
    state.opening_since_ns = now_ns_;
    state.turns_of_others = 0;
  }
  const std::string row = event.row.empty() ? name_of_rows(event) : event.row;
  close_bar(lane);
  open_bar(lane, SegmentKind::waiting, row, event.resource);
  look_for_cycle();
}

void Timeline::on_lock(std::size_t lane, const Event& event) {
  take(lane, event.resource);
  close_bar(lane);
  open_bar(lane, SegmentKind::holding, event.row.empty() ? name_of_rows(event) : event.row,
           event.resource);
  for (std::uint64_t i = 0; i < event.rows; ++i) {
    RowFate* row = find_row(event, i);
    if (row != nullptr && row->lock_ns < 0 && event.resource == Resource::database) {
      row->lock_ns = now_ns_;
    }
  }
}

void Timeline::on_committed(std::size_t lane, const Event& event) {
  LaneState& state = states_[lane];
  release_all(lane);
  close_bar(lane);
  for (std::uint64_t i = 0; i < event.rows; ++i) {
    RowFate* row = find_row(event, i);
    if (row != nullptr && !row->committed) {
      row->committed = true;
      commits_.emplace_back(row->name, lanes_[row->lane].info.name);
    }
  }
  if (state.commit) {
    state.commit_rows += event.rows;
    return;
  }
  const RowFate* first = find_row(event, 0);
  state.commit = Segment{
      SegmentKind::committed, now_ns_, now_ns_, first != nullptr ? first->name : event.row, {}, {}};
  state.commit_rows = event.rows;
}

void Timeline::on_released(std::size_t lane, const Event& event) {
  LaneState& state = states_[lane];
  const auto held = held_.find(event.resource);
  if (held != held_.end() && held->second.lane == lane) {
    release(event.resource);
  }
  if (state.bar && state.bar->kind == SegmentKind::holding && state.holds.empty()) {
    close_bar(lane);
  }
}

void Timeline::on_refused(std::size_t lane, const Event& event) {
  LaneState& state = states_[lane];
  std::string holder;
  if (state.bar && state.bar->kind == SegmentKind::waiting && !is_queued()) {
    holder = name_or_empty(holder_of(lane));
  } else if (const auto held = held_.find(Resource::database);
             held != held_.end() && !is_queued()) {
    holder = name_or_empty(held->second.lane);
  }
  if (!is_queued()) {
    release_all(lane);
    close_bar(lane);
    state.row = nullptr;
  }
  if (RowFate* row = find_row(event, 0)) {
    row->refused = true;
    row->error = event.error;
    row->answered_ns = row->answered_ns < 0 ? now_ns_ : row->answered_ns;
  }
  Segment lost{SegmentKind::lost,
               now_ns_,
               now_ns_,
               event.row.empty() ? name_of_rows(event) : event.row,
               holder,
               event.error};
  if (!holder.empty() || is_queued()) {
    return moment(lane, std::move(lost));
  }
  losses_pending_ += state.loss ? 0 : 1;
  if (state.loss) {
    moment(lane, std::move(*state.loss));
  }
  state.loss = std::move(lost);
}

void Timeline::on_acknowledged(std::size_t lane, const Event& event) {
  if (event.level == "stored") {
    return;
  }
  LaneState& state = states_[lane];
  std::string first;
  std::size_t rows = 0;
  for (std::uint64_t i = 0; i < event.rows; ++i) {
    RowFate* row = find_row(event, i);
    if (row == nullptr) {
      continue;
    }
    if (row->answered_ns < 0) {
      row->answered_ns = now_ns_;
    }
    if (!row->refused) {
      first = rows == 0 ? row->name : first;
      ++rows;
    }
  }
  while (!state.in_queue.empty() && state.in_queue.front()->answered_ns >= 0) {
    state.in_queue.pop_front();
  }
  if (!is_queued()) {
    state.row = nullptr;
    return;
  }
  if (state.bar) {
    state.bar->row = with_more(state.bar->row, std::max<std::size_t>(rows, 1));
  }
  close_bar(lane);
  if (rows > 0) {
    moment(lane, {SegmentKind::acknowledged, now_ns_, now_ns_, with_more(first, rows), {}, {}});
  }
  if (!state.in_queue.empty()) {
    open_bar(lane, SegmentKind::waiting, state.in_queue.front()->name, Resource::queue);
  }
}

void Timeline::on_end(std::size_t lane, const Event& event) {
  LaneState& state = states_[lane];
  state.alive = false;
  const bool crashed = event.kind == EventKind::crashed;
  const std::string row = state.bar ? state.bar->row : "";
  if (state.row != nullptr) {
    state.row->unsure = state.bar && state.bar->kind == SegmentKind::holding;
    state.row->ended_ns = now_ns_;
    state.row = nullptr;
  }
  for (RowFate* waiting : state.in_queue) {
    waiting->unsure = true;  // the broker may have it
    waiting->ended_ns = now_ns_;
  }
  state.in_queue.clear();
  release_all(lane);
  close_bar(lane);
  if (crashed) {
    moment(lane, {SegmentKind::crashed,
                  now_ns_,
                  now_ns_,
                  row,
                  {},
                  "ended by signal " + std::to_string(event.code)});
  }
}

// ---- locks

bool Timeline::waits(std::size_t lane, Resource resource) const {
  const auto& bar = states_[lane].bar;
  return bar && bar->kind == SegmentKind::waiting && bar->resource == resource;
}

void Timeline::take(std::size_t lane, Resource resource) {
  const auto held = held_.find(resource);
  if (held != held_.end() && held->second.lane == lane) {
    return;
  }
  if (held != held_.end()) {
    // The previous holder's `released` was not recorded yet.
    const std::size_t before = held->second.lane;
    release(resource);
    if (states_[before].bar && states_[before].bar->kind == SegmentKind::holding) {
      close_bar(before);
    }
  }
  held_[resource] = {lane, now_ns_};
  flush_losses(INT64_MAX, lane);
  states_[lane].holds.push_back(resource);
  for (std::size_t other = 0; other < lanes_.size(); ++other) {
    if (other == lane || !waits(other, resource)) {
      continue;
    }
    RowFate* row = states_[other].row;
    ++(row != nullptr ? row->turns_of_others : states_[other].turns_of_others);
    if (last_hold_ns_ >= kLongHoldNs && now_ns_ - states_[other].bar->from_ns >= kLongHoldNs) {
      const std::string name = states_[other].bar->row;
      close_bar(other);
      open_bar(other, SegmentKind::waiting, name, resource);
    } else if (states_[other].bar->holder == kNobody) {
      states_[other].bar->holder = lane;
    }
  }
}

void Timeline::release(Resource resource) {
  const auto held = held_.find(resource);
  const auto [lane, since_ns] = held->second;
  last_hold_ns_ = now_ns_ - since_ns;
  for (std::size_t other = 0; other < lanes_.size(); ++other) {
    if (waits(other, resource)) {
      states_[other].bar->held[lane] += now_ns_ - std::max(since_ns, states_[other].bar->from_ns);
    }
  }
  std::erase(states_[lane].holds, resource);
  held_.erase(held);
}

void Timeline::release_all(std::size_t lane) {
  for (const Resource resource : std::vector(states_[lane].holds)) {
    release(resource);
  }
}

// The lane that held the lock longest during this wait.
std::size_t Timeline::holder_of(std::size_t lane) const {
  const Bar& bar = *states_[lane].bar;
  auto held = bar.held;
  const auto present = held_.find(bar.resource);
  if (present != held_.end() && present->second.lane != lane) {
    held[present->second.lane] += now_ns_ - std::max(present->second.since_ns, bar.from_ns) + 1;
  }
  const auto longest = std::max_element(
      held.begin(), held.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
  return longest == held.end() ? bar.holder : longest->first;
}

std::string Timeline::name_or_empty(std::size_t lane) const {
  return lane == kNobody ? "" : lanes_[lane].info.name;
}

std::string Timeline::holder() const {
  const auto held = held_.find(Resource::database);
  return held == held_.end() ? "" : name_or_empty(held->second.lane);
}

std::string Timeline::row_held() const {
  const auto held = held_.find(Resource::database);
  return held == held_.end() || !states_[held->second.lane].bar
             ? ""
             : states_[held->second.lane].bar->row;
}

std::vector<std::string> Timeline::waiting() const {
  std::vector<std::string> names;
  for (std::size_t lane = 0; lane < lanes_.size(); ++lane) {
    if (states_[lane].bar && states_[lane].bar->kind == SegmentKind::waiting) {
      names.push_back(lanes_[lane].info.name);
    }
  }
  return names;
}

bool Timeline::is_alive(std::string_view process) const {
  const std::size_t lane = lane_of(process);
  return lane != kNobody && states_[lane].alive;
}

// ---- drawing

void Timeline::open_bar(std::size_t lane, SegmentKind kind, std::string row, Resource resource) {
  Bar bar{kind, now_ns_, std::move(row), resource, kNobody, {}};
  const auto held = held_.find(resource);
  if (held != held_.end() && held->second.lane != lane) {
    bar.holder = held->second.lane;
  }
  states_[lane].bar = std::move(bar);
}

void Timeline::close_bar(std::size_t lane) {
  auto& bar = states_[lane].bar;
  if (!bar) {
    return;
  }
  const std::int64_t shortest = bar->kind == SegmentKind::trying ? kShortestTryNs : 1;
  if (now_ns_ - bar->from_ns >= shortest) {
    Segment segment{bar->kind, bar->from_ns, now_ns_, bar->row, {}, {}};
    if (bar->kind == SegmentKind::waiting) {
      segment.holder = bar->resource == Resource::queue ? "queue" : name_or_empty(holder_of(lane));
    }
    emit(lane, std::move(segment));
  }
  bar.reset();
}

void Timeline::moment(std::size_t lane, Segment segment) {
  if (segment.kind == SegmentKind::lost) {
    last_loss_ = {lane, segment};
  } else if (segment.kind == SegmentKind::crashed) {
    last_crash_ = {lane, segment};
  }
  emit(lane, std::move(segment));
}

void Timeline::flush_commit(std::size_t lane) {
  LaneState& state = states_[lane];
  if (state.commit) {
    state.commit->row = with_more(state.commit->row, state.commit_rows);
    emit(lane, std::move(*state.commit));
    state.commit.reset();
  }
}

// Emits the losses up to that time. `holder` had the lock then; kNobody: unknown.
void Timeline::flush_losses(std::int64_t until_ns, std::size_t holder) {
  for (std::size_t lane = 0; losses_pending_ > 0 && lane < lanes_.size(); ++lane) {
    auto& loss = states_[lane].loss;
    if (loss && loss->to_ns <= until_ns) {
      loss->holder = lane == holder ? "" : name_or_empty(holder);
      moment(lane, std::move(*loss));
      loss.reset();
      --losses_pending_;
    }
  }
}

void Timeline::emit(std::size_t lane, Segment segment) {
  lanes_[lane].segments.push_back(segment);
  done_.push_back({lane, std::move(segment)});
}

std::vector<LaneSegment> Timeline::take_done() {
  for (std::size_t lane = 0; lane < lanes_.size(); ++lane) {
    flush_commit(lane);
  }
  return std::exchange(done_, {});
}

std::vector<LaneSegment> Timeline::open(std::int64_t now_ns) const {
  std::vector<LaneSegment> bars;
  for (std::size_t lane = 0; lane < lanes_.size(); ++lane) {
    const auto& bar = states_[lane].bar;
    if (bar && bar->from_ns < now_ns) {
      Segment segment{bar->kind, bar->from_ns, now_ns, bar->row, {}, {}};
      if (bar->kind == SegmentKind::waiting) {
        segment.holder =
            bar->resource == Resource::queue ? "queue" : name_or_empty(holder_of(lane));
      }
      bars.push_back({lane, std::move(segment)});
    }
  }
  return bars;
}

// ---- the wait-for graph

WaitGraph Timeline::graph() const {
  WaitGraph graph;
  graph.at_ns = now_ns_;
  for (std::size_t lane = 0; lane < lanes_.size(); ++lane) {
    const auto& bar = states_[lane].bar;
    if (!bar || bar->kind != SegmentKind::waiting) {
      continue;
    }
    const auto held = held_.find(bar->resource);
    if (held != held_.end() && held->second.lane != lane) {
      graph.edges.push_back(
          {lanes_[lane].info.name, lanes_[held->second.lane].info.name, bar->resource});
    }
  }
  graph.cycle = find_cycle(graph.edges);
  return graph;
}

void Timeline::look_for_cycle() {
  if (first_cycle_) {
    return;
  }
  WaitGraph found = graph();
  if (!found.cycle.empty()) {
    first_cycle_ = std::move(found);
  }
}

std::vector<std::string> find_cycle(const std::vector<WaitEdge>& edges) {
  // A process waits for one resource at a time, and one process holds it: at most one edge each.
  std::map<std::string, std::string> next;
  for (const WaitEdge& edge : edges) {
    next[edge.from] = edge.to;
  }
  for (const auto& [start, ignored] : next) {
    std::vector<std::string> path{start};
    for (auto at = next.find(start); at != next.end() && path.size() <= next.size();
         at = next.find(at->second)) {
      if (at->second == start) {
        return path;
      }
      path.push_back(at->second);
    }
  }
  return {};
}

}  // namespace turnstile::lab
