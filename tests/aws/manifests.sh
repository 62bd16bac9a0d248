# Sourced by run: the manifests that it builds. An image is a web server, or holds a file and nothing else.
#
# Variables that are set for one call change one: called=NAME, from=SOURCE, types=INSTANCE_TYPES, unattended=TIME,
# builder=MORE_OF_BUILDER, ports=PORTS, tests=MORE_TESTS. More of `image:` comes by stdin.

release=24.04

# FILE TEXT: a web server answers with the text on port 80.
web_manifest() {
  local ports=${ports:-22, 80}
  manifest "$1" "      - ansible.builtin.apt: {name: nginx-light, update_cache: true}
      - ansible.builtin.copy: {content: \"$2\", dest: /var/www/html/index.html}
test:
  - http: {url: \"http://localhost/\", contains: \"$2\"}"
}

# FILE TEXT: the text is in a file, which takes less long to make.
file_manifest() {
  manifest "$1" "      - ansible.builtin.copy: {content: \"$2\", dest: /etc/trial, mode: \"0644\"}
test:
  - command: {run: \"cat /etc/trial\", contains: \"$2\"}
${tests:-}"
}

# FILE TASKS
manifest() {
  local more
  more=$(cat)
  [[ $more = *'name: '* ]] || more="  name: \"${called:-$name}-{{ arch }}-{{ build_time }}\"
$more"
  cat >"$1" <<TEXT
name: ${called:-$name}
source: {${from:-ubuntu: \"$release\"}}
builder:
  region: $region
  instance_type: [${types:-t3.small, t3a.small}]
  tags: {amibake-trial: "$stamp"}
  timeouts: {total: 55m, unattended: ${unattended:-30m}}
${builder:-}
provision:
  - tasks:
$2
image:
  ports: [${ports:-22}]
  tags: {amibake-trial: "$stamp"}
$more
TEXT
}

image=
# MANIFEST…: builds, and remembers the id.
build() {
  image=$("$amibake" build "$@") && [[ $image =~ ^ami-[0-9a-f]+$ ]]
}

first=
# Builds the image that several parts are about, or finds it.
need_first() {
  [ -n "$first" ] && return
  web_manifest "$work/plain.yaml" one <<<'  encrypt: false'
  build "$work/plain.yaml" --output "$work/result.json" || return
  first=$image
}

# MANIFEST…: begins a build whose last task takes its time, and returns when that runs; $slow is the process.
begin_slowly() {
  "$amibake" build --force "$@" >/dev/null 2>"$work/slow.log" &
  slow=$!
  local until=$((SECONDS + 600))
  until grep -q 'Take its time' "$work/slow.log"; do
    kill -0 "$slow" 2>/dev/null && [ $SECONDS -lt $until ] || { cat "$work/slow.log" >&2; return 1; }
    sleep 1
  done
}
slow_manifest() { # FILE
  manifest "$1" "      - name: Take its time
        ansible.builtin.command: sleep 900" <<<'  encrypt: false'
}
