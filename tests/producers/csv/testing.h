// What the CSV tests share: bytes from memory, scratch files, and rows as lines of text.
#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <variant>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gtest/gtest.h>

#include "base/descriptor.h"
#include "producers/csv/bytes.h"
#include "producers/csv/reader.h"

namespace turnstile::csv::testing {

// Returns `text` in pieces of at most `piece_bytes`.
class MemorySource final : public ByteSource {
 public:
  MemorySource(std::string_view text, std::size_t piece_bytes)
      : rest_(text), piece_bytes_(piece_bytes) {}

  Result<std::size_t> read(std::span<char> into) override {
    const std::size_t n = std::min({into.size(), piece_bytes_, rest_.size()});
    std::copy_n(rest_.begin(), n, into.begin());
    rest_.remove_prefix(n);
    return n;
  }

 private:
  std::string_view rest_;
  std::size_t piece_bytes_;
};

// "line@offset#number a|b" for a row, "line! reason" for a bad one.
inline std::string show(const Item& item) {
  if (const auto* bad = std::get_if<BadRow>(&item)) {
    return fmt::format("{}! {}", bad->line, bad->reason);
  }
  const auto& row = std::get<Record>(item);
  return fmt::format("{}@{}#{} {}", row.line, row.offset, row.number, fmt::join(row.fields, "|"));
}

// The rest of a source. An error becomes a line "error: ...", and ends it.
inline std::vector<std::string> drain(RowSource& source) {
  std::vector<std::string> lines;
  for (;;) {
    const auto item = source.next();
    if (!item) {
      lines.push_back("error: " + item.error().what);
      return lines;
    }
    if (!*item) {
      return lines;
    }
    lines.push_back(show(**item));
  }
}

// A regular file in memory: fast to rewrite thousands of times.
class MemoryFile {
 public:
  MemoryFile() : file_(::memfd_create("csv-test", MFD_CLOEXEC)) { EXPECT_GE(file_.get(), 0); }

  std::string path() const { return fmt::format("/proc/self/fd/{}", file_.get()); }
  void write(std::string_view text) {
    EXPECT_EQ(::ftruncate(file_.get(), 0), 0);
    EXPECT_EQ(::pwrite(file_.get(), text.data(), text.size(), 0), std::ssize(text));
  }

 private:
  Descriptor file_;
};

class ScratchFolder {
 public:
  ScratchFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "csv-test-XXXXXX").string();
    EXPECT_NE(::mkdtemp(name.data()), nullptr);
    path_ = name;
    std::filesystem::permissions(path_, std::filesystem::perms(0755));
  }
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;
  ~ScratchFolder() { std::filesystem::remove_all(path_); }

  const std::filesystem::path& path() const { return path_; }
  std::string file(const std::string& name, std::string_view text) const {
    std::string path = (path_ / name).string();
    std::ofstream(path, std::ios::binary) << text;
    return path;
  }

 private:
  std::filesystem::path path_;
};

// While this lives, standard input is a pipe that contains `text`.
class StandardInput {
 public:
  explicit StandardInput(std::string text) : saved_(::dup(STDIN_FILENO)) {
    int ends[2] = {-1, -1};  // NOLINT(modernize-avoid-c-arrays): pipe() takes one
    EXPECT_EQ(::pipe(ends), 0);
    const Descriptor reader(ends[0]);
    ::dup2(reader.get(), STDIN_FILENO);
    writer_ = std::thread([to = Descriptor(ends[1]), text = std::move(text)] {
      for (std::string_view rest = text; !rest.empty();) {
        const ssize_t n = ::write(to.get(), rest.data(), rest.size());
        if (n < 0) {
          break;
        }
        rest.remove_prefix(static_cast<std::size_t>(n));
      }
    });
  }
  StandardInput(const StandardInput&) = delete;
  StandardInput& operator=(const StandardInput&) = delete;
  ~StandardInput() {
    writer_.join();
    ::dup2(saved_.get(), STDIN_FILENO);
  }

 private:
  Descriptor saved_;
  std::thread writer_;
};

inline std::unique_ptr<RowSource> must_open(const CsvOptions& options) {
  auto source = open_csv(options);
  if (!source) {
    ADD_FAILURE() << source.error().what;
    return nullptr;
  }
  return std::move(*source);
}

}  // namespace turnstile::csv::testing
