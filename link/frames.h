// Frames between ZeroMQ and the protocol without copying them: a frame that came in is kept alive
// by whoever reads it, one that goes out is kept alive until ZeroMQ has written it.
#pragma once

#include <zmq.hpp>

#include "proto/bytes.h"

namespace turnstile {

Bytes bytes_of(zmq::message_t&& message);

// Small frames are copied, since a shared owner costs more than the bytes; large ones are released
// by ZeroMQ's own thread.
zmq::message_t message_of(const Bytes& bytes);

}  // namespace turnstile
