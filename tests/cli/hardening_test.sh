#!/bin/bash
# hardening_test.sh PROGRAM [cet]: whether a Release build is what cmake/hardening.cmake asks for,
# as the ELF file says. `cet`: the compiler knows -fcf-protection.
set -euo pipefail
program=$1
failed=0
need() { # need WHAT PATTERN TEXT
  grep -qE -- "$2" <<<"$3" || { echo "missing: $1 (no $2)"; failed=1; }
}
header=$(readelf -hW "$program")
segments=$(readelf -lW "$program")
dynamic=$(readelf -dW "$program")
symbols=$(readelf --dyn-syms -W "$program")
need "a position-independent program" 'Type: +DYN' "$header"
need "tables that are read-only after loading" 'GNU_RELRO' "$segments"
need "all symbols bound at the start" 'FLAGS.*(BIND_NOW|NOW)' "$dynamic"
need "a stack that cannot be executed" 'GNU_STACK +[^ ]+ +[^ ]+ +[^ ]+ +[^ ]+ +[^ ]+ +RW +' "$segments"
need "canaries on the stack" '__stack_chk_fail' "$symbols"
need "checked copies" '__[a-z]+_chk' "$symbols"
if [[ ${2:-} == cet ]]; then
  # The note of the whole program also needs libraries that have it: so the code itself.
  need "entries marked for CET" 'endbr64' "$(objdump -d --disassemble=main "$program")"
fi
exit "$failed"
