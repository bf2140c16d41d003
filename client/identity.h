// Who a producer is: a random id of its own, or a name that outlives the process.
#pragma once

#include <string>

#include "proto/ids.h"
#include "base/result.h"

namespace turnstile {

// 128 bits from the kernel as 32 hexadecimal digits: no two processes ever share one.
ProducerId random_producer_id();

// A name given with --resume. Errors: bad_input for what is no valid producer id, and for what
// looks like a random one.
Result<ProducerId> named_producer_id(const std::string& name);

}  // namespace turnstile
