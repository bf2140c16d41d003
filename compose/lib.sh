# shellcheck shell=bash
# Functions that the scripts share; to be sourced. Needs bash and util-linux.

project=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
readonly project

readonly kDone=0 kRefused=1 kUsage=2 kUnreachable=3 kInterrupted=130
export kDone kRefused kUsage kUnreachable kInterrupted

# The kernel's limit for the path of a socket, without the final NUL.
readonly kLongestSocketPath=107

die() { # die CODE MESSAGE...
  local code=$1
  shift
  printf '%s: %s\n' "${0##*/}" "$*" >&2
  exit "$code"
}

usage_error() { die "$kUsage" "$* (see --help)"; }

# Prints the comment block at the top of the script.
print_help() { sed -n '2,/^[^#]/{s/^# \{0,1\}//p;}' "$0"; }

need_value() { # need_value FLAG [VALUE...]
  [[ $# -ge 2 && -n $2 ]] || usage_error "$1 needs a value"
}

is_duration() { [[ $1 =~ ^(0|[0-9]{1,9}(ms|s|m|h))$ ]]; }

need_duration() { # need_duration FLAG VALUE
  is_duration "$2" || usage_error "$1 $2: a duration is written 250ms, 3s, 2m, 1h or 0"
}

need_duration_range() { # need_duration_range FLAG VALUE
  if ! is_duration "${2%%..*}" || ! is_duration "${2#*..}"; then
    usage_error "$1 $2: an interval is written 250ms, 3s, 1s..3s or 0"
  fi
}

seconds_of() { # seconds_of DURATION: in the format of sleep
  case $1 in
    0) echo 0 ;;
    *ms) printf '%d.%03d\n' "$((10#${1%ms} / 1000))" "$((10#${1%ms} % 1000))" ;;
    *) echo "$1" ;;
  esac
}

# --- SQLite -------------------------------------------------------------------------------------

# Runs the sqlite3 shell without the user's settings.
sql() { # sql DB STATEMENT...
  sqlite3 -batch -init /dev/null -noheader -list -cmd '.timeout 5000' "$@"
}

sql_text() { printf "'%s'" "${1//\'/\'\'}"; }

json_value() { # json_value FILE PATH: empty if the file is not JSON or lacks the value
  sql :memory: "WITH file(text) AS (SELECT CAST(readfile($(sql_text "$1")) AS TEXT))
    SELECT CASE WHEN json_valid(text) THEN json_extract(text, $(sql_text "$2")) END FROM file"
}

# --- processes ----------------------------------------------------------------------------------

