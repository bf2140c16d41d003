#include "link/frames.h"

#include <string>
#include <utility>

#include <gtest/gtest.h>

namespace turnstile {
namespace {

zmq::message_t message_of(const std::string& bytes) {
  return zmq::message_t(bytes);
}

TEST(FramesTest, FramesOfEverySizeComeBackUnchanged) {
  for (const std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{4096},
                                 std::size_t{4097}, std::size_t{1'000'000}}) {
    const Frames sent{Bytes(std::string("header")), Bytes(std::string(size, 'r')), Bytes()};
    const auto received = unpacked(packed(sent));
    ASSERT_TRUE(received) << received.error().what;
    ASSERT_EQ(received->size(), 3U);
    EXPECT_EQ((*received)[0].view(), "header");
    EXPECT_EQ((*received)[1].view(), std::string(size, 'r'));
    EXPECT_TRUE((*received)[2].empty());
  }
}

TEST(FramesTest, EachFrameIsWrappedAsBin32) {
  const zmq::message_t message = packed({Bytes(std::string("ab")), Bytes(std::string("c"))});
  EXPECT_EQ(message.to_string(), std::string("\xC6\0\0\0\2ab\xC6\0\0\0\1c", 13));
}

TEST(FramesTest, AnEmptyMessageHasNoFrames) {
  const auto frames = unpacked(zmq::message_t());
  ASSERT_TRUE(frames);
  EXPECT_TRUE(frames->empty());
}

TEST(FramesTest, ATruncatedMessageIsRefused) {
  const std::string whole =
      packed({Bytes(std::string("header")), Bytes(std::string("rows"))}).to_string();
  const std::size_t boundary = 5 + 6;
  for (std::size_t size = 1; size < whole.size(); ++size) {
    const auto frames = unpacked(message_of(whole.substr(0, size)));
    EXPECT_EQ(frames.has_value(), size == boundary) << size;
  }
}

TEST(FramesTest, AnotherMarkerAFourthFrameAndALengthBeyondTheEndAreRefused) {
  EXPECT_FALSE(unpacked(message_of("garbage")));
  EXPECT_FALSE(unpacked(message_of(std::string("\xC6\xFF\xFF\xFF\xFFx", 6))));
  EXPECT_FALSE(unpacked(packed(Frames(4, Bytes(std::string("x"))))));
}

TEST(FramesTest, FramesOutliveTheMessageTheyCameFrom) {
  Bytes rows;
  {
    auto frames = unpacked(packed({Bytes(std::string("h")), Bytes(std::string(100'000, 'y'))}));
    rows = (*frames)[1];
  }
  EXPECT_EQ(rows.view(), std::string(100'000, 'y'));
}

}  // namespace
}  // namespace turnstile
