#include "bench/system.h"

#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace turnstile::bench {
namespace {

using std::chrono::milliseconds;

constexpr std::size_t kPieceBytes = std::size_t{256} * 1024;

std::filesystem::path make_socket_directory() {
  std::string path = (std::filesystem::temp_directory_path() / "turnstile-bench.XXXXXX").string();
  if (::mkdtemp(path.data()) == nullptr) {
    throw Failure("cannot make a directory like " + path);
  }
  return path;
}

}  // namespace

std::filesystem::path fresh_directory(const std::filesystem::path& parent,
                                      const std::string& name) {
  auto directory = parent / name;
  std::filesystem::remove_all(directory);
  std::filesystem::create_directories(directory);
  ::sync();
  return directory;
}

void warm_memory(const std::filesystem::path& directory, std::uint64_t bytes) {
  const std::string piece(kPieceBytes, 'w');
  const auto path = directory / "warm";
  std::ofstream file(path, std::ios::binary);
  for (std::uint64_t written = 0; written < bytes; written += piece.size()) {
    file << piece;
  }
  file.close();
  if (!file) {
    throw Failure(fmt::format("cannot write {} bytes to {}", bytes, path.string()));
  }
  std::filesystem::remove(path);
}

System::System(std::filesystem::path program, std::filesystem::path directory, Text text)
    : program_(std::move(program)),
      directory_(std::move(directory)),
      socket_directory_(make_socket_directory()),
      endpoint_("ipc://" + (socket_directory_ / "broker.sock").string()),
      has_text_(text == Text::yes) {}

System::~System() {
  running_.clear();
  std::error_code ignored;
  std::filesystem::remove_all(socket_directory_, ignored);
}

std::vector<std::string> System::broker_flags() const {
  return {"--journal-file", directory_ / "journal.db"};
}

std::vector<std::string> System::consumer_flags() const {
  std::vector<std::string> flags{"--db", db()};
  if (has_text_) {
    flags.insert(flags.end(), {"--text", text()});
  }
  return flags;
}

void System::launch(const std::string& command, const std::vector<std::string>& flags) {
  std::vector<std::string> arguments{program_, command, "--broker", endpoint_, "--quiet"};
  arguments.insert(arguments.end(), flags.begin(), flags.end());
  running_.push_back(Process::start(arguments, directory_ / command));
}

void System::start_broker() {
  launch("broker", broker_flags());
}

void System::start_consumer() {
  launch("consumer", consumer_flags());
}

void System::start_serve() {
  auto flags = broker_flags();
  const auto more = consumer_flags();
  flags.insert(flags.end(), more.begin(), more.end());
  launch("serve", flags);
}

void System::wait_for_consumer() {
  wait_until("the consumer was attached", milliseconds(20), [this] {
    auto status =
        Process::start({program_, "status", "--broker", endpoint_, "--timeout", "5s", "--json"},
                       directory_ / "status");
    status.wait();  // 1, 3: not yet
    const auto report = nlohmann::json::parse(status.output(), nullptr, false);
    return report.is_object() && report.contains("consumer") &&
           report["consumer"].value("attached", false);
  });
}

void System::start() {
  start_broker();
  start_consumer();
  wait_for_consumer();
}

Process System::produce(const std::filesystem::path& csv, const std::vector<std::string>& more,
                        const std::string& name) {
  std::vector<std::string> arguments{program_,    "produce",  "csv",     csv,       "--table",
                                     "nutrients", "--broker", endpoint_, "--quiet", "--json"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return Process::start(arguments, directory_ / name);
}

void System::stop() {
  while (!running_.empty()) {
    running_.back().stop();
    running_.pop_back();
  }
}

double System::cpu_seconds() const {
  double sum = 0;
  for (const auto& process : running_) {
    sum += process.cpu_seconds();
  }
  return sum;
}

double System::written_bytes() const {
  double sum = 0;
  for (const auto& process : running_) {
    sum += process.written_bytes();
  }
  return sum;
}

double System::peak_mib() const {
  double most = 0;
  for (const auto& process : running_) {
    most = std::max(most, process.peak_mib());
  }
  return most;
}

bool has_serve(const std::filesystem::path& program, const std::filesystem::path& directory) {
  auto help = Process::start({program, "serve", "--help"}, directory / "serve-help");
  try {
    help.finish();
  } catch (const Interrupted&) {
    throw;
  } catch (const Failure&) {
    return false;
  }
  return true;
}

}  // namespace turnstile::bench
