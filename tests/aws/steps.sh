# Sourced by run: what a step is, what it may ask for, and how all of them are told.

passed=() failed=() skipped=()

say() { printf '\n== %s\n' "$*" >&2; }

# NAME COMMAND…: one step; its output is shown.
step() {
  local title=$1 since=$SECONDS
  shift
  say "$title"
  if "$@" >&2; then passed+=("$title ($((SECONDS - since)) s)"); else
    failed+=("$title")
    echo "FAILED: $title" >&2
  fi
}

# NAME WHY
skip() {
  say "$1"
  echo "skipped: $2" >&2
  skipped+=("$1: $2")
}

# EXPECTED COMMAND…: it ends with this status.
ends() {
  local expected=$1 status=0
  shift
  "$@" || status=$?
  [ "$status" = "$expected" ] || { echo "it ended with $status, not $expected" >&2; return 1; }
}

# WHAT IS EXPECTED: they are the same.
same() {
  [ "$2" = "$3" ] || { echo "$1 is $2, not $3" >&2; return 1; }
}

# SECONDS WHAT COMMAND…: asks every three seconds until it is so.
within() {
  local until=$((SECONDS + $1)) what=$2
  shift 2
  until "$@" >/dev/null 2>&1; do
    [ $SECONDS -lt $until ] || { echo "waited in vain for $what" >&2; return 1; }
    sleep 3
  done
}

# FILE TEXT: the text is somewhere in it.
says() {
  grep -qF -- "$2" "$1" || { echo "nothing in $1 says: $2" >&2; cat "$1" >&2; return 1; }
}

# Whether AWS is the project's own EC2 (tests/cloud), which lacks some things: each is skipped with a word.
on_test_ec2() {
  [[ ${AWS_ENDPOINT_URL:-} == http://127.0.0.1:* ]] && curl -sf --data '{}' "$AWS_ENDPOINT_URL/_cloud/ways" >/dev/null
}

tell_result() {
  say "result"
  [ ${#passed[@]} = 0 ] || printf 'passed: %s\n' "${passed[@]}" >&2
  [ ${#skipped[@]} = 0 ] || printf 'skipped: %s\n' "${skipped[@]}" >&2
  [ ${#failed[@]} = 0 ] || printf 'FAILED: %s\n' "${failed[@]}" >&2
}
