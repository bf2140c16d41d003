#include "lab/output.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <fstream>

#include <fmt/format.h>

#include "base/descriptor.h"
#include "flags/options.h"
#include "lab/json.h"

namespace turnstile::lab {

TextStyle style_of(std::FILE* out) {
  constexpr std::size_t kNarrowest = 60;
  constexpr std::size_t kWidest = 160;
  TextStyle style;
  const int fd = ::fileno(out);
  if (::isatty(fd) != 1) {
    return style;
  }
  const char* no_color = std::getenv("NO_COLOR");
  style.colours = no_color == nullptr || *no_color == '\0';
  winsize size{};
  if (::ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) {
    style.columns = std::clamp<std::size_t>(size.ws_col, kNarrowest, kWidest);
  }
  return style;
}

Result<void> save(const std::string& path, const std::string& content, bool append) {
  std::ofstream out(path, std::ios::binary | (append ? std::ios::app : std::ios::trunc));
  out << content;
  if (!out.flush()) {
    return fail(Errc::unreachable, "cannot write " + path, "name a file that can be written");
  }
  return {};
}

Result<std::string> save_beside(const std::filesystem::path& path, const std::string& content) {
  std::filesystem::path free = path;
  for (int number = 2;; ++number) {
    constexpr mode_t kMode = 0666;  // minus the umask
    const Descriptor made(::open(free.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, kMode));
    if (made) {
      return save(free.string(), content).map([&] { return free.string(); });
    }
    if (errno == EEXIST) {
      free = path.parent_path() /
             fmt::format("{}-{}{}", path.stem().string(), number, path.extension().string());
      continue;
    }
    return fail(Errc::unreachable, "cannot write " + free.string(),
                "name a directory that can be written");
  }
}

std::vector<const Outcome*> all_of(const std::vector<std::vector<Outcome>>& scenarios) {
  std::vector<const Outcome*> all;
  for (const auto& outcomes : scenarios) {
    for (const Outcome& outcome : outcomes) {
      all.push_back(&outcome);
    }
  }
  return all;
}

Result<void> check_one_scenario(std::size_t scenarios) {
  if (scenarios == 1) {
    return {};
  }
  return fail(Errc::bad_input, fmt::format("--svg draws one scenario, not {}", scenarios),
              "name one scenario, such as slow");
}

std::string json_text(const std::vector<std::vector<Outcome>>& scenarios) {
  Json runs = Json::array();
  for (const Outcome* outcome : all_of(scenarios)) {
    Json run = json_of_end(*outcome, runs.size() + 1);
    run["settings"] = json_of(outcome->recording.run.settings);
    run["wall"] = outcome->recording.run.wall;
    runs.push_back(std::move(run));
  }
  return dump({{"runs", std::move(runs)}}) + '\n';
}

int exit_code_of(const std::vector<std::vector<Outcome>>& scenarios) {
  for (const Outcome* outcome : all_of(scenarios)) {
    const bool lost_in_queue = outcome->recording.run.mode == Mode::queued &&
                               outcome->numbers.lost > 0 && !outcome->recording.stopped;
    if (lost_in_queue || !outcome->disagreements.empty()) {
      return static_cast<int>(ExitCode::refused);
    }
  }
  return static_cast<int>(ExitCode::done);
}

}  // namespace turnstile::lab
