// The measured system: broker and consumer as people run them, in a directory of its own.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "bench/process.h"

namespace turnstile::bench {

// Makes an empty directory NAME in `parent`, removes an old one, and syncs all pending writes.
std::filesystem::path fresh_directory(const std::filesystem::path& parent, const std::string& name);

// Makes this much memory available for files in `directory`, by writing such a file and removing
// it. A host may take back free memory of a virtual machine within seconds (free page reporting);
// the first write to such memory takes up to ten times as long.
void warm_memory(const std::filesystem::path& directory, std::uint64_t bytes);

class System {
 public:
  enum class Text { no, yes };

  // `program`: turnstile. Starts nothing.
  System(std::filesystem::path program, std::filesystem::path directory, Text text = Text::no);
  System(const System&) = delete;
  System& operator=(const System&) = delete;
  ~System();

  void start_broker();
  void start_consumer();
  void start_serve();  // both in one process
  void wait_for_consumer();
  // Starts broker and consumer, and waits until they are ready for rows.
  void start();

  // Starts `produce csv FILE` with additional flags.
  Process produce(const std::filesystem::path& csv, const std::vector<std::string>& more = {},
                  const std::string& name = "produce");

  // Stops all processes. Throws Failure unless each exits with 0.
  void stop();

  [[nodiscard]] const std::string& endpoint() const { return endpoint_; }
  [[nodiscard]] std::filesystem::path db() const { return directory_ / "shared.db"; }
  [[nodiscard]] std::filesystem::path text() const { return directory_ / "out9.txt"; }

  // Of broker and consumer while they run: total processor time, total bytes written to disk, and
  // the larger peak of memory.
  [[nodiscard]] double cpu_seconds() const;
  [[nodiscard]] double written_bytes() const;
  [[nodiscard]] double peak_mib() const;

 private:
  std::vector<std::string> broker_flags() const;
  std::vector<std::string> consumer_flags() const;
  void launch(const std::string& command, const std::vector<std::string>& flags);

  std::filesystem::path program_;
  std::filesystem::path directory_;
  std::filesystem::path socket_directory_;  // short: the kernel limits the path of a socket
  std::string endpoint_;
  bool has_text_;
  std::vector<Process> running_;  // in the order they were started
};

// Whether the program has `turnstile serve`.
bool has_serve(const std::filesystem::path& program, const std::filesystem::path& directory);

}  // namespace turnstile::bench
