// Under a sanitizer each step takes several times as long, and what a process has in memory is
// mostly the sanitizer's: campaigns are shorter there, and bounds on memory say nothing.
#pragma once

namespace turnstile {

#if defined(TURNSTILE_SANITIZED)
inline constexpr bool kSanitized = true;
#else
inline constexpr bool kSanitized = false;
#endif

}  // namespace turnstile
