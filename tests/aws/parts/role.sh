# Part role: a build by a role that may do what `iam-policy` says, and nothing else.

part_role() {
  called=$name-p file_manifest "$work/role.yaml" nine <<<'  encrypt: false'
  step "a role with iam-policy's permissions" make_role
  step "preflight by that role" by_role "$amibake" preflight "$work/role.yaml"
  step "a build by that role" by_role build "$work/role.yaml"
  if on_test_ec2; then skip "that the role may do nothing else" "the test EC2 does not judge a role by its policy"; fi
}
make_role() {
  local account trust
  account=$(aws sts get-caller-identity --query Account --output text) || return
  trust='{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"AWS":"'$account'"}}]}'
  "$amibake" iam-policy --for build,preflight "$work/role.yaml" >"$work/policy.json" &&
    role=$(aws iam create-role --role-name "$name" --assume-role-policy-document "$trust" --query Role.Arn --output text) &&
    aws iam put-role-policy --role-name "$name" --policy-name amibake --policy-document "file://$work/policy.json" || return
  within 120 "the role" assume && { on_test_ec2 || sleep 15; } # what it may do is known everywhere a little later
}
assume() {
  aws sts assume-role --role-arn "$role" --role-session-name trial --output text \
    --query 'Credentials.[AccessKeyId,SecretAccessKey,SessionToken]' >"$work/session"
}
by_role() (
  assume && read -r AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN <"$work/session" || exit
  export AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN
  unset AWS_PROFILE
  "$@"
)
clean_role() {
  aws iam delete-role-policy --role-name "$name" --policy-name amibake
  aws iam delete-role --role-name "$name"
}
