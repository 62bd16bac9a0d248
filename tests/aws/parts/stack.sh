# Part stack: certificates, and a stack of the template that ships: made, rolled out, gone back from, and deleted.

host=hello.example.com blue='' green='' arn='' bucket=''

part_stack() {
  local pace=(--bake 1m --healthy-within 15m --steps 50,100)
  if on_test_ec2; then pace=(--bake 3s --healthy-within 80s --steps 50,100); fi
  application "$work/blue.yaml" blue
  application "$work/green.yaml" green
  printf -- '- {path: /healthz}\n- {path: /, contains: trial, times: 4}\n- {path: /missing, status: 404}\n' >"$work/smoke.yaml"
  local made_by=(--param "MinSize=1" --param "MaxSize=2" --param "Egress=$egress" --tag "amibake-trial=$stamp")

  step "two images of one command, a line each" two_images
  if [ -z "$green" ]; then skip "the stack" "there are no images for it"; return; fi
  step "a certificate in ACM" certificate
  step "the same again: nothing is changed" same_certificate
  step "a certificate in IAM" "$amibake" cert "$name-iam" --domain "$host" --in iam
  step "cert status" cert_status
  step "stack deploy --plan: nothing is made" planned_only
  step "stack deploy: made, and blue is live" deployed_first
  step "the same again: nothing to do" deploy "$blue"
  step "stack status" status_is blue
  step "green takes over, no request fails, and a rollback is one call" over_and_back
  step "green takes over, and blue's machines go" deployed_second
  step "an image that the stack names stays when others are pruned" blue_stays
  step "a rollback to a colour without machines" rolled_back_cold
  step "the certificate is renewed in its place" renewed
  step "stack history" history_says
  step "stack destroy" destroyed
}

