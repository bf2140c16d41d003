#include "proto/ids.h"

#include <string>

#include <gtest/gtest.h>

#include "proto/limits.h"

namespace turnstile {
namespace {

TEST(ProducerIds, OnlyTheDocumentedCharactersAreValid) {
  const std::string allowed = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
  for (int c = 0; c < 256; ++c) {
    const std::string id(1, static_cast<char>(c));
    EXPECT_EQ(is_valid_producer_id(id), allowed.find(id) != std::string::npos) << c;
  }
}

TEST(ProducerIds, OneToSixtyFourCharactersAreValid) {
  EXPECT_FALSE(is_valid_producer_id(""));
  EXPECT_TRUE(is_valid_producer_id("P"));
  EXPECT_TRUE(is_valid_producer_id(std::string(limits::kProducerBytes, 'p')));
  EXPECT_FALSE(is_valid_producer_id(std::string(limits::kProducerBytes + 1, 'p')));
}

}  // namespace
}  // namespace turnstile
