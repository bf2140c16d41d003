// The text log's file when the system fails: what the error says, and of which kind it is.
#include "store/text_file.h"

#include <sys/resource.h>
#include <sys/stat.h>

#include <cerrno>
#include <csignal>
#include <cstdint>
#include <filesystem>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/store/fixture.h"

namespace turnstile::test {
namespace {

using store::TextFile;
using ::testing::AllOf;
using ::testing::HasSubstr;

// A limit of the process stands for the disk's: no file may be longer.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) {
    ::getrlimit(RLIMIT_FSIZE, &before_);
    old_handler_ = std::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{bytes, before_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;
  ~FileSizeLimit() {
    ::setrlimit(RLIMIT_FSIZE, &before_);
    static_cast<void>(std::signal(SIGXFSZ, old_handler_));
  }

 private:
  rlimit before_{};
  void (*old_handler_)(int) = nullptr;
};

TEST(TextFileTest, ADiskWithoutRoomIsFullAndNotBroken) {
  const TempFolder folder;
  const auto path = folder / "out9.txt";
  auto file = store::open_posix_text_file(path);
  ASSERT_TRUE(file) << file.error().what;
  const FileSizeLimit limit(4);
  const auto written = write_all(**file, 0, "[1, line]\n");
  ASSERT_FALSE(written);
  EXPECT_EQ(written.error().code, Errc::full);
  EXPECT_THAT(written.error().what,
              AllOf(HasSubstr("writing " + path.string()), HasSubstr("too large")));
  EXPECT_THAT(written.error().hint, HasSubstr("free space"));
}

TEST(TextFileTest, WhatCannotBeCutIsAnErrorOfTheFile) {
  const TempFolder folder;
  auto file = store::open_posix_text_file(folder / "out9.txt");
  ASSERT_TRUE(file) << file.error().what;
  const auto done = (*file)->truncate(UINT64_MAX);
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, Errc::io);
  EXPECT_THAT(done.error().hint, HasSubstr("disk"));
}

TEST(TextFileTest, WhatIsNoRegularFileIsRefusedWithoutBeingOpened) {
  const TempFolder folder;
  const auto fifo = folder / "fifo";
  ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
  std::filesystem::create_symlink("/dev/null", folder / "link");
  for (const auto& path : {std::filesystem::path("/dev/null"), fifo, folder / "link"}) {
    const auto file = store::open_posix_text_file(path);
    ASSERT_FALSE(file) << path;
    EXPECT_EQ(file.error().code, Errc::unreachable);
    EXPECT_THAT(file.error().what,
                AllOf(HasSubstr(path.string()), HasSubstr("is not a regular file")));
  }
}

TEST(TextFileTest, ALookTellsWhetherThePathStillLeadsToTheFile) {
  const TempFolder folder;
  const auto path = folder / "out9.txt";
  auto file = store::open_posix_text_file(path);
  ASSERT_TRUE(write_all(**file, 0, "12345"));
  EXPECT_TRUE((*file)->look()->is_at_path);
  EXPECT_EQ((*file)->look()->size, 5U);
  std::filesystem::rename(path, folder / "moved");
  EXPECT_FALSE((*file)->look()->is_at_path);
  write_text(path, "12345");
  EXPECT_FALSE((*file)->look()->is_at_path);
  std::filesystem::rename(folder / "moved", path);
  EXPECT_TRUE((*file)->look()->is_at_path);
}

TEST(TextFileTest, AFolderIsNoTextLog) {
  const TempFolder folder;
  const auto file = store::open_posix_text_file(folder / "");
  ASSERT_FALSE(file);
  EXPECT_EQ(file.error().code, Errc::unreachable);
  EXPECT_THAT(file.error().what, HasSubstr("is a directory"));
}

TEST(TextFileTest, EachErrorOfTheSystemIsOfRoomOrOfTheFile) {
  for (const int no_room : {ENOSPC, EDQUOT, EFBIG}) {
    EXPECT_EQ(store::file_error(no_room, "writing", "f").code, Errc::full) << no_room;
  }
  for (const int broken : {EIO, EBADF, EROFS}) {
    EXPECT_EQ(store::file_error(broken, "writing", "f").code, Errc::io) << broken;
  }
}

// A file that takes `bytes` more, in pieces of three.
class SmallFile final : public TextFile {
 public:
  explicit SmallFile(std::size_t bytes) : left_(bytes) {}
  Result<std::uint64_t> size() override { return content.size(); }
  Result<std::size_t> write_some(std::uint64_t offset, std::string_view bytes) override {
    EXPECT_EQ(offset, content.size());
    const std::size_t taken = std::min({left_, bytes.size(), std::size_t{3}});
    content += bytes.substr(0, taken);
    left_ -= taken;
    return taken;
  }
  Result<void> truncate(std::uint64_t /*length*/) override { return {}; }
  Result<void> sync() override { return {}; }

  std::string content;

 private:
  std::size_t left_;
};

TEST(TextFileTest, ShortWritesGoOnBehindWhatWasTakenAndEndWhenNothingIs) {
  SmallFile wide(100);
  EXPECT_TRUE(write_all(wide, 0, "[1, a line]\n"));
  EXPECT_EQ(wide.content, "[1, a line]\n");
  SmallFile narrow(5);
  const auto written = write_all(narrow, 0, "[1, a line]\n");
  ASSERT_FALSE(written);
  EXPECT_EQ(written.error().code, Errc::io);
  EXPECT_EQ(narrow.content, "[1, a");
}

}  // namespace
}  // namespace turnstile::test
