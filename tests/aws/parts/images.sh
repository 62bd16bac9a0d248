# Part images: what is looked at before a build, a build, the same again, what is known of it afterwards, and sources.

part_images() {
  web_manifest "$work/plain.yaml" one <<<'  encrypt: false'
  step "a manifest is good" "$amibake" validate "$work/plain.yaml"
  step "plan, offline" plan_says --offline "$work/plain.yaml"
  step "preflight" "$amibake" preflight "$work/plain.yaml"
  step "iam-policy" iam_policy "$work/plain.yaml"
  step "plan: nothing of this content is there" plan_of_new
  step "a build" build_and_check
  step "the same again: found, and nothing launched" found_again
  step "plan: the image that a build would print" plan_says "$work/plain.yaml" "$first"
  step "the image boots and passes" "$amibake" test "$first" "$work/plain.yaml"
  step "--force: another image of the same content" forced
  step "status: the image is released" status_says_released
  step "prune, dry: the older one of the two is judged, and stays" prune_dry
  part_sources
}

plan_says() { # OPTIONS… [TEXT]
  local text=
  [[ ${*: -1} = *.yaml ]] || { text=${*: -1}; set -- "${@:1:$#-1}"; [ -n "$text" ] || return; }
  "$amibake" plan "$@" | tee "$work/plan" && says "$work/plan" "$text"
}
plan_of_new() {
  "$amibake" plan --json "$work/plain.yaml" >"$work/plan.json" || return
  says "$work/plan.json" '"same_content": []' && says "$work/plan.json" '"problems": []'
}
iam_policy() { # MANIFEST
  "$amibake" iam-policy --for build "$1" >"$work/policy.json" || return
  # What a role may have in a policy of its own.
  local size
  size=$(tr -d '[:space:]' <"$work/policy.json" | wc -c)
  echo "$size characters" && [ "$size" -lt 10240 ]
}
build_and_check() {
  need_first && nothing_runs && says "$work/result.json" "$first" &&
    same "the image's IMDS support" "$(of_image "$region" "$first" ImdsSupport)" v2.0
}
found_again() {
  local since=$SECONDS
  build "$work/plain.yaml" || return
  echo "found in $((SECONDS - since)) s"
  same "the image" "$image" "$first"
}
forced() {
  older=$first
  build --force "$work/plain.yaml" || return
  first=$image # the newest is what is found from now on
  [ "$first" != "$older" ]
}
status_says_released() {
  "$amibake" status --region "$region" | tee "$work/status" && grep -q "^released .*$first" "$work/status" &&
    "$amibake" status --region "$region" --json >"$work/status.json" && says "$work/status.json" "$first"
}
prune_dry() {
  "$amibake" prune --keep 1 "$work/plain.yaml" | tee "$work/prune" || return
  says "$work/prune" "keep $first in $region" && says "$work/prune" "$older in $region" &&
    same "its state" "$(of_image "$region" "$older" State)" available
}

# Each kind of source is resolved; nothing is built.
part_sources() {
  local of
  for of in 22.04 26.04; do
    if on_test_ec2; then skip "Ubuntu $of as a source" "the test EC2 has $release alone"; else
      from="ubuntu: \"$of\"" file_manifest "$work/source.yaml" source <<<''
      step "Ubuntu $of as a source" source_is -"$of"-amd64-server-
    fi
  done
  from='ubuntu: "99.10"' file_manifest "$work/source.yaml" source <<<''
  step "a release that is not there is told, with those that are" no_such_release
  from="ami: $first" builder='  user: ubuntu' file_manifest "$work/source.yaml" source <<<''
  step "an image id as a source" source_is "$first"
  from="manifest: $work/plain.yaml" file_manifest "$work/source.yaml" source <<<''
  step "another manifest's newest image as a source" source_is "$first"
  from="ssm: /aws/service/canonical/ubuntu/server/$release/stable/current/amd64/hvm/ebs-gp3/ami-id" builder='  user: ubuntu' \
    file_manifest "$work/source.yaml" source <<<''
  step "an SSM parameter as a source" source_is "-$release-amd64-server-"
  from="filter: {owners: [\"099720109477\"], most_recent: true, name: \"ubuntu/images/hvm-ssd-gp3/ubuntu-*-$release-amd64-server-*\"}" \
    builder='  user: ubuntu' file_manifest "$work/source.yaml" source <<<''
  step "a filter as a source" source_is "-$release-amd64-server-"
}
source_is() { plan_says "$work/source.yaml" "$1"; }
no_such_release() {
  ends 2 "$amibake" plan "$work/source.yaml" 2>"$work/no-release" && says "$work/no-release" "$release"
}