application() { # FILE COLOUR
  called=$name-s ports='22, 8080' manifest "$1" "      - ansible.builtin.apt: {name: nginx-light, update_cache: true}
      - ansible.builtin.copy:
          dest: /etc/nginx/conf.d/trial.conf
          content: |
            server {
              listen 8080;
              default_type text/plain;
              location = /healthz { return 200 well; }
              location = / { return 200 'trial $2'; }
              location / { return 404; }
            }
test:
  - http: {url: \"http://localhost:8080/\", contains: \"trial $2\"}" <<<"  encrypt: false
  name: \"$name-s-$2-{{ arch }}-{{ build_time }}\""
}
two_images() {
  "$amibake" build --jobs 2 "$work/blue.yaml" "$work/green.yaml" >"$work/images" || return
  { read -r blue && read -r green; } <"$work/images" && same "the number of lines" "$(grep -c ^ami- "$work/images")" 2
}
certificate() {
  arn=$("$amibake" cert "$name" --domain "$host" --certificate-file "$work/web.pem") && [[ $arn == arn:aws*:acm:* ]]
}
same_certificate() { same "the ARN" "$("$amibake" cert "$name" --domain "$host")" "$arn"; }
cert_status() {
  local one
  for one in "$name" "$name-iam"; do "$amibake" cert status "$one" | tee "$work/certificate" && says "$work/certificate" "$host" || return; done
}

deploy() { # IMAGE OPTIONS…
  local ami=$1
  shift
  "$amibake" stack deploy "$stack_name" --ami "$ami" --smoke "$work/smoke.yaml" "${pace[@]}" "$@"
}
stack_output() {
  aws cloudformation describe-stacks --stack-name "$stack_name" --query "Stacks[0].Outputs[?OutputKey=='$1'].OutputValue" --output text
}
no_stack() { ! aws cloudformation describe-stacks --stack-name "$stack_name" >/dev/null 2>&1; }
planned_only() {
  deploy "$blue" --plan --param "CertificateArn=$arn" "${made_by[@]}" | tee "$work/stack-plan" &&
    [ -s "$work/stack-plan" ] && within 60 "the change set's stack to go" no_stack
}
deployed_first() {
  deploy "$blue" --keep 1s --param "CertificateArn=$arn" "${made_by[@]}" >"$work/outputs.json" &&
    says "$work/outputs.json" '"Url"' && bucket=$(stack_output LogBucket) && answers blue
}
# COLOUR: what clients are answered, who trust the certificate.
ask() {
  local balancer
  balancer=$(stack_output Url | cut -d/ -f3)
  curl -sS --fail --max-time 10 --cacert "$work/web.pem" --connect-to "$host:443:$balancer:443" "https://$host/"
}
answers() { within 120 "the answer of $1" is_answered "$1"; } # names and rules take a while to be known everywhere
is_answered() { [ "$(ask)" = "trial $1" ]; }
status_is() {
  "$amibake" stack status "$stack_name" && "$amibake" stack status "$stack_name" --json >"$work/stack.json" && is_live "$1"
}
is_live() { # COLOUR: it has all of the traffic
  "$amibake" stack status "$stack_name" --json | tr -d ' \n' | grep -q "\"$1\":{\"traffic\":100,"
}
over_and_back() {
  local load rollout balancer
  balancer=$(stack_output Url | cut -d/ -f3)
  while :; do # two a second, of which each must be answered
    curl -sS --fail --max-time 10 --cacert "$work/web.pem" --connect-to "$host:443:$balancer:443" "https://$host/" || echo FAILED
    echo
    sleep 0.5
  done >"$work/answers" 2>&1 &
  load=$!
  deploy "$green" --keep 30m >/dev/null 2>"$work/rollout.log" &
  rollout=$!
  within 1800 "green to have the traffic" goes_over "$rollout" && answers green &&
    "$amibake" stack rollback "$stack_name" && answers blue && is_live blue && ends 1 wait "$rollout"
  local status=$?
  kill "$load" "$rollout" 2>/dev/null
  wait "$load" 2>/dev/null
  cat "$work/rollout.log"
  sort "$work/answers" | uniq -c
  [ $status = 0 ] && ! grep -vqx -e 'trial blue' -e 'trial green' -e '' "$work/answers"
}
goes_over() { is_live green || ! kill -0 "$1" 2>/dev/null; }
deployed_second() {
  deploy "$green" --keep 1s >/dev/null && answers green && is_live green &&
    same "blue's size" "$(aws autoscaling describe-auto-scaling-groups --auto-scaling-group-names "$(stack_output GroupBlue)" \
      --query 'AutoScalingGroups[0].DesiredCapacity' --output text)" 0
}
blue_stays() {
  "$amibake" prune --keep 1 "$work/blue.yaml" | tee "$work/prune" && says "$work/prune" "keep $blue in $region" &&
    says "$work/prune" "keep $green in $region"
}
rolled_back_cold() { "$amibake" stack rollback "$stack_name" && answers blue && is_live blue; }
renewed() {
  same "the ARN" "$("$amibake" cert "$name" --renew --certificate-file "$work/web.pem")" "$arn" &&
    within 120 "the new certificate" ask
}
history_says() {
  "$amibake" stack history "$stack_name" | tee "$work/history" && says "$work/history" "$blue" && says "$work/history" "$green"
}
destroyed() { "$amibake" stack destroy "$stack_name" --yes && no_stack; }

clean_stack() {
  no_stack || "$amibake" stack destroy "$stack_name" --yes
  if [ -n "$bucket" ]; then
    if on_test_ec2; then skip "removal of the access logs" "the test EC2 has no S3"; else
      within 300 "the access logs to go" aws s3 rb --force "s3://$bucket" # some are written late
    fi
  fi
  [ -z "$arn" ] || within 600 "the certificate to go" aws acm delete-certificate --certificate-arn "$arn"
  aws iam list-server-certificates --path-prefix "/amibake/$name-iam/" --query 'ServerCertificateMetadataList[].ServerCertificateName' --output text |
    tr '\t' '\n' | grep . | while read -r certificate; do aws iam delete-server-certificate --server-certificate-name "$certificate"; done
}
