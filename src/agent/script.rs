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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write as _;
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::{Path, PathBuf};
    use std::process::{Command, Stdio};

    use super::super::program::Program;
    use super::*;

    /// What the script runs, besides the shell.
    const TOOLS: &[&str] = &[
        "chmod",
        "find",
        "gzip",
        "head",
        "ln",
        "mkdir",
        "mv",
        "rm",
        "sha256sum",
        "touch",
        "uname",
    ];
    const AGENT: &str = "#!/bin/sh\necho agent $1\n";

    /// A machine on which a user without rights logs in. Its programs note that they ran.
    struct Machine(tempfile::TempDir);

    impl Machine {
        fn new(tools: &[&str]) -> Self {
            let machine = Self(tempfile::tempdir().unwrap());
            fs::create_dir(machine.at("bin")).unwrap();
            let noted = machine.at("noted");
            for tool in TOOLS.iter().chain(tools) {
                let real = ["/usr/bin", "/bin"].map(|folder| Path::new(folder).join(tool));
                let real = real.iter().find(|path| path.exists()).unwrap();
                let script = format!(
                    "echo {tool} >>{}; exec {} \"$@\"",
                    noted.display(),
                    real.display()
                );
                machine.put(tool, &script);
            }
            machine.put("sh", "exec /bin/sh \"$@\"");
            machine.put("id", "echo 1000");
            machine
        }

        fn at(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn put(&self, tool: &str, script: &str) {
            let path = self.at("bin").join(tool);
            fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }

        /// Starts the agent; returns what the script says, and what it hashed by.
        fn start(&self, program: Program) -> (String, Vec<String>) {
            let _ = fs::remove_file(self.at("noted"));
            let packed = program.packed().to_vec();
            let run = AgentRunId::try_from("0123456789abcdef".to_owned()).unwrap();
            let line = start(&run, &Programs::only(program), &Privilege::AsIs);
            let mut shell = Command::new("/bin/sh");
            shell.args(["-c", &line]).env_clear();
            shell.env("PATH", self.at("bin")).env("HOME", self.at(""));
            shell
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped());
            let mut child = shell.spawn().unwrap();
            // Where the agent is there already, nobody reads it.
            let _ = child.stdin.take().unwrap().write_all(&packed);
            let ended = child.wait_with_output().unwrap();
            let said = [ended.stdout, ended.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
            let noted = fs::read_to_string(self.at("noted")).unwrap_or_default();
            let hashed = noted.lines().filter(|line| line.ends_with("sum"));
            let mut hashed: Vec<String> = hashed.map(str::to_owned).collect();
            hashed.dedup();
            (said.concat().replace(run.as_str(), "RUN"), hashed)
        }
    }

    fn agent() -> Program {
        Program::released(AGENT.as_bytes(), Some(blake2b(AGENT))).unwrap()
    }

    /// Returns what this machine's `b2sum` says of a text.
    fn blake2b(text: &str) -> &'static str {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("text");
        fs::write(&path, text).unwrap();
        let ran = Command::new("b2sum").arg(&path).output().unwrap();
        let line = String::from_utf8(ran.stdout).unwrap();
        line.split_whitespace().next().unwrap().to_owned().leak()
    }

    fn needed(program: &Program) -> String {
        format!(
            "amibake RUN need {}\namibake RUN have\nagent session\n",
            program.hash()
        )
    }

    const HAD: &str = "amibake RUN have\nagent session\n";

    #[test]
    fn the_agent_is_known_by_its_blake2b_where_the_machine_computes_that() {
        let machine = Machine::new(&["b2sum"]);
        assert_eq!(
            machine.start(agent()),
            (needed(&agent()), vec!["b2sum".to_owned()])
        );
        assert_eq!(
            machine.start(agent()),
            (HAD.to_owned(), vec!["b2sum".to_owned()])
        );
        let installed = machine
            .at(".cache/amibake")
            .join(format!("agent-{}", agent().hash()));
        fs::write(&installed, "#!/bin/sh\necho another\n").unwrap();
        assert_eq!(machine.start(agent()).0, needed(&agent()));
        assert_eq!(fs::read_to_string(&installed).unwrap(), AGENT);
    }

    #[test]
    fn what_is_not_the_agent_that_was_released_is_never_run() {
        let machine = Machine::new(&["b2sum"]);
        let other = Program::released(AGENT.as_bytes(), Some(blake2b("another"))).unwrap();
        let (said, _) = machine.start(other);
        assert!(said.contains("the agent arrived damaged"), "{said}");
        assert!(!said.contains("agent session"), "{said}");
        let (said, _) = machine.start(agent());
        assert_eq!(said, needed(&agent()));
    }

    #[test]
    fn the_agent_is_known_by_its_sha256_where_its_blake2b_is_not() {
        let old = Machine::new(&[]);
        let by_sha256 = vec!["sha256sum".to_owned()];
        assert_eq!(old.start(agent()), (needed(&agent()), by_sha256.clone()));
        assert_eq!(old.start(agent()), (HAD.to_owned(), by_sha256.clone()));
        let machine = Machine::new(&["b2sum"]);
        let built = || Program::released(AGENT.as_bytes(), None).unwrap();
        assert_eq!(
            machine.start(built()),
            (needed(&built()), by_sha256.clone())
        );
        assert_eq!(machine.start(built()), (HAD.to_owned(), by_sha256));
    }
}
