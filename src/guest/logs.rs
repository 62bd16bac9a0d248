//! The logs of a machine on which something failed, as far as it still gives them.

use super::{GuestError, Operation, RootShell, script};

/// What is asked for: a name for the file it becomes, and the command that prints it.
const LOGS: [(&str, &str); 7] = [
    ("cloud-init.log", "tail -c 100000 /var/log/cloud-init.log"),
    (
        "cloud-init-output.log",
        "tail -c 100000 /var/log/cloud-init-output.log",
    ),
    ("apt-history.log", "tail -c 50000 /var/log/apt/history.log"),
    ("apt-term.log", "tail -c 100000 /var/log/apt/term.log"),
    ("dpkg.log", "tail -c 50000 /var/log/dpkg.log"),
    ("failed-units.txt", "systemctl --failed --no-pager --plain"),
    (
        "journal.log",
        "journalctl --boot --priority=warning --no-pager --lines=500",
    ),
];

/// Returns the logs that are there, by name.
pub(crate) async fn collect(
    shell: &dyn RootShell,
) -> Result<Vec<(&'static str, String)>, GuestError> {
    let said = script(shell, Operation::CollectLogs, &commands()).await?;
    Ok(split(&said))
}

fn commands() -> String {
    let one = |(name, command): &(&str, &str)| {
        format!("echo '{}'; {command} </dev/null 2>/dev/null\n", mark(name))
    };
    let mut text: String = LOGS.iter().map(one).collect();
    text.push_str("exit 0\n");
    text
}

fn mark(name: &str) -> String {
    format!("==> amibake {name} <==")
}

/// Returns what was said under each mark. A log may hold a mark too: its lines go to another file then,
/// and no file but these comes of it.
fn split(said: &str) -> Vec<(&'static str, String)> {
    let mut found: Vec<(&'static str, String)> = Vec::new();
    let mut current: Option<usize> = None;
    for line in said.lines() {
        if let Some((name, _)) = LOGS.iter().find(|(name, _)| line == mark(name)) {
            current = match found.iter().position(|(known, _)| known == name) {
                None => {
                    found.push((name, String::new()));
                    Some(found.len() - 1)
                }
                known => known,
            };
        } else if let Some(current) = current {
            let (_, text) = &mut found[current];
            text.push_str(line);
            text.push('\n');
        }
    }
    found.retain(|(_, text)| !text.is_empty());
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::Local;

    #[tokio::test]
    async fn what_is_there_is_returned_by_name_and_nothing_else() {
        let found = collect(&Local).await.unwrap();
        assert!(found.iter().all(|(_, text)| !text.is_empty()));
    }

    #[test]
    fn a_machine_decides_on_no_names() {
        let said = "early\n==> amibake dpkg.log <==\na\n==> amibake ../../etc/passwd <==\nb\n==> amibake journal.log <==\n";
        let found = split(said);
        let text = "a\n==> amibake ../../etc/passwd <==\nb\n";
        assert_eq!(found, [("dpkg.log", text.to_owned())]);
    }
}
