# What every part starts with: `. .ci/part.sh` from the repository's root.
#
# A part is a script that can be run alone, from anywhere, without a terminal.
# It installs the tools it needs where it can, says in one line what it lacks
# where it can't, and fails when it did not do its work: `counted` fails when
# no test ran.

set -euo pipefail

part=$(basename "$0")
# Cargo's progress bar is noise in a log; nothing here asks anything.
export CARGO_TERM_PROGRESS_WHEN=never CARGO_TERM_COLOR=never DEBIAN_FRONTEND=noninteractive
# A clean clone is built once: what a second build would want is gigabytes.
export CARGO_INCREMENTAL=0
# For backtraces, which is all that is looked at here.
export CARGO_PROFILE_DEV_DEBUG=line-tables-only
# Where parts that build with other flags put their own target folders.
target=${CARGO_TARGET_DIR:-$PWD/target}

fail() {
  echo "ci: $part: $*" >&2
  exit 1
}

say() { echo "ci: $part: $*"; }

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

# Install system packages, unless every one of the files or commands before
# `--` is there: need_packages FILE_OR_COMMAND... -- PACKAGE...
need_packages() {
  local missing= item
  while [ "$1" != -- ]; do
    item=$1
    shift
    [ -e "$item" ] || command -v "$item" >/dev/null || missing+=" $item"
  done
  shift
  [ -z "$missing" ] && return
  command -v apt-get >/dev/null || fail "needs$missing, and there is no apt-get to install $*"
  say "installing $* for$missing"
  as_root apt-get -qq -o DPkg::Lock::Timeout=300 update ||
    fail "needs$missing, and apt-get update failed"
  as_root apt-get -qq -y -o DPkg::Lock::Timeout=300 install --no-install-recommends "$@" >/dev/null ||
    fail "needs$missing, and apt-get could not install $*"
}

# need_component NAME COMMAND [TOOLCHAIN]: a component of a Rust toolchain.
need_component() {
  cargo ${3:+"+$3"} "$2" --version >/dev/null 2>&1 && return
  say "installing the Rust component $1"
  rustup component add ${3:+--toolchain "$3"} "$1" >&2 || fail "needs the Rust component $1, and rustup could not add it"
}

# need_toolchain NAME
need_toolchain() {
  cargo "+$1" --version >/dev/null 2>&1 && return
  say "installing the Rust toolchain $1"
  rustup toolchain install "$1" --profile minimal >&2 || fail "needs the Rust toolchain $1, and rustup could not install it"
}

# need_target TRIPLE
need_target() {
  [ -d "$(rustc --print sysroot)/lib/rustlib/$1/lib" ] && return
  say "installing Rust's standard library for $1"
  rustup target add "$1" >&2 || fail "needs Rust's standard library for $1, and rustup could not add it"
}

# Tests that run all of their program once more, where everybody is pinned, without signals and so on. What they are
# about is not different in another build: `test` has them, and parts that build the suite another way leave them out.
once_more=(--skip all_of_it_ --skip everybody_is_pinned --skip it_is_so_where)

# How many tests passed, by the lines that cargo's test harness closes with.
passed_in() {
  sed -n 's/^test result: [a-zA-Z]*\. \([0-9]*\) passed;.*/\1/p' "$1" | awk '{ n += $1 } END { print n + 0 }'
}

# counted COMMAND...: run tests; fail if they fail, or if none ran.
counted() {
  local log count
  log=$(mktemp)
  if ! "$@" 2>&1 | tee "$log"; then
    rm -f "$log"
    fail "failed: $*"
  fi
  count=$(passed_in "$log")
  rm -f "$log"
  [ "$count" -gt 0 ] || fail "no test ran: $*"
  say "$count tests passed"
}
