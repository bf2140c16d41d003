#!/usr/bin/env bash
# The scripts people start with, with the real program: what they say, their exit codes, and that
# nothing is left running.
#
#   compose_test.sh PROGRAM
set -euo pipefail

program=$(realpath -- "${1:?the path of turnstile}")
compose=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../../compose" && pwd)
sample=$compose/sample/nutrient.csv
export TURNSTILE_PROGRAM=$program

scratch=$(mktemp -d)
on_exit() {
  local code=$?
  "$compose/down" --run "$scratch/up" >"$scratch/down.log" 2>&1 || true
  "$compose/down" --run "$scratch/apart/run" >"$scratch/down.log" 2>&1 || true
  "$compose/down" --run "$scratch/apart/demo" >"$scratch/down.log" 2>&1 || true
  rm -rf -- "$scratch"
  exit "$code"
}
trap on_exit EXIT
cd -- "$scratch"

test_name=''
failures=0
fail() {
  echo "FAILED $test_name: $*"
  [[ ! -s output ]] || sed 's/^/    /' output
  failures=$((failures + 1))
}

# run WANTED_CODE COMMAND...: keeps what it says in the file output
run() {
  local wanted=$1 code=0
  shift
  timeout -k 5s 120s "$@" >output 2>&1 </dev/null || code=$?
  ((code == wanted)) || fail "exit code $code instead of $wanted: $*"
}

says() { grep -qE -- "$1" output || fail "does not say '$1'"; }

# Whoever works in the scratch folder is one of ours; this script's own shells are not counted.
nothing_is_left() {
  local process
  for process in /proc/[0-9]*; do
    if [[ $(readlink -- "$process/cwd") == "$scratch"* &&
      $(readlink -- "$process/exe") != "$BASH" ]]; then
      fail "still runs: $(tr '\0' ' ' <"$process/cmdline")"
    fi
  done 2>/dev/null
}

rows_in() { sqlite3 -init /dev/null "$1" "SELECT count(*) FROM $2" 2>/dev/null; }

AllRowsArriveThroughTheBroker() {
  run 0 "$compose/demo" --interval 0 --run queued
  says '^All 54 rows arrived, once each\.$'
  says '^\[2069, Glutathione, MG, 961, 9000, 2:45\]$'
  [[ $(head -n 1 queued/out9.txt) == '[2069, Glutathione, MG, 961, 9000, 2:45]' ]] || fail 'first line'
  [[ $(tail -n 1 queued/out9.txt) == '[2047, Energy'* ]] || fail 'last line'
  [[ $(rows_in queued/shared.db pets) == 6 && $(rows_in queued/shared.db nutrients) == 48 ]] ||
    fail 'rows in the database'
}

KeptDatabaseIsAddedTo() {
  run 0 "$compose/demo" --interval=0 --run queued --keep
  says '^All 54 rows arrived'
  [[ $(rows_in queued/shared.db nutrients) == 96 ]] || fail 'rows in the database'
  [[ $(wc -l <queued/out9.txt) == 96 ]] || fail 'lines in out9.txt'
}

FilesThatTheDemoDidNotMakeAreKept() {
  mkdir -p mine
  sqlite3 mine/shared.db 'CREATE TABLE precious(a); INSERT INTO precious VALUES (1)'
  echo 'a line of mine' >mine/out9.txt
  run 1 "$compose/demo" --interval 0 --run mine
  says "did not make these files in 'mine': shared.db out9.txt"
  [[ $(rows_in mine/shared.db precious) == 1 && $(<mine/out9.txt) == 'a line of mine' ]] ||
    fail 'a file was removed'
  run 0 "$compose/demo" --interval 0 --run mine --overwrite
  says '^All 54 rows arrived'
  run 0 "$compose/demo" --interval 0 --run mine
  says '^All 54 rows arrived'
  sqlite3 moved.db 'CREATE TABLE precious(a); INSERT INTO precious VALUES (1)'
  rm -f mine/shared.db mine/shared.db-*
  mv moved.db mine/shared.db
  run 1 "$compose/demo" --interval 0 --run mine
  says "did not make these files in 'mine': shared.db"
  [[ $(rows_in mine/shared.db precious) == 1 ]] || fail 'a file was removed'
}

