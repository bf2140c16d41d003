#include "tests/campaigns/power_campaign.h"

#include <algorithm>
#include <random>

namespace turnstile::test::power {
namespace {

using Operation = PowerDisk::Operation;
using Verdict = PowerDisk::Verdict;

constexpr int kEventsBeforeACut = 12;

std::uint64_t seed_of(const WorldOptions& options) {
  std::seed_seq mix{options.seed, options.seed >> 32U, options.number};
  std::mt19937_64 random(mix);
  return random();
}

class PowerWorld {
 public:
  PowerWorld(const WorldOptions& options, Coverage& coverage)
      : options_(options),
        coverage_(coverage),
        random_(seed_of(options)),
        system_(random_(), options.plant) {
    system_.disk().judge([this](const PowerDisk::Call& call) { return look(call); });
  }

  WorldReport run() {
    for (; report_.cuts < options_.cuts && system_.problems().empty(); ++report_.cuts) {
      choose_place();
      live();
      armed_ = false;
      system_.disk().switch_off();
      system_.stop_broker(End::killed);
      system_.disk().survive_cut(random_);
      system_.after_cut();
      system_.check_disk();
    }
    if (system_.problems().empty()) {
      system_.drain();
    }
    report_.problems = system_.problems();
    return report_;
  }

 private:
  std::uint64_t pick(std::uint64_t from, std::uint64_t to) {
    return std::uniform_int_distribution<std::uint64_t>(from, to)(random_);
  }

  // The n-th change of the disk, or the n-th sync of one kind: each kind in its turn, so that the
  // rare ones have theirs.
  void choose_place() {
    armed_ = true;
    after_ = pick(0, 1) == 1;
    if (pick(0, 2) == 0) {
      choose_any();
      return;
    }
    left_ = pick(0, 2) == 0 ? pick(1, 12) : pick(1, 2);
    const bool half_made = !system_.disk().content(system_.paths().target + "-journal").empty();
    if (half_made && pick(0, 1) == 0) {
      point_ = recovery_points().at(pick(0, recovery_points().size() - 1));
      left_ = 1;  // somebody who recovers it passes each of them once
      return;
    }
    const bool first = report_.cuts == 0;
    const auto& points = first ? creation_points() : working_points();
    const std::uint64_t turn =
        first ? options_.number
              : options_.number * static_cast<std::uint64_t>(options_.cuts - 1) +
                    static_cast<std::uint64_t>(report_.cuts - 1);
    point_ = points.at(turn % points.size());
  }
  void choose_any() {
    point_.clear();
    left_ = pick(0, 2) == 0 ? pick(1, 40) : pick(1, 600);
  }

  Verdict look(const PowerDisk::Call& call) {
    if (!call.is_change()) {
      return {};
    }
    report_.trace = (report_.trace ^ (static_cast<std::uint64_t>(call.operation) + call.offset +
                                      (call.bytes << 20U))) *
                    0x100000001B3ULL;
    const std::string point = sync_point(call, system_, system_.paths(), system_.disk());
    if (!point.empty()) {
      ++coverage_.passed[point];
    }
    if (armed_ && (point_.empty() || point == point_) && --left_ == 0) {
      armed_ = false;
      ++(point.empty() ? coverage_.cut_elsewhere[change_point(call, system_.paths())]
                       : coverage_.cut[point]);
      return {after_ ? Verdict::What::cut_after : Verdict::What::cut_before, 0, 0};
    }
    return lie(call);
  }

  Verdict lie(const PowerDisk::Call& call) const {
    if (call.operation != Operation::sync) {
      return {};
    }
    const Paths& paths = system_.paths();
    const bool lies =
        (options_.plant == Plant::journal_does_not_sync && call.path.starts_with(paths.journal)) ||
        (options_.plant == Plant::target_does_not_sync && call.path.starts_with(paths.target)) ||
        (options_.plant == Plant::text_log_does_not_sync && call.path == paths.text);
    return lies ? Verdict{Verdict::What::lie, 0, 0} : Verdict{};
  }

  // Until the power fails; or for so long that it may as well fail while nothing is written.
  void live() {
    live_for(kEventsBeforeACut);
    if (armed_ && is_well() && pick(0, 7) > 0) {
      choose_any();
      live_for(kEventsBeforeACut);
    }
    if (armed_ && is_well()) {
      ++coverage_.cut_elsewhere["at rest"];
    }
  }
  void live_for(int events) {
    for (int i = 0; i < events && is_well(); ++i) {
      if (!system_.has_broker()) {
        system_.start_broker();
      }
      happen();
    }
  }

  [[nodiscard]] bool is_well() { return !system_.disk().is_off() && system_.problems().empty(); }

  void happen() {
    // Towards the place where the power shall fail.
    const bool soon = pick(0, 1) == 0;
    if (soon && point_.starts_with("journal, closing")) {
      work_alone(4);
      system_.stop_broker(End::clean);
      return;
    }
    if (soon && point_.starts_with("journal, opening")) {
      work_alone(4);
      system_.stop_broker(End::killed);
      return;
    }
    if (soon && point_.starts_with("target, another program")) {
      system_.disturb_target();
      return;
    }
    const std::uint64_t dice = pick(0, 99);
    if (dice < 50) {
      const bool short_one = soon && point_.find(", closing") != std::string::npos;
      system_.run_consumer(static_cast<int>(pick(2, short_one ? 12 : 40)),
                           short_one || pick(0, 1) == 0 ? End::clean : End::killed);
    } else if (dice < 75) {
      work_alone(12);
    } else if (dice < 82) {
      system_.stop_broker(End::clean);
    } else if (dice < 90) {
      system_.stop_broker(End::killed);
    } else if (dice < 96) {
      system_.disturb();
    } else {
      system_.restart_producers();
    }
  }
  void work_alone(std::uint64_t most) {
    for (std::uint64_t turns = pick(1, most); turns > 0 && is_well(); --turns) {
      system_.turn();
    }
  }

  const WorldOptions options_;
  Coverage& coverage_;
  std::mt19937_64 random_;
  SimulatedSystem system_;
  WorldReport report_;

  bool armed_ = false;
  std::string point_;  // the kind of sync to wait for; empty: any change
  std::uint64_t left_ = 0;
  bool after_ = false;
};

}  // namespace

WorldReport run_world(const WorldOptions& options, Coverage& coverage) {
  return PowerWorld(options, coverage).run();
}

}  // namespace turnstile::test::power
