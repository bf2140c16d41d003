#include "inspect/disk.h"

#include <filesystem>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/temporary_folder.h"

namespace turnstile {
namespace {

using testing::HasSubstr;

TEST(Disk, NetworkFileSystemsAreKnownAsSuch) {
  for (const std::uint32_t magic :
       {0x6969U, 0xff534d42U, 0xfe534d42U, 0x517bU, 0x65735546U, 0x01021997U, 0x00c36400U}) {
    EXPECT_EQ(file_system_of(magic).kind, FileSystemKind::network) << std::hex << magic;
  }
  EXPECT_EQ(file_system_of(0x6969).name, "NFS");
}

TEST(Disk, LocalAndMemoryFileSystemsAreToldApart) {
  EXPECT_EQ(file_system_of(0xef53).kind, FileSystemKind::local);
  EXPECT_EQ(file_system_of(0x01021994).kind, FileSystemKind::memory);
}

TEST(Disk, AnUnknownFileSystemIsNamedByItsNumber) {
  const FileSystem files = file_system_of(0x12345678);
  EXPECT_EQ(files.kind, FileSystemKind::unknown);
  EXPECT_THAT(files.name, HasSubstr("0x12345678"));
}

TEST(Disk, AMissingFolderIsNamedWithTheReason) {
  const auto disk = look_at_disk("/nowhere/at/all");
  ASSERT_FALSE(disk);
  EXPECT_EQ(disk.error().code, Errc::unreachable);
  EXPECT_THAT(disk.error().what, HasSubstr("'/nowhere/at/all': No such file or directory"));
}

TEST(Sync, ItsTemporaryFileIsRemoved) {
  const TemporaryFolder folder(testing::TempDir());
  EXPECT_TRUE(measure_sync(folder.path()));
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

TEST(Sync, AFolderThatTakesNoFilesIsNamedWithTheReason) {
  const auto times = measure_sync("/proc");  // takes none, not even from root
  ASSERT_FALSE(times);
  EXPECT_EQ(times.error().code, Errc::unreachable);
  EXPECT_THAT(times.error().what, HasSubstr("cannot write a file in the directory '/proc'"));
}

}  // namespace
}  // namespace turnstile