DemoAndUpHaveFoldersOfTheirOwn() {
  # In a copy, since their folders lie in the folder where they are started.
  mkdir -p apart && cd apart
  run 0 "$compose/up"
  run 0 "$compose/produce" pets
  run 0 "$compose/down"
  run 0 "$compose/demo" --interval 0
  says '^All 54 rows arrived'
  [[ $(rows_in run/shared.db pets) == 6 && $(rows_in demo/shared.db pets) == 6 ]] ||
    fail 'rows in the databases'
  run 1 "$compose/demo" --interval 0 --run run
  says "did not make these files in 'run'"
  [[ $(rows_in run/shared.db pets) == 6 ]] || fail 'the database was removed'
  run 0 "$compose/up" --run demo
  run 0 "$compose/down" --run demo
  run 1 "$compose/demo" --interval 0
  says "did not make these files in 'demo'"
  cd ..
}

AnyCsvIsStreamedIntoATableOfItsName() {
  printf 'a,b\n1,"x, y"\n2,z\n' >pairs.csv
  run 0 "$compose/demo" --interval 0 --run pairs --csv pairs.csv
  says '^All 8 rows arrived'
  [[ $(rows_in pairs/shared.db pairs) == 2 ]] || fail 'rows in the database'
}

StreamEndsAfterItsTime() {
  run 0 "$compose/demo" --interval 100ms --for 1s --run short
  says '^All [0-9]+ rows arrived'
  (($(rows_in short/shared.db nutrients) < 48)) || fail 'the stream did not end early'
}

# Waits for the first line of the text log on the terminal, then interrupts.
InterruptSumsUpAndLeavesNothingRunning() {
  local line code=0 demo output_of_demo is_sent=0
  set -m
  exec {output_of_demo}< <(exec "$compose/demo" --interval 1s --run interrupted 2>&1)
  demo=$!
  set +m
  : >output
  while IFS= read -r -t 60 line <&"$output_of_demo"; do
    printf '%s\n' "$line" >>output
    if [[ $line == '['* ]] && ((!is_sent)); then
      is_sent=1
      kill -INT "$demo"
    fi
  done
  wait "$demo" || code=$?
  ((code == 130)) || fail "exit code $code instead of 130"
  says '^All [0-9]+ rows arrived'
  exec {output_of_demo}<&-
}

DirectModeLosesPetsAndSaysSo() {
  run 1 "$compose/demo" --direct --task-duration 3s --interval 0 --run direct
  says 'database is locked'
  says 'rows were lost'
  (($(rows_in direct/shared.db pets) < 6)) || fail 'no pet was lost'
}

UpProduceDown() {
  run 0 "$compose/up" --run up
  says '^Up: '
  run 0 "$compose/up" --run up
  says '^Already up'
  run 1 "$compose/demo" --run up
  says 'compose/down first'
  run 0 "$compose/produce" --run up pets
  run 0 "$compose/produce" --run up csv "$sample"
  [[ $(rows_in up/shared.db pets) == 6 && $(rows_in up/shared.db nutrients) == 48 ]] ||
    fail 'rows in the database'
  run 0 "$compose/down" --run up
  says '^Stopped: consumer broker\.$'
  run 0 "$compose/down" --run up
  says '^Nothing is running'
}

StalePidFileHarmsNobody() {
  mkdir -p up
  echo "$$ 1 of-another-boot" >up/broker.pid
  run 0 "$compose/down" --run up
  says '^Nothing is running'
}

WrongUsageEndsWith2() {
  run 2 "$compose/demo" --no-such-flag
  says "unknown argument '--no-such-flag'"
  run 2 "$compose/demo" --interval soon
  says 'an interval is written'
  run 2 "$compose/demo" --csv
  says 'needs a value'
  run 3 "$compose/demo" --csv no-such-file.csv
  run 0 "$compose/demo" --help
  says '--task-duration'
}

LongFolderNamesWork() {
  local long
  long=$(printf 'x%.0s' {1..150})
  mkdir -p "$long"
  run 0 "$compose/demo" --interval 0 --run "$scratch/$long/run"
  says '^All 54 rows arrived'
}

for test_name in AllRowsArriveThroughTheBroker KeptDatabaseIsAddedTo \
  FilesThatTheDemoDidNotMakeAreKept DemoAndUpHaveFoldersOfTheirOwn \
  AnyCsvIsStreamedIntoATableOfItsName StreamEndsAfterItsTime InterruptSumsUpAndLeavesNothingRunning \
  DirectModeLosesPetsAndSaysSo UpProduceDown StalePidFileHarmsNobody WrongUsageEndsWith2 \
  LongFolderNamesWork; do
  before=$failures
  : >output
  "$test_name"
  nothing_is_left
  ((failures > before)) || echo "passed $test_name"
done
((failures == 0))
