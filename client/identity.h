// The identity of a producer: a random id, or a name that outlives the process.
#pragma once

#include <string>

#include "base/result.h"
#include "proto/ids.h"

namespace turnstile {

// 128 bits from the kernel as 32 hexadecimal digits: no two processes ever share one.
ProducerId random_producer_id();

// A name given with --resume. Errors: bad_input for an invalid producer id, and for a name that
// looks like a random id.
Result<ProducerId> named_producer_id(const std::string& name);

}  // namespace turnstile
