// The system that is measured: broker and consumer as people run them, in a folder of its own.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "bench/process.h"

namespace turnstile::bench {

// Folder NAME in `parent`, made anew; what was in it is removed, and what is to be written to disk
// is written before this returns.
std::filesystem::path fresh_folder(const std::filesystem::path& parent, const std::string& name);

// Has files of so many bytes written in `folder` find memory that the machine has at hand: writes
// such a file and removes it. What a virtual machine does not use, its host may take back within
// seconds (free page reporting), and the first write to it then takes up to ten times as long.
void warm_memory(const std::filesystem::path& folder, std::uint64_t bytes);

class System {
 public:
  enum class Text { no, yes };

  // `program` is turnstile. Nothing is started yet.
  System(std::filesystem::path program, std::filesystem::path folder, Text text = Text::no);
  System(const System&) = delete;
  System& operator=(const System&) = delete;
  ~System();

  void start_broker();
  void start_consumer();
  void start_serve();  // both in one process
  void wait_for_consumer();
  // Broker and consumer, ready for rows.
  void start();

  // `produce csv FILE` with these flags besides.
  Process produce(const std::filesystem::path& csv, const std::vector<std::string>& more = {},
                  const std::string& name = "produce");

  // Ends all, which must go well.
  void stop();

  [[nodiscard]] const std::string& endpoint() const { return endpoint_; }
  [[nodiscard]] std::filesystem::path db() const { return folder_ / "shared.db"; }
  [[nodiscard]] std::filesystem::path text() const { return folder_ / "out9.txt"; }

  // Of broker and consumer while they run: processor time and bytes written to disk in all, and the
  // most memory that one had.
  [[nodiscard]] double cpu_seconds() const;
  [[nodiscard]] double written_bytes() const;
  [[nodiscard]] double peak_mib() const;

 private:
  std::vector<std::string> broker_flags() const;
  std::vector<std::string> consumer_flags() const;
  void launch(const std::string& command, const std::vector<std::string>& flags);

  std::filesystem::path program_;
  std::filesystem::path folder_;
  std::filesystem::path socket_folder_;  // short: the kernel limits the path of a socket
  std::string endpoint_;
  bool has_text_;
  std::vector<Process> running_;  // in the order of starting
};

// Whether `turnstile serve` is there.
bool has_serve(const std::filesystem::path& program, const std::filesystem::path& folder);

}  // namespace turnstile::bench
