// Called as `processes_helper keep|pass [NAME CODE|wait]`. Without a name it starts itself under
// three names and prints their outcomes.
#include <poll.h>

#include <cstdio>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "producers/processes.h"

namespace turnstile {
namespace {

constexpr int kDeadlineMs = 20'000;
constexpr int kInterrupted = 130;

int be_child(const std::string& name, const std::string& code) {
  const StopSignal stop;
  fmt::print("{} is here\n", name);
  std::fflush(stdout);
  if (code != "wait") {
    return std::stoi(code);
  }
  pollfd item{stop.fd(), POLLIN, 0};
  while (::poll(&item, 1, kDeadlineMs) < 0) {
  }
  fmt::print("{} stopped {}\n", name, stop.count());
  return kInterrupted;
}

int be_parent(bool keep, const std::vector<std::string>& codes) {
  const StopSignal stop;
  std::vector<std::vector<std::string>> more;
  for (std::size_t i = 0; i < codes.size(); ++i) {
    more.push_back({"C" + std::to_string(i + 1), codes[i]});
  }
  const auto ended = run_again(more, keep, stop);
  if (!ended) {
    return 1;
  }
  for (const auto& one : *ended) {
    fmt::print("code {} output '{}'\n", one.exit_code, one.output);
  }
  return 0;
}

}  // namespace
}  // namespace turnstile

int main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  const bool keep = arguments.at(0) == "keep";
  if (arguments.size() > 2) {
    return turnstile::be_child(arguments.at(1), arguments.at(2));
  }
  return keep ? turnstile::be_parent(true, {"0", "3", "1"})
              : turnstile::be_parent(false, {"wait", "wait", "wait"});
}
