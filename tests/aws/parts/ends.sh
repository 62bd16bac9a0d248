# Part ends: builds that fail, are kept, race, are cancelled, are killed, and whose machine is left alone.

part_ends() {
  slow_manifest "$work/slow.yaml"
  file_manifest "$work/fails.yaml" three <<<'  encrypt: false'
  sed -i '/^test:/a\  - command: {run: "false"}' "$work/fails.yaml"
  step "a test that fails is exit 4, leaves nothing, and is told in a bundle" test_fails
  manifest "$work/kept.yaml" '      - ansible.builtin.command: "false"' <<<'  encrypt: false'
  step "a builder that is kept is logged in to, and goes by the command that is told" kept
  file_manifest "$work/raced.yaml" two <<<'  encrypt: false'
  step "two builds at once: one builds, and both have its image" raced
  step "cancelled: exit 130, and nothing is left" cancelled
  step "killed: reap takes what it left" killed_and_reaped
  local alone=3m # the shortest is 60 s, in which not every machine has booted
  if on_test_ec2; then alone=60s; fi
  unattended=$alone slow_manifest "$work/unattended.yaml"
  step "left alone: a machine ends itself, and reap takes the rest by the tags" left_alone
}

nothing_of_a_run() { # what stays are finished images and their snapshots
  nothing_runs && same "what a run left" "$(made "$region" | grep -v -e ^ami- -e ^snap- -e "^$name")" ''
}
test_fails() {
  local before file
  before=$(images_of_trial "$region")
  ends 4 "$amibake" build --failures "$work/failures" "$work/fails.yaml" && nothing_of_a_run &&
    same "what there is of images" "$(images_of_trial "$region")" "$before" || return
  for file in events.jsonl failure.json timings.json; do ls "$work"/failures/*/"$file" || return; done
}
kept() {
  ends 3 "$amibake" build --on-error keep "$work/kept.yaml" 2>"$work/kept.log" || return
  local ssh reap
  ssh=$(grep -m 1 '^ssh ' "$work/kept.log") && reap=$(grep -o '`amibake reap[^`]*`' "$work/kept.log" | head -n 1 | tr -d '`') || return
  same "the login" "$(sh -c "$ssh -o BatchMode=yes whoami")" ubuntu || return
  # shellcheck disable=SC2086 # words of a command
  "$amibake" ${reap#amibake } && nothing_of_a_run
}
raced() {
  local one two
  "$amibake" build "$work/raced.yaml" >"$work/race-1" &
  one=$!
  "$amibake" build "$work/raced.yaml" >"$work/race-2" &
  two=$!
  wait "$one" && wait "$two" && grep -q ^ami- "$work/race-1" && cmp "$work/race-1" "$work/race-2"
}
cancelled() {
  begin_slowly "$work/slow.yaml" && something_runs || return
  kill -INT "$slow"
  ends 130 wait "$slow" && nothing_of_a_run
}
kill_slowly() { # MANIFEST: a build is killed while a task runs
  begin_slowly "$1" || return
  kill -KILL "$slow"
  wait "$slow" 2>/dev/null
  something_runs
}
killed_and_reaped() {
  kill_slowly "$work/slow.yaml" || return
  "$amibake" reap --region "$region" --dry-run | tee "$work/reap" && says "$work/reap" i- && something_runs &&
    "$amibake" reap --region "$region" && nothing_of_a_run
}
# Without the journal, as on another machine.
left_alone() {
  kill_slowly "$work/unattended.yaml" || return
  local id run
  id=$(instances_of_trial "$region")
  run=$(aws ec2 describe-instances --instance-ids "$id" --query "Reservations[0].Instances[0].Tags[?Key=='amibake:run'].Value" --output text)
  within 600 "$id to end itself" nothing_runs || return
  same "why it ended" "$(aws ec2 describe-instances --instance-ids "$id" --query 'Reservations[0].Instances[0].StateReason.Code' --output text)" \
    Client.InstanceInitiatedShutdown || return
  XDG_STATE_HOME=$work/elsewhere "$amibake" reap --region "$region" --run "$run" && nothing_of_a_run
}
