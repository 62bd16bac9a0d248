//! The manifest's own tests, as tasks that the agent runs on the candidate.

use amibake_playbook::shell::quote;
use serde_json::{Value as Json, json};

use crate::manifest::Test;

/// Returns the manifest's tests as tasks for the agent, or `None` without any.
///
/// A list of tasks as JSON, which is YAML.
pub(crate) fn test_tasks(tests: &[Test]) -> Option<String> {
    let tasks: Vec<Json> = tests.iter().flat_map(tasks).collect();
    (!tasks.is_empty()).then(|| Json::from(tasks).to_string())
}

/// Returns what the tests are called in reports, one name each.
pub(crate) fn test_names(tests: &[Test]) -> Vec<String> {
    let name = |test| {
        let asked = tasks(test).pop()?;
        asked["name"].as_str().map(str::to_owned)
    };
    tests.iter().filter_map(name).collect()
}

/// Tries are many where the server refuses, and few where it hangs: the clock ends them.
fn http(url: &str, status: u16, contains: Option<&str>, within: u64) -> Vec<Json> {
    let good = holds(
        "amibake_answer.content",
        contains,
        "amibake_answer is success",
    );
    let now = "now(utc=true).timestamp()";
    vec![
        json!({
            "name": format!("{url} has {within} s"),
            "ansible.builtin.set_fact": {"amibake_end": format!("{{{{ {now} + {within} }}}}")},
        }),
        json!({
            "name": format!("{url} answers {status}"),
            "ansible.builtin.uri": {"url": url, "status_code": status, "return_content": true, "timeout": within.min(10)},
            "register": "amibake_answer",
            "failed_when": format!("not ({good})"),
            "until": format!("amibake_answer is success or {now} >= amibake_end | float"),
            "retries": within,
            "delay": 1,
            "timeout": within.max(10),
        }),
    ]
}

fn tasks(test: &Test) -> Vec<Json> {
    let task = match test {
        Test::Http {
            url,
            status,
            contains,
            within,
        } => return http(url, *status, contains.as_deref(), within.as_secs().max(1)),
        Test::Service { name, running } => json!({
            "name": format!("service {name} is {}", if *running { "running" } else { "stopped" }),
            "ansible.builtin.shell": service_command(name),
            "register": "amibake_answer",
            "until": format!("('running' in amibake_answer.stdout) == {}", if *running { "true" } else { "false" }),
            "retries": 30,
            "delay": 1,
            "changed_when": false,
            "failed_when": false,
        }),
        Test::Port { port, within } => json!({
            "name": format!("port {port} answers"),
            "ansible.builtin.wait_for": {"port": port, "timeout": within.as_secs().max(1)},
        }),
        Test::Command {
            run,
            status,
            contains,
        } => json!({
            "name": format!("`{run}` ends with {status}"),
            "ansible.builtin.shell": {"cmd": run},
            "register": "amibake_answer",
            "changed_when": false,
            "failed_when": format!("not ({})", holds("amibake_answer.stdout + amibake_answer.stderr", contains.as_deref(), &format!("amibake_answer.rc == {status}"))),
        }),
    };
    vec![task]
}

/// The text wanted is data: it is written as a Jinja string, and so never an expression.
fn holds(where_: &str, contains: Option<&str>, otherwise: &str) -> String {
    match contains {
        Some(text) => format!("{otherwise} and {} in ({where_})", jinja_string(text)),
        None => otherwise.to_owned(),
    }
}

fn jinja_string(text: &str) -> String {
    format!(
        "'{}'",
        text.replace('\\', r"\\")
            .replace('\'', r"\'")
            .replace('\n', r"\n")
    )
}

/// A unit of systemd, or else a program of supervisord.
fn service_command(name: &str) -> String {
    let name = quote(name);
    format!(
        "if systemctl cat {name} >/dev/null 2>&1; then systemctl is-active --quiet {name} && echo running || echo stopped; \
         else supervisorctl status {name} 2>/dev/null | grep -q RUNNING && echo running || echo stopped; fi"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_http_test_ends_by_the_clock() {
        let test = Test::Http {
            url: "http://localhost/".into(),
            status: 200,
            contains: Some("Hello".into()),
            within: std::time::Duration::from_secs(60),
        };
        let tasks = test_tasks(&[test]).unwrap();
        let tasks: Json = serde_json::from_str(&tasks).unwrap();
        let end = tasks[0]["ansible.builtin.set_fact"]["amibake_end"].as_str();
        assert_eq!(end, Some("{{ now(utc=true).timestamp() + 60 }}"));
        assert_eq!(tasks[1]["timeout"], 60);
        let until = tasks[1]["until"].as_str().unwrap();
        assert!(
            until.ends_with("now(utc=true).timestamp() >= amibake_end | float"),
            "{until}"
        );
        let failed = tasks[1]["failed_when"].as_str().unwrap();
        assert!(
            failed.contains("'Hello' in (amibake_answer.content)"),
            "{failed}"
        );
    }

    #[test]
    fn text_of_a_test_is_data() {
        let test = Test::Command {
            run: "id".into(),
            status: 0,
            contains: Some("'}} or \\ true".into()),
        };
        let tasks = test_tasks(&[test]).unwrap();
        let tasks: Json = serde_json::from_str(&tasks).unwrap();
        let condition = tasks[0]["failed_when"].as_str().unwrap();
        assert!(condition.contains(r"'\'}} or \\ true' in"), "{condition}");
    }
}