# Identifies a process. The kernel may reuse the id alone, but not with the same start time and boot.
identity_of() { # identity_of PID: "PID START BOOT"
  local stat fields boot
  { read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 1
  read -ra fields <<<"${stat##*) }"
  [[ ${fields[0]} != Z ]] || return 1
  read -r boot </proc/sys/kernel/random/boot_id
  printf '%s %s %s\n' "$1" "${fields[19]}" "$boot"
}

# running_in PIDFILE: prints the process id if the process in the file still runs.
running_in() {
  local identity
  { read -r identity <"$1"; } 2>/dev/null || return 1
  [[ -n $identity && $(identity_of "${identity%% *}") == "$identity" ]] || return 1
  echo "${identity%% *}"
}

# wait_until SECONDS COMMAND...: runs the command every 0.1 s until it succeeds.
wait_until() {
  local deadline=$((SECONDS + $1))
  shift
  until "$@"; do
    ((SECONDS < deadline)) || return 1
    sleep 0.1
  done
}

is_gone() { ! identity_of "$1" >/dev/null; }

# Runs a command in the background in a process group of its own, so that Ctrl+C takes effect
# immediately and ends the whole group.
run_stoppable() { # run_stoppable COMMAND...
  local job code=0
  set -m
  "$@" 9>&- &
  set +m
  job=$!
  # shellcheck disable=SC2064  # expand the job's number now
  trap "kill -TERM -- -$job; exit $kInterrupted" INT TERM HUP
  wait "$job" || code=$?
  trap - INT TERM HUP
  return "$code"
}

# --- the program --------------------------------------------------------------------------------

# TURNSTILE_PROGRAM names a program built elsewhere.
turnstile=${TURNSTILE_PROGRAM:-$project/build/release/cli/turnstile}

# Installs the packages and builds the program, unless TURNSTILE_PROGRAM names one.
need_program() {
  if [[ -n ${TURNSTILE_PROGRAM:-} ]]; then
    [[ -x $turnstile ]] ||
      die "$kUnreachable" "TURNSTILE_PROGRAM: '$turnstile' is not an executable program"
    turnstile=$(realpath -- "$turnstile")
    [[ -n $(type -P sqlite3) ]] ||
      die "$kUnreachable" "the sqlite3 shell is missing: apt-get install sqlite3"
  else
    "$project/compose/setup"
    run_stoppable "$project/compose/build" || exit
  fi
}

# Sets `bench` to a program of bench/, and `turnstile`. For TURNSTILE_PROGRAM, looks in the same build
# directory.
need_bench() { # need_bench NAME
  if [[ -n ${TURNSTILE_PROGRAM:-} ]]; then
    need_program
    bench=$(dirname -- "$turnstile")/../bench/$1
  else
    "$project/compose/setup"
    run_stoppable "$project/compose/build" --bench || exit
    bench=$project/build/release/bench/$1
  fi
  [[ -x $bench ]] || die "$kUnreachable" "'$bench' is missing: run compose/setup --bench, then try again"
}

# --- work directory -----------------------------------------------------------------------------

open_run_directory() { # open_run_directory DIR: creates it if it is missing, and sets `run`
  run=${1%/}
  [[ -n $run ]] || usage_error "--run: '$1' cannot be a work directory"
  # Promise 10: the socket's directory belongs to the user.
  (umask 077 && mkdir -p -- "$run/log") || die "$kUnreachable" "cannot make the directory '$run'"
  [[ -w $run && -w $run/log ]] || die "$kUnreachable" "the directory '$run' cannot be written"
}

# A script holds this lock while it starts, uses or stops processes in the directory. The lock ends with
# the script. Children must not inherit it: they are started with 9>&-.
lock_run_directory() {
  exec 9>"$run/lock"
  flock -n 9 || die "$kRefused" "another script is using '$run'; stop it, or use --run DIR"
}

# A script that empties its directory leaves a marker there, which lists the files that it made. Other
# files are user data, and are never removed.
readonly kMarker=.made-by-the-demo
readonly kDataFiles=(shared.db journal.db out9.txt)

file_identity() { stat -c '%d:%i' -- "$1"; }

# Prints the data files that no script made.
data_of_others() {
  local name known
  for name in "${kDataFiles[@]}"; do
    [[ -e $run/$name || -L $run/$name ]] || continue
    known=''
    [[ ! -e $run/$kMarker ]] || known=$(sed -n "s/ $name\$//p" "$run/$kMarker")
    if [[ ! -e $run/$kMarker || (-n $known && $known != "$(file_identity "$run/$name")") ]]; then
      echo "$name"
    fi
  done
}

# Marks data files that are made from now on as this script's.
claim_run_directory() { : >"$run/$kMarker"; }

# Records the identity of these files, so that a file that replaces one later is not removed.
mark_data_files() {
  local name
  [[ -e $run/$kMarker ]] || return 0
  for name in "${kDataFiles[@]}"; do
    [[ ! -e $run/$name ]] || printf '%s %s\n' "$(file_identity "$run/$name")" "$name"
  done >"$run/$kMarker"
}

# From now on the files count as user data.
keep_run_directory() { rm -f -- "$run/$kMarker"; }

# Removes only files that these scripts make: the directory may hold other files.
empty_run_directory() {
  local name
  for name in shared.db journal.db; do
    rm -f -- "$run/$name" "$run/$name-wal" "$run/$name-shm" "$run/$name-journal"
  done
  rm -f -- "$run/out9.txt" "$run/broker.sock" "$run"/*.pid "$run"/log/*.log "$run"/log/*.json
}

# Prints an endpoint for the directory's socket that fits the kernel's limit: as given, absolute,
# relative, or through a short link in a directory that belongs to the user.
endpoint() {
  local whole relative short
  whole=$(realpath -- "$run")/broker.sock
  relative=$(realpath --relative-to=. -- "$run")/broker.sock
  for short in "$run/broker.sock" "$whole" "$relative"; do
    if ((${#short} <= kLongestSocketPath)); then
      printf 'ipc://%s\n' "$short"
      return
    fi
  done
  short=${XDG_RUNTIME_DIR:-/tmp}/turnstile-$UID
  ((${#short} <= 80)) || short=/tmp/turnstile-$UID
  (umask 077 && mkdir -p -- "$short")
  [[ -O $short && ! -L $short ]] || die "$kUnreachable" "'$short' belongs to another user"
  short+=/$(cksum <<<"$whole" | cut -d ' ' -f 1)
  ln -sfn -- "${whole%/*}" "$short"
  printf 'ipc://%s/broker.sock\n' "$short"
}

up_is_running() { running_in "$run/broker.pid" >/dev/null || running_in "$run/consumer.pid" >/dev/null; }

consumer_is_attached() { # consumer_is_attached ENDPOINT
  "$turnstile" status --broker "$1" --timeout 1s --json >"$run/log/status.json" \
    2>"$run/log/status.log" || return 1
  [[ $(json_value "$run/log/status.json" '$.consumer.attached') == 1 ]]
}

show_end_of() { # show_end_of LOG
  [[ -s $1 ]] || return 0
  printf -- '--- end of %s\n' "$1" >&2
  tail -n 15 -- "$1" >&2
}
