# Sourced by run: what of this trial is in the account, and how it goes.

parameter=/amibake-trial/$stamp
stack_name=trial-$stamp # names of load balancers have 32 characters

# COMMAND…: the answer of the aws command, an id a line.
ids() { aws "$@" --output text | tr '\t' '\n' | grep -v '^None$'; }
trial=(--filters "Name=tag:amibake-trial,Values=$stamp")

instances_of_trial() { # REGION
  ids ec2 describe-instances --region "$1" "${trial[@]}" Name=instance-state-name,Values=pending,running,stopping,stopped \
    --query 'Reservations[].Instances[].InstanceId'
}
images_of_trial() { # REGION: by name and by tag, since a candidate has another name
  {
    ids ec2 describe-images --region "$1" --owners self --filters "Name=name,Values=*$name*" --query 'Images[].ImageId'
    ids ec2 describe-images --region "$1" --owners self "${trial[@]}" --query 'Images[].ImageId'
  } | sort -u
}
snapshots_of_trial() { ids ec2 describe-snapshots --region "$1" --owner-ids self "${trial[@]}" --query 'Snapshots[].SnapshotId'; }

# What is there of this trial, in a region: an id a line.
made() {
  instances_of_trial "$1"
  images_of_trial "$1"
  snapshots_of_trial "$1"
  ids ec2 describe-security-groups --region "$1" "${trial[@]}" --query 'SecurityGroups[].GroupId'
  ids ec2 describe-launch-templates --region "$1" "${trial[@]}" --query 'LaunchTemplates[].LaunchTemplateName'
}
machines_running() { instances_of_trial "$region" | grep -c .; }
nothing_runs() { same "the number of machines that run" "$(machines_running)" 0; }
something_runs() { [ "$(machines_running)" != 0 ]; }

image_named() { # REGION NAME
  ids ec2 describe-images --region "$1" --owners self --filters "Name=name,Values=$2" --query 'Images[].ImageId'
}
of_image() { # REGION IMAGE QUERY
  aws ec2 describe-images --region "$1" --image-ids "$2" --query "Images[0].$3" --output text
}
parameter_value() { # REGION NAME
  aws ssm get-parameter --region "$1" --name "$2" --query Parameter.Value --output text
}
make_template() { # REGION NAME
  aws ec2 create-launch-template --region "$1" --launch-template-name "$2" --launch-template-data '{"InstanceType":"t3.small"}' \
    --tag-specifications "ResourceType=launch-template,Tags=[{Key=amibake-trial,Value=$stamp}]" >/dev/null &&
    within 60 "the launch template" aws ec2 describe-launch-templates --region "$1" --launch-template-names "$2"
}
drop_template() { aws ec2 delete-launch-template --region "$1" --launch-template-name "$2" >/dev/null; }

remove_images() { # REGION
  local id
  for id in $(images_of_trial "$1"); do
    aws ec2 disable-image-deregistration-protection --region "$1" --image-id "$id" >/dev/null 2>&1
    aws ec2 deregister-image --region "$1" --image-id "$id" >/dev/null
  done
  for id in $(snapshots_of_trial "$1"); do
    within 60 "$id to go" aws ec2 delete-snapshot --region "$1" --snapshot-id "$id" # its image is known for a while yet
  done
  for id in "$parameter" "$parameter/arm64" "$parameter/amd64"; do
    aws ssm delete-parameter --region "$1" --name "$id" >/dev/null 2>&1
  done
  for id in $(ids ec2 describe-launch-templates --region "$1" "${trial[@]}" --query 'LaunchTemplates[].LaunchTemplateName'); do
    case $id in amibake-lock-*) ;; *) drop_template "$1" "$id" ;; esac # a lock is for reap
  done
}

# Removes everything of this trial, also after Ctrl-C.
clean() {
  local where left part running
  [ $BASHPID = $$ ] || exit # a part of a pipeline ends, not all of it
  trap '' INT TERM
  say "removing everything"
  running=$(jobs -p)
  if [ -n "$running" ]; then
    # shellcheck disable=SC2086 # one word a process
    kill -INT $running 2>/dev/null
    wait
  fi
  for part in "${all_parts[@]}"; do
    if does "$part" && declare -F "clean_$part" >/dev/null; then "clean_$part" >&2; fi
  done
  for where in "$region" "$copy_to"; do
    "$amibake" reap --region "$where" >&2
    remove_images "$where"
  done
  left=$(for where in "$region" "$copy_to"; do made "$where"; done)
  tell_result
  if [ -n "$left" ]; then
    printf 'left behind (remove by hand): %s\n' "$left" >&2
    exit 3
  fi
  echo "nothing is left behind" >&2
  rm -rf "$work"
  [ ${#failed[@]} = 0 ]
  exit
}
