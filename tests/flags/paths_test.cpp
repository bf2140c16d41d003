// One file cannot be used in two roles, by whatever names.
#include "flags/paths.h"

#include <filesystem>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/temporary_folder.h"

namespace turnstile {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class PathsTest : public ::testing::Test {
 protected:
  PathsTest() : folder_(std::filesystem::temp_directory_path()) {}
  [[nodiscard]] std::string at(const std::string& name) const { return folder_.path() / name; }
  void make(const std::string& name) const { std::ofstream(at(name)) << "x"; }
  [[nodiscard]] bool are_distinct(const std::string& db, const std::string& other) const {
    return check_distinct({database_role("--db", db), plain_role("--text", other)}).has_value();
  }

  TemporaryFolder folder_;
};

TEST_F(PathsTest, DifferentFilesAreFineAlsoBeforeTheyAreThere) {
  EXPECT_TRUE(are_distinct(at("a.db"), at("out9.txt")));
  make("a.db");
  make("out9.txt");
  EXPECT_TRUE(are_distinct(at("a.db"), at("out9.txt")));
  EXPECT_TRUE(are_distinct(at("a.db"), ""));
}

TEST_F(PathsTest, OneFileIsRefusedWithBothFlagsBeforeItIsThere) {
  const auto checked = check_distinct(
      {database_role("--db", at("a.db")), journal_role("--journal-file", at("a.db"))});
  ASSERT_FALSE(checked);
  EXPECT_EQ(checked.error().code, Errc::bad_input);
  EXPECT_THAT(checked.error().what, AllOf(HasSubstr("--db"), HasSubstr("--journal-file")));
}

TEST_F(PathsTest, LinksAreFollowed) {
  make("a.db");
  std::filesystem::create_hard_link(at("a.db"), at("hard"));
  std::filesystem::create_symlink("a.db", at("soft"));
  std::filesystem::create_symlink("later.db", at("dangling"));
  std::filesystem::create_directory_symlink(folder_.path(), at("folder"));
  EXPECT_FALSE(are_distinct(at("a.db"), at("hard")));
  EXPECT_FALSE(are_distinct(at("a.db"), at("soft")));
  EXPECT_FALSE(are_distinct(at("later.db"), at("dangling")));
  EXPECT_FALSE(are_distinct(at("later.db"), at("folder/later.db")));
  EXPECT_FALSE(are_distinct(at("x/../later.db"), at("later.db")));
}

TEST_F(PathsTest, WhatIsKeptBesideAFileBelongsToIt) {
  for (const char* end : {"-wal", "-shm", "-journal"}) {
    EXPECT_FALSE(are_distinct(at("a.db"), at("a.db") + end)) << end;
  }
  std::filesystem::create_symlink("a.db", at("soft.db"));
  EXPECT_FALSE(are_distinct(at("soft.db"), at("a.db-wal")));
  EXPECT_FALSE(check_distinct(
      {journal_role("--journal-file", at("j.db")), plain_role("--text", at("j.db.lock"))}));
  EXPECT_FALSE(check_distinct(
      {socket_role("--broker", "ipc://" + at("b.sock")), plain_role("--log-file", at("b.sock"))}));
  EXPECT_TRUE(check_distinct(
      {socket_role("--broker", "tcp://127.0.0.1:5555"), plain_role("--log-file", at("b.sock"))}));
}

}  // namespace
}  // namespace turnstile
