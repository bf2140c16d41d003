// The text log's file when the system fails: what the error says, and of which kind it is.
#include "store/text_file.h"

#include <cerrno>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/store/fixture.h"

namespace turnstile::test {
namespace {

using store::TextFile;
using ::testing::AllOf;
using ::testing::HasSubstr;

TEST(TextFileTest, ADiskWithoutRoomIsFullAndNotBroken) {
  auto file = store::open_posix_text_file("/dev/full");
  ASSERT_TRUE(file) << file.error().what;
  const auto written = write_all(**file, 0, "[1, line]\n");
  ASSERT_FALSE(written);
  EXPECT_EQ(written.error().code, Errc::full);
  EXPECT_THAT(written.error().what, AllOf(HasSubstr("writing /dev/full"), HasSubstr("No space")));
  EXPECT_THAT(written.error().hint, HasSubstr("free space"));
}

TEST(TextFileTest, WhatCannotBeCutOrSyncedIsAnErrorOfTheFile) {
  auto file = store::open_posix_text_file("/dev/full");
  ASSERT_TRUE(file) << file.error().what;
  for (const auto& done : {(*file)->truncate(0), (*file)->sync()}) {
    ASSERT_FALSE(done);
    EXPECT_EQ(done.error().code, Errc::io);
    EXPECT_THAT(done.error().hint, HasSubstr("disk"));
  }
}

TEST(TextFileTest, AFolderIsNoTextLog) {
  const TempFolder folder;
  const auto file = store::open_posix_text_file(folder / "");
  ASSERT_FALSE(file);
  EXPECT_EQ(file.error().code, Errc::unreachable);
  EXPECT_THAT(file.error().what, HasSubstr("opening "));
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
