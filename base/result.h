// Errors that a caller can act on are returned, as Result<T>; programming errors are asserted.
#pragma once

#include <string>
#include <utility>

#include <tl/expected.hpp>

namespace turnstile {

enum class Errc {
  bad_input,    // the user's data or flags: fix them and retry
  refused,      // the other side understood and said no
  unreachable,  // could not reach or open something; trying again may help
  locked,       // another process holds the database
  full,         // no space left, or a configured bound reached
  io,           // reading, writing or syncing failed: what is on disk is unknown until read back
  corrupt,      // what was read is not what a writer of ours would have written
  fenced,       // a newer owner (lease or epoch) has taken over
};

struct Error {
  Errc code;
  std::string what;  // what happened, and to what
  std::string hint;  // what to do; may be empty
};

template <typename T>
using Result = tl::expected<T, Error>;

inline tl::unexpected<Error> fail(Errc code, std::string what, std::string hint = {}) {
  return tl::make_unexpected(Error{code, std::move(what), std::move(hint)});
}

}  // namespace turnstile
