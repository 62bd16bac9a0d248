//! The POSIX shell commands that get the agent onto a machine and running, in one exec.
//!
//! The script answers `amibake RUN have` or `amibake RUN need BYTES-KEY`; in the second case it
//! takes the compressed agent from its standard input first. It never runs a file that it has
//! not hashed as the user it runs as, in a folder that only this user can write. Others may run
//! the same file meanwhile, which is why a good one is never replaced, nor another version removed
//! within an hour of its last use.

use amibake_playbook::shell::quote;
use amibake_protocol::message::AgentRunId;

use super::program::Programs;
use super::{AgentError, Privilege};

/// Ends the lines that come before the script reads: the password, if `sudo` left it there.
pub(super) const BEGIN: &str = "amibake-begin";
/// How `sudo` asks, so that a second question is noticed.
pub(super) const PROMPT: &str = "amibake-sudo-password:";

/// Becomes root if asked to, and hands over what the login's own session looks like.
const OUTER: &str = r#"i=$1; r=$2; shift 2; u=$(id -u)
if [ "$r" = no ] || [ "$u" = 0 ]; then s=
elif [ "$r" = ask ]; then u=0; s="sudo -S -H -p amibake-sudo-password:"
else u=0; s="sudo -n -H"; fi
exec $s sh -c "$i" amibake "$u" "$@" "PATH=$PATH" "LANG=${LANG-}" "LC_ALL=${LC_ALL-}" "SSH_CONNECTION=${SSH_CONNECTION-}" "SSH_CLIENT=${SSH_CLIENT-}""#;

/// Arguments: user, run, whether a password precedes, `HASH:BYTES:SUM` of the agent for `x86_64` and `aarch64` (`-` for
/// none), then what is passed on. The agent is read and hashed each time, which is a tenth of the time that all of this
/// takes; by the SUM, which is twice as fast, where it is known and the machine can (old ones cannot).
const INNER: &str = r#"set -u; w=$(umask); umask 077; u=$1; run=$2; ask=$3; x=$4; a=$5; shift 5
if [ "$ask" = ask ]; then while read -r l && [ "$l" != amibake-begin ]; do :; done; fi
m=$(uname -m)
case $m in x86_64|amd64) k=$x;; aarch64|arm64) k=$a;; *) k=-;; esac
if [ "$k" = - ]; then echo "amibake $run none $m"; exit 0; fi
h=${k%%:*}; n=${k#*:}; v=${n#*:}; n=${n%%:*}; c=b2sum
if [ "$v" = - ] || ! command -v b2sum >/dev/null 2>&1; then c=sha256sum; v=$h; fi
d=/var/lib/amibake; b=/run/amibake
if [ "$u" != 0 ]; then
  b=/dev/shm/amibake-$u
  for d in "$HOME/.cache/amibake" "/var/tmp/amibake-$u" "/tmp/amibake-$u" "/dev/shm/amibake-bin-$u" ''; do
    [ "$d" ] || { echo "no folder of this user may hold programs (noexec)" >&2; exit 1; }
    t=$d/.try-$$
    mkdir -p "$d" 2>/dev/null; [ -O "$d" ] && [ ! -L "$d" ] && chmod 700 "$d" && printf '#!/bin/sh\n' 2>/dev/null >"$t" && chmod 700 "$t" || continue
    if "$t" 2>/dev/null; then rm -f "$t"; break; fi; rm -f "$t"
  done
fi
f=$d/agent-$h
mkdir -p "$d" && chmod 700 "$d" || exit 1
if ! { [ -f "$f" ] && [ "$($c <"$f")" = "$v  -" ]; }; then
  echo "amibake $run need $h"
  t=$d/.new-$$; trap "rm -f $t" EXIT
  head -c "$n" | gzip -dc >"$t" || exit 1
  [ "$($c <"$t")" = "$v  -" ] || { echo "the agent arrived damaged" >&2; exit 1; }
  chmod 700 "$t" || exit 1
  if ! { ln "$t" "$f" 2>/dev/null || [ "$($c <"$f")" = "$v  -" ]; }; then mv -f "$t" "$f" || exit 1; fi
  rm -f "$t"; trap - EXIT
  find "$d" -maxdepth 1 -name 'agent-*' ! -path "$f" -mmin +60 -exec rm -f {} +
fi
touch "$f"
echo "amibake $run have"
umask "$w"
exec "$f" session "$b" "$d" "$@""#;

/// Returns the command that starts, or finds, the agent for `run`.
pub(super) fn start(run: &AgentRunId, programs: &Programs, privilege: &Privilege) -> String {
    let key = |architecture| {
        programs.get(architecture).map_or_else(
            || "-".to_owned(),
            |program| {
                let (hash, bytes) = (program.hash(), program.packed().len());
                format!("{hash}:{bytes}:{}", program.sum().unwrap_or("-"))
            },
        )
    };
    command(
        INNER,
        privilege,
        &[
            run.as_str(),
            rights(privilege),
            &key("x86_64"),
            &key("aarch64"),
        ],
    )
}

fn rights(privilege: &Privilege) -> &'static str {
    match privilege {
        Privilege::AsIs => "no",
        Privilege::Root { password: None } => "root",
        Privilege::Root { password: Some(_) } => "ask",
    }
}

fn command(inner: &str, privilege: &Privilege, arguments: &[&str]) -> String {
    let mut line = String::from("exec sh -c");
    for word in [OUTER, "amibake", inner, rights(privilege)]
        .iter()
        .chain(arguments)
    {
        line.push(' ');
        line.push_str(&quote(word));
    }
    line
}

/// Explains what a command that ended too early wrote.
pub(super) fn why_not(stderr: &str) -> AgentError {
    let said = stderr.replace(PROMPT, "");
    let last = said.lines().map(str::trim).rfind(|line| !line.is_empty());
    let line = last.unwrap_or("it said nothing").to_owned();
    if stderr.contains(PROMPT) || line.starts_with("sudo:") || line.starts_with("sudo-rs:") {
        return AgentError::Sudo(line);
    }
    AgentError::NotStarted(line)
}
