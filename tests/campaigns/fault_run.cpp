#include "tests/campaigns/fault_run.h"

#include <cstring>
#include <random>

#include "tests/campaigns/power_system.h"

namespace turnstile::test::power {
namespace {

using Operation = PowerDisk::Operation;
using Verdict = PowerDisk::Verdict;

std::string_view name_of_operation(Operation operation) {
  switch (operation) {
    case Operation::open:
      return "open";
    case Operation::read:
      return "read";
    case Operation::write:
      return "write";
    case Operation::truncate:
      return "truncate";
    case Operation::sync:
      return "sync";
    case Operation::sync_folder:
      return "sync of the folder";
    case Operation::remove:
      return "remove";
    case Operation::map_memory:
      return "map";
  }
  return "";
}

bool is_of(Part part, const std::string& path, const Paths& paths) {
  const std::string& file = part == Part::journal  ? paths.journal
                            : part == Part::target ? paths.target
                                                   : paths.text;
  return path.starts_with(file) || path == file.substr(0, file.rfind('/'));
}

// A day of the system: every way in which it touches its files, once or more.
void live(SimulatedSystem& system) {
  const auto broker = [&] {
    if (!system.has_broker()) {
      system.start_broker();
    }
  };
  const auto turns = [&](int count) {
    for (int i = 0; i < count; ++i) {
      broker();
      system.turn();
    }
  };
  turns(4);
  system.run_consumer(14, End::clean);
  turns(3);
  system.stop_broker(End::clean);
  broker();
  system.run_consumer(10, End::killed);
  system.disturb();
  turns(3);
  system.stop_broker(End::killed);
  broker();
  system.run_consumer(14, End::clean);
}

}  // namespace

std::string Fault::name() const {
  std::string out = part == Part::journal  ? "journal"
                    : part == Part::target ? "target"
                                           : "text log";
  out += ": " + std::string(name_of_operation(operation)) + " " + std::to_string(nth);
  out += times > 1 ? " to " + std::to_string(nth + times - 1) : "";
  out += std::string(" fails with ") + std::strerror(error);
  return out + (arrives_half ? ", half written" : "");
}

FaultReport run_with_fault(std::uint64_t seed, const Fault& fault, bool then_cut) {
  FaultReport report;
  SimulatedSystem system(seed, Plant::none);
  bool is_over = false;
  system.disk().judge([&](const PowerDisk::Call& call) -> Verdict {
    if (call.operation != fault.operation || !is_of(fault.part, call.path, system.paths())) {
      return {};
    }
    ++report.calls;
    if (is_over || report.calls < fault.nth || report.calls >= fault.nth + fault.times) {
      return {};
    }
    ++report.failed;
    return {Verdict::What::fail, fault.error, fault.arrives_half ? call.bytes / 2 : 0};
  });
  system.expect_failures(true);
  live(system);
  system.expect_failures(false);
  is_over = true;
  system.check_disk();
  if (then_cut && system.problems().empty()) {
    // It goes on for a while, and tells its producers what it thinks is true.
    system.expect_failures(true);
    live(system);
    system.expect_failures(false);
    system.disk().switch_off();
    system.stop_broker(End::killed);
    std::mt19937_64 random(seed + fault.nth);
    system.disk().survive_cut(random);
    system.after_cut();
    system.check_disk();
  }
  if (system.problems().empty()) {
    system.drain();
  }
  report.problems = system.problems();
  return report;
}

std::vector<std::string> run_while(std::uint64_t seed, const std::function<void()>& fail,
                                   const std::function<void()>& stop) {
  SimulatedSystem system(seed, Plant::none);
  system.expect_failures(true);
  fail();
  live(system);
  stop();
  system.expect_failures(false);
  system.check_disk();
  if (system.problems().empty()) {
    system.drain();
  }
  return system.problems();
}

}  // namespace turnstile::test::power
