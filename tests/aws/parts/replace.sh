# Part replace: an image makes way for another one of the same name.

part_replace() {
  replacing five
  step "an image without the time in its name" replaced_first
  replacing six
  step "another content: the old image makes way, and its snapshot stays" replaced
}
replacing() { # TEXT
  called=$name-r file_manifest "$work/replaced.yaml" "$1" <<<"  name: $name-replaced
  encrypt: false
  replace: true"
}
replaced_first() {
  build "$work/replaced.yaml" || return
  old=$image
  old_snapshot=$(of_image "$region" "$old" 'BlockDeviceMappings[0].Ebs.SnapshotId')
  same "the image of the name" "$(image_named "$region" "$name-replaced")" "$old"
}
replaced() {
  build "$work/replaced.yaml" && [ "$image" != "$old" ] || return
  same "the image of the name" "$(image_named "$region" "$name-replaced")" "$image" &&
    snapshots_of_trial "$region" | grep -qx "$old_snapshot"
}
