#include "link/frames.h"

#include <string>
#include <utility>

#include <gtest/gtest.h>

namespace turnstile {
namespace {

TEST(FramesTest, LargeFrameGoesOutWithoutACopy) {
  const Bytes bytes(std::string(100'000, 'x'));
  const zmq::message_t message = message_of(bytes);
  EXPECT_EQ(message.data(), static_cast<const void*>(bytes.view().data()));
}

TEST(FramesTest, LargeFrameOutlivesTheBytesItCameFrom) {
  zmq::message_t message;
  {
    const Bytes bytes(std::string(100'000, 'x'));
    message = message_of(bytes);
  }
  EXPECT_EQ(message.to_string(), std::string(100'000, 'x'));
}

TEST(FramesTest, SmallFrameIsCopied) {
  const Bytes bytes(std::string("small"));
  const zmq::message_t message = message_of(bytes);
  EXPECT_NE(message.data(), static_cast<const void*>(bytes.view().data()));
  EXPECT_EQ(message.to_string(), "small");
}

TEST(FramesTest, EmptyFrameStaysEmpty) {
  EXPECT_EQ(message_of(Bytes()).size(), 0U);
  EXPECT_TRUE(bytes_of(zmq::message_t()).empty());
}

TEST(FramesTest, BytesKeepTheMessageTheyCameFrom) {
  zmq::message_t message(std::string(100'000, 'y'));
  const void* data = message.data();
  const Bytes bytes = bytes_of(std::move(message));
  EXPECT_EQ(static_cast<const void*>(bytes.view().data()), data);
  EXPECT_EQ(bytes.view(), std::string(100'000, 'y'));
}

TEST(FramesTest, SmallMessageBecomesBytesOfItsOwn) {
  EXPECT_EQ(bytes_of(zmq::message_t(std::string("tiny"))).view(), "tiny");
}

}  // namespace
}  // namespace turnstile
