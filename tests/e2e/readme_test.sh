#!/usr/bin/env bash
# Every command of the user's pages runs: each block marked sh of README.md and docs/*.md, in order,
# in a scratch copy of the project for each page. Tests and links that the pages name exist.
#
#   readme_test.sh PROGRAM     the turnstile that the commands use, so that nothing is built
#
# A block marked `sh exit=N` must end with that code, any other with 0, and each within its deadline.
set -euo pipefail

program=$(realpath -- "${1:?the path of turnstile}")
project=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.." && pwd)
readonly deadline=120s least_blocks=10
cd -- "$project"
pages=(README.md docs/*.md)

scratch=$(mktemp -d)
copy=''
stop_copy() {
  [[ -z $copy ]] || "$copy/compose/down" --run "$copy/run" >"$scratch/down.log" 2>&1 || true
}
on_exit() {
  stop_copy
  rm -rf -- "$scratch"
}
trap on_exit EXIT

mkdir -p -- "$scratch/home" "$scratch/bin"
ln -s -- "$program" "$scratch/bin/turnstile"
failures=0 total=0

# Each block becomes a file LINE.sh whose first line says the exit code that it must have.
extract_blocks() { # extract_blocks PAGE DIRECTORY
  awk -v directory="$2" '
    /^```/ && inside { inside = 0; close(file); next }
    /^```sh( exit=[0-9]+)?$/ {
      inside = 1
      file = sprintf("%s/%05d.sh", directory, NR)
      print "# " (split($0, parts, "=") > 1 ? parts[2] : 0) >file
      next
    }
    /^```sh/ { print FILENAME ":" NR ": not understood: " $0 >"/dev/stderr"; exit 1 }
    /^```/ { inside = 1; file = "/dev/null"; next }
    inside { print >file }' "$1"
}

run_blocks() { # run_blocks PAGE
  local page=$1 name wanted code block blocks
  blocks=$scratch/blocks/${page//\//_}
  mkdir -p -- "$blocks"
  extract_blocks "$page" "$blocks"
  [[ -n $(ls -- "$blocks") ]] || return 0
  copy=$scratch/copies/${page//\//_}
  mkdir -p -- "$copy"
  tar -C "$project" --exclude=./build --exclude=./run --exclude=./demo --exclude=./.git \
    --exclude=node_modules -cf - . | tar -C "$copy" -xf -
  for block in "$blocks"/*.sh; do
    name=$(basename -- "$block" .sh)
    read -r _ wanted <"$block"
    code=0
    # The options of a sanitizer are passed on.
    (cd -- "$copy" && env -i ${TSAN_OPTIONS:+"TSAN_OPTIONS=$TSAN_OPTIONS"} \
      ${UBSAN_OPTIONS:+"UBSAN_OPTIONS=$UBSAN_OPTIONS"} HOME="$scratch/home" \
      PATH="$scratch/bin:$PATH" TERM=dumb TURNSTILE_PROGRAM="$program" \
      timeout -k 5s "$deadline" bash -euo pipefail "$block") >"$scratch/output" 2>&1 </dev/null ||
      code=$?
    total=$((total + 1))
    if ((code == wanted)); then
      echo "$page:$((10#$name)): as it says"
    else
      echo "$page:$((10#$name)): exit code $code instead of $wanted:"
      cat -- "$block" "$scratch/output"
      failures=$((failures + 1))
    fi
  done
  stop_copy
}

# Relative links of a page; a page is a plain file of the project.
check_links() { # check_links PAGE
  local target
  while read -r target; do
    if [[ ! -e $(dirname -- "$1")/$target ]]; then
      echo "$1: there is no $target"
      failures=$((failures + 1))
    fi
  done < <(grep -oE '\]\([^)#]+' "$1" | cut -c 3- | grep -vE '^https?:' | sort -u)
}

check_test_names() { # check_test_names PAGE: each test that it names is one
  local suite name
  # shellcheck disable=SC2016  # a backtick of Markdown
  while IFS=. read -r suite name; do
    if ! grep -rqE --include='*.cpp' "^TEST(_F|_P)?\\($suite, $name\\)" tests; then
      echo "$1: there is no test $suite.$name"
      failures=$((failures + 1))
    fi
  done < <(grep -oE '`[A-Z][A-Za-z]+\.[A-Z][A-Za-z0-9]+`' "$1" | tr -d '`' | sort -u)
}

# Files that a page names, such as broker/core.cpp.
check_file_names() { # check_file_names PAGE
  local name
  while read -r name; do
    if [[ ! -e $name ]]; then
      echo "$1: there is no file $name"
      failures=$((failures + 1))
    fi
  done < <(grep -oE '\b[a-z_]+/[A-Za-z0-9_/]+\.(cpp|h|md|sh|py)\b' "$1" | sort -u)
}

for page in "${pages[@]}"; do
  run_blocks "$page"
done
if ((total < least_blocks)); then
  echo "the pages have only $total blocks to run" >&2
  exit 1
fi
for page in "${pages[@]}" CONTRIBUTING.md SECURITY.md proto/PROTOCOL.md; do
  check_links "$page"
  check_test_names "$page"
  check_file_names "$page"
done
((failures == 0))
