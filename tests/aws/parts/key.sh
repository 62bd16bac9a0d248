# Part key: an image with a customer's key of each region, and a machine that is asked for in detail: volume, user data, UEFI, TPM; and
# one for arm64.

key_alias=alias/$name

part_key() {
  step "a KMS key in each region" each_region make_key
  local tpm=
  if [ "$(aws ec2 describe-instance-types --instance-types t3.small --query 'InstanceTypes[0].NitroTpmSupport' --output text)" = supported ]; then
    tpm='  tpm_support: v2.0'
  fi
  called=$name-k builder='  volumes: [{device: /dev/sda1, size_gib: 16, type: gp3, iops: 3500, throughput: 150}]
  user_data: |
    #cloud-config
    runcmd: ["touch /etc/of-the-user-data"]' tests='  - command: {run: "ls /etc/of-the-user-data"}' file_manifest "$work/key.yaml" seven <<TEXT
  encrypt: {kms_key: $key_alias}
  regions: [$copy_to]
  boot_mode: uefi
$tpm
${share:+  share: {accounts: [\"$share\"]\}}
TEXT
  step "preflight of it" "$amibake" preflight "$work/key.yaml"
  step "an image with a customer's key, and a copy with the other region's" encrypted
  [ -n "$tpm" ] || skip "a TPM" "t3.small has none here"
  part_arm64
}
make_key() { # REGION
  local key
  key=$(aws kms create-key --region "$1" --description "amibake trial $stamp" --tags "TagKey=amibake-trial,TagValue=$stamp" \
    --query KeyMetadata.KeyId --output text) && echo "$1 $key" >>"$work/keys" &&
    aws kms create-alias --region "$1" --alias-name "$key_alias" --target-key-id "$key" &&
    within 60 "the key's alias" aws kms describe-key --region "$1" --key-id "$key_alias"
}
encrypted() {
  build "$work/key.yaml" || return
  has_key "$region" "$image" && has_key "$copy_to" "$(image_named "$copy_to" "$name-k-*")" &&
    same "its boot mode" "$(of_image "$region" "$image" BootMode)" uefi &&
    same "the size of its volume" "$(of_image "$region" "$image" 'BlockDeviceMappings[0].Ebs.VolumeSize')" 16 &&
    if [ -n "$tpm" ]; then same "its TPM" "$(of_image "$region" "$image" TpmSupport)" v2.0; fi
}
has_key() { # REGION IMAGE
  local told
  told=$(aws ec2 describe-snapshots --region "$1" --snapshot-ids "$(of_image "$1" "$2" 'BlockDeviceMappings[0].Ebs.SnapshotId')" \
    --query 'Snapshots[0].KmsKeyId' --output text) || return
  [[ $told = *"$(sed -n "s/^$1 //p" "$work/keys")" ]] || { echo "the snapshot in $1 has the key $told" >&2; return 1; }
}
part_arm64() {
  if [ "$(parameter_value "$region" "/aws/service/canonical/ubuntu/server/$release/stable/current/arm64/hvm/ebs-gp3/ami-id" 2>/dev/null)" = '' ]; then
    skip "an image for arm64" "Ubuntu $release is not there for arm64"
    return
  fi
  called=$name-a from="ubuntu: \"$release\", arch: arm64" types=t4g.small file_manifest "$work/arm64.yaml" eight <<<"  encrypt: false
  ssm_parameter: $parameter/{{ arch }}"
  step "an image for arm64, in its own parameter" arm64
}
arm64() {
  build "$work/arm64.yaml" && same "its architecture" "$(of_image "$region" "$image" Architecture)" arm64 &&
    same "the parameter" "$(parameter_value "$region" "$parameter/arm64")" "$image"
}
clean_key() {
  local where key
  while read -r where key; do
    aws kms delete-alias --region "$where" --alias-name "$key_alias"
    aws kms schedule-key-deletion --region "$where" --key-id "$key" --pending-window-in-days 7 --query DeletionDate --output text
  done < <(cat "$work/keys" 2>/dev/null)
}
