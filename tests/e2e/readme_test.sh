#!/usr/bin/env bash
# Every command of the README runs: each block marked sh, in order, in a scratch copy of the project.
#
#   readme_test.sh PROGRAM     the turnstile that the commands use, so that nothing is built
#
# A block marked `sh exit=N` must end with that code, any other with 0, and each within its deadline.
set -euo pipefail

program=$(realpath -- "${1:?the path of turnstile}")
project=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.." && pwd)
readonly deadline=120s least_blocks=5

scratch=$(mktemp -d)
on_exit() {
  "$scratch/project/compose/down" --run "$scratch/project/run" >"$scratch/down.log" 2>&1 || true
  rm -rf -- "$scratch"
}
trap on_exit EXIT

mkdir -p -- "$scratch/project" "$scratch/home" "$scratch/bin" "$scratch/blocks"
tar -C "$project" --exclude=./build --exclude=./run --exclude=./demo --exclude=./.git -cf - . |
  tar -C "$scratch/project" -xf -
ln -s -- "$program" "$scratch/bin/turnstile"

# Each block becomes a file LINE.sh whose first line says the exit code that it must have.
awk -v folder="$scratch/blocks" '
  /^```/ && inside { inside = 0; close(file); next }
  /^```sh( exit=[0-9]+)?$/ {
    inside = 1
    file = sprintf("%s/%05d.sh", folder, NR)
    print "# " (split($0, parts, "=") > 1 ? parts[2] : 0) >file
    next
  }
  /^```sh/ { print "line " NR ": not understood: " $0 >"/dev/stderr"; exit 1 }
  /^```/ { inside = 1; file = "/dev/null"; next }
  inside { print >file }' "$project/README.md"

blocks=("$scratch"/blocks/*.sh)
if ((${#blocks[@]} < least_blocks)); then
  echo "README.md has only ${#blocks[@]} blocks to run" >&2
  exit 1
fi

cd -- "$scratch/project"
failures=0
for block in "${blocks[@]}"; do
  name=$(basename -- "$block" .sh)
  read -r _ wanted <"$block"
  code=0
  # What a sanitizer must know goes along.
  env -i ${TSAN_OPTIONS:+"TSAN_OPTIONS=$TSAN_OPTIONS"} ${UBSAN_OPTIONS:+"UBSAN_OPTIONS=$UBSAN_OPTIONS"} HOME="$scratch/home" PATH="$scratch/bin:$PATH" TERM=dumb TURNSTILE_PROGRAM="$program" \
    timeout -k 5s "$deadline" bash -euo pipefail "$block" >"$scratch/output" 2>&1 </dev/null ||
    code=$?
  if ((code == wanted)); then
    echo "README.md:$((10#$name)): as it says"
  else
    echo "README.md:$((10#$name)): exit code $code instead of $wanted:"
    cat -- "$block" "$scratch/output"
    failures=$((failures + 1))
  fi
done

# Each test that docs/RELIABILITY.md names is one.
# shellcheck disable=SC2016  # a backtick of Markdown
named=$(grep -oE '`[A-Z][A-Za-z]+\.[A-Z][A-Za-z0-9]+`' "$project/docs/RELIABILITY.md" | tr -d '`' | sort -u)
while IFS=. read -r suite name; do
  if ! grep -rqE "^TEST(_F|_P)?\\($suite, $name\\)" "$project"/tests/*/*.cpp; then
    echo "docs/RELIABILITY.md: there is no test $suite.$name"
    failures=$((failures + 1))
  fi
done <<<"$named"
((failures == 0))
