# What Release adds, where compiler and linker have it, against memory errors that nobody has
# found yet: a position-independent program whose tables are read-only once it is loaded, canaries on
# the stack, checked copies, and jumps that end only where code may be entered.
# tests/cli/hardening_test.sh looks at the result.
include(CheckCXXCompilerFlag)
include(CheckCXXSourceCompiles)
include(CheckLinkerFlag)

# turnstile_compile_if_known(VARIABLE FLAGS... )
function(turnstile_compile_if_known variable)
  string(REPLACE ";" " " flags "${ARGN}")
  check_cxx_compiler_flag("${flags}" ${variable})
  if(${variable})
    add_compile_options(${ARGN})
  endif()
endfunction()

function(turnstile_link_if_known variable flag)
  check_linker_flag(CXX "${flag}" ${variable})
  if(${variable})
    add_link_options(${flag})
  endif()
endfunction()

macro(turnstile_harden)
  turnstile_compile_if_known(TURNSTILE_HAS_PIE -fPIE)
  if(TURNSTILE_HAS_PIE)
    add_link_options($<$<STREQUAL:$<TARGET_PROPERTY:TYPE>,EXECUTABLE>:-pie>)
  endif()
  turnstile_compile_if_known(TURNSTILE_HAS_STACK_PROTECTOR -fstack-protector-strong)
  # x86: Intel CET; ARM: pointer authentication and branch targets.
  turnstile_compile_if_known(TURNSTILE_HAS_CET -fcf-protection=full)
  turnstile_compile_if_known(TURNSTILE_HAS_BTI -mbranch-protection=standard)
  turnstile_link_if_known(TURNSTILE_HAS_RELRO "LINKER:-z,relro")
  turnstile_link_if_known(TURNSTILE_HAS_NOW "LINKER:-z,now")
  turnstile_link_if_known(TURNSTILE_HAS_NOEXECSTACK "LINKER:-z,noexecstack")

  # Level 3, which also checks sizes that are known only at run time, needs compiler and C library.
  set(CMAKE_REQUIRED_FLAGS "-O2 -Werror -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3")
  check_cxx_source_compiles(
    "#include <cstring>
     #if __USE_FORTIFY_LEVEL < 3
     #error \"the C library knows no level 3\"
     #endif
     int main() {}"
    TURNSTILE_HAS_FORTIFY_3)
  unset(CMAKE_REQUIRED_FLAGS)
  add_compile_options(-U_FORTIFY_SOURCE)
  if(TURNSTILE_HAS_FORTIFY_3)
    add_compile_options(-D_FORTIFY_SOURCE=3)
  else()
    add_compile_options(-D_FORTIFY_SOURCE=2)
  endif()
endmacro()

if(CMAKE_BUILD_TYPE STREQUAL "Release" AND NOT TURNSTILE_SANITIZE AND NOT TURNSTILE_FUZZ)
  turnstile_harden()
endif()
