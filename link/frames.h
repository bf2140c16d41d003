// Converts between ZeroMQ's messages and the protocol's: all frames of a message travel as one
// ZeroMQ message, each wrapped as MessagePack's `bin 32`, one after another. They do not travel as
// a multi-part message of ZeroMQ: libzmq 4.3.4 aborts a process that reads one while its connection
// ends and ZMQ_IMMEDIATE is set ("Assertion failed: !_more (src/fq.cpp)").
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include <zmq.hpp>

#include "base/result.h"
#include "proto/messages.h"

namespace turnstile {

zmq::message_t packed(const Frames& frames);
std::size_t packed_bytes(const Frames& frames);
// Appends the wrapper that precedes a frame of `frame_bytes`.
void append_wrap(std::size_t frame_bytes, std::string& out);

// The frames point into the message and keep it alive. An empty message has none. Errors: corrupt,
// not such a sequence.
Result<Frames> unpacked(zmq::message_t&& message);
Result<Frames> unpacked(std::string message);

// The limit of a packed message.
std::int64_t largest_message_bytes();

}  // namespace turnstile
