// Messages between ZeroMQ and the protocol: all frames of a message travel as one ZeroMQ message,
// each wrapped as MessagePack's `bin 32`, one after another. (Not as ZeroMQ's own multi-part
// message: libzmq 4.3.4 aborts a process that reads one while its connection ends and
// ZMQ_IMMEDIATE is set: "Assertion failed: !_more (src/fq.cpp)".)
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include <zmq.hpp>

#include "proto/messages.h"
#include "base/result.h"

namespace turnstile {

zmq::message_t packed(const Frames& frames);
std::size_t packed_bytes(const Frames& frames);
// What stands before a frame of so many bytes.
void append_wrap(std::size_t frame_bytes, std::string& out);

// The frames refer into the message, which they keep alive. An empty message has none.
// Errors: Errc::corrupt when the message is not such a sequence.
Result<Frames> unpacked(zmq::message_t&& message);
Result<Frames> unpacked(std::string message);

// What a packed message may have at most.
std::int64_t largest_message_bytes();

}  // namespace turnstile
