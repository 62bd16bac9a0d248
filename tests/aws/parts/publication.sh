# Part publication: where an image goes, what is mended, and how one goes on that failed.

part_publication() {
  need_first >&2 || { failed+=("the image that is published"); return; }
  web_manifest "$work/published.yaml" one <<TEXT
  encrypt: false
  regions: [$copy_to]
  copies: {within: 1h}
  ssm_parameter: $parameter
  launch_template: {name: $name, set_default: true}
  deprecate_after: 30d
  deregistration_protection: true
${share:+  share: {accounts: [\"$share\"], snapshots: true\}}
TEXT
  step "launch templates for the trial, in both regions" each_region make_template "$name"
  step "preflight of a publication" "$amibake" preflight "$work/published.yaml"
  step "published: a copy, a parameter, a launch template, deprecation, protection${share:+, a share}" published
  step "a parameter that somebody changed is mended by publish" mended_by_publish
  step "tags that somebody changed are mended by the next build" mended_by_build
  step "an image that something names stays when others are pruned" stays_named
  step "a publication that fails is exit 3, and resume finishes it" resumed
  [ -n "$share" ] || skip "sharing" "no --share ACCOUNT was given"
}

each_region() { # FUNCTION ARGUMENTS…
  local where function=$1
  shift
  for where in "$region" "$copy_to"; do "$function" "$where" "$@" || return; done
}
published() {
  build "$work/published.yaml" && same "the image, of whose content there was one," "$image" "$first" || return
  copy=$(image_named "$copy_to" "$name-amd64-*")
  is_published "$region" "$first" && is_published "$copy_to" "$copy"
}
is_published() { # REGION IMAGE
  same "the parameter in $1" "$(parameter_value "$1" "$parameter")" "$2" &&
    same "the launch template's image in $1" "$(image_of_template "$1")" "$2" &&
    same "the tag in $1" "$(tag_of "$1" "$2")" "$stamp" &&
    same "the protection in $1" "$(of_image "$1" "$2" DeregistrationProtection)" enabled-without-cooldown &&
    [ "$(of_image "$1" "$2" DeprecationTime)" != None ] && is_shared "$1" "$2"
}
image_of_template() {
  aws ec2 describe-launch-template-versions --region "$1" --launch-template-name "$name" --versions '$Default' \
    --query 'LaunchTemplateVersions[0].LaunchTemplateData.ImageId' --output text
}
tag_of() { of_image "$1" "$2" "Tags[?Key=='amibake-trial'].Value|[0]"; }
is_shared() {
  [ -n "$share" ] || return 0
  same "who has $2" "$(aws ec2 describe-image-attribute --region "$1" --image-id "$2" --attribute launchPermission \
    --query 'LaunchPermissions[0].UserId' --output text)" "$share"
}
mended_by_publish() {
  aws ssm delete-parameter --name "$parameter" && "$amibake" publish "$first" "$work/published.yaml" &&
    is_published "$region" "$first"
}
mended_by_build() {
  aws ec2 delete-tags --resources "$first" --tags Key=amibake-trial && build "$work/published.yaml" &&
    same "the image" "$image" "$first" && is_published "$region" "$first"
}
stays_named() {
  # A second, younger image of the manifest, so that the first is old.
  build --force "$work/plain.yaml" || return
   "$amibake" prune --keep 1 "$work/published.yaml" | tee "$work/prune" &&
    says "$work/prune" "keep $first in $region" && says "$work/prune" "keep $copy in $copy_to"
}
# The launch template goes while the image is made, and comes back.
resumed() {
  local resume
  file_manifest "$work/resumed.yaml" four <<<"  encrypt: false
  launch_template: $name-again"
  make_template "$region" "$name-again" || return
  "$amibake" build "$work/resumed.yaml" >"$work/resumed" 2>"$work/resumed.log" &
  within 300 "a machine" something_runs && drop_template "$region" "$name-again" || return
  ends 3 wait $! && same "what it printed" "$(cat "$work/resumed")" '' || return
  cat "$work/resumed.log"
  resume=$(grep -o 'amibake resume --region [^`]*' "$work/resumed.log" | head -n 1)
  make_template "$region" "$name-again" || return
  # shellcheck disable=SC2086 # words of a command
  image=$("$amibake" ${resume#amibake }) && same "its state" "$(of_image "$region" "$image" "Tags[?Key=='amibake:state'].Value|[0]")" released
}
