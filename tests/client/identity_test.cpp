#include "client/identity.h"

#include <set>
#include <string>

#include <gtest/gtest.h>

namespace turnstile {
namespace {

TEST(IdentityTest, RandomIdIs32HexadecimalDigits) {
  const ProducerId id = random_producer_id();
  EXPECT_EQ(id.text.size(), 32U);
  EXPECT_EQ(id.text.find_first_not_of("0123456789abcdef"), std::string::npos);
  EXPECT_TRUE(is_valid_producer_id(id.text));
}

TEST(IdentityTest, RandomIdsDiffer) {
  std::set<ProducerId> ids;
  for (int i = 0; i < 1000; ++i) {
    ids.insert(random_producer_id());
  }
  EXPECT_EQ(ids.size(), 1000U);
}

TEST(IdentityTest, PlainNamesAreAccepted) {
  for (const char* name : {"a", "nightly-import", "P1", "a.b_c-9", "0123456789abcdef"}) {
    const auto id = named_producer_id(name);
    ASSERT_TRUE(id) << name;
    EXPECT_EQ(id->text, name);
  }
  EXPECT_TRUE(named_producer_id(std::string(64, 'n')));
}

TEST(IdentityTest, OtherNamesAreRefused) {
  for (const std::string& name :
       {std::string(), std::string(65, 'n'), std::string("two words"), std::string("a/b"),
        std::string("\xC3\xA9t\xC3\xA9"), std::string("a\nb")}) {
    const auto id = named_producer_id(name);
    ASSERT_FALSE(id) << name;
    EXPECT_EQ(id.error().code, Errc::bad_input);
    EXPECT_FALSE(id.error().hint.empty());
  }
}

TEST(IdentityTest, NameThatLooksLikeARandomIdIsRefused) {
  EXPECT_FALSE(named_producer_id(random_producer_id().text));
}

}  // namespace
}  // namespace turnstile
