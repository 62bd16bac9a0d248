//! The manifest's own tests, as tasks that the agent runs on the candidate.

use amibake_playbook::diagnostic::Span;
use amibake_playbook::shell::quote;
use serde_json::{Value as Json, json};

use crate::manifest::{ImageTest, Test};

/// Returns the manifest's tests as tasks for the agent, or `None` without any.
///
/// A list of tasks as JSON, which is YAML, each where its test stands in the manifest: what is said of it names
/// that place.
pub(crate) fn test_tasks(tests: &[ImageTest]) -> Option<String> {
    let mut list = PlacedList::default();
    for ImageTest { test, span } in tests {
        for task in tasks(test) {
            list.push(&task, span);
        }
    }
    (!tests.is_empty()).then(|| list.text + "]")
}

/// A list in flow style, up to its last item.
struct PlacedList {
    text: String,
    /// Where the next character comes, as the file counts it.
    line: u32,
    column: usize,
}

impl Default for PlacedList {
    fn default() -> Self {
        Self {
            text: "[".to_owned(),
            line: 1,
            column: 2,
        }
    }
}

impl PlacedList {
    /// Adds an item where it is to stand, or next to the one before where that is beyond it.
    fn push(&mut self, item: &Json, place: &Span) {
        if self.text.len() > 1 {
            self.write(",");
        }
        while self.line < place.line {
            self.text.push('\n');
            self.line += 1;
            self.column = 1;
        }
        let wanted = usize::try_from(place.column).unwrap_or(0);
        if self.line == place.line {
            self.write(&" ".repeat(wanted.saturating_sub(self.column)));
        }
        self.write(&item.to_string());
    }

    fn write(&mut self, text: &str) {
        self.text += text;
        self.column += text.chars().count();
    }
}

/// Returns what a test is called in reports.
pub(crate) fn test_name(test: &ImageTest) -> String {
    let asked = tasks(&test.test).pop();
    let name = asked.as_ref().and_then(|asked| asked["name"].as_str());
    name.unwrap_or_default().to_owned()
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
    use amibake_playbook::yaml;
    use std::path::Path;

    fn at(line: u32, column: u32, test: Test) -> ImageTest {
        let span = Span {
            line,
            column,
            ..Span::whole("/m.yaml")
        };
        ImageTest { test, span }
    }

    fn command(run: &str) -> Test {
        Test::Command {
            run: run.to_owned(),
            status: 0,
            contains: None,
        }
    }

    #[test]
    fn a_test_is_told_where_it_stands_in_the_manifest() {
        let within = std::time::Duration::from_secs(9);
        let port = Test::Port { port: 80, within };
        let http = Test::Http {
            url: "http://ä/".into(),
            status: 200,
            contains: None,
            within,
        };
        let tests = [
            at(7, 5, command("true")),
            at(7, 30, port),
            at(9, 5, http),
            at(12, 5, command("false")),
        ];
        let text = test_tasks(&tests).unwrap();
        let document = yaml::parse(Path::new("/m.yaml"), text.as_bytes()).unwrap();
        let tasks = document.root.expect_seq("tasks").unwrap();
        let places: Vec<(u32, u32)> = tasks.iter().map(|t| (t.span.line, t.span.column)).collect();
        // The second test stands beside the first, which takes more room as a task; the third is two tasks.
        let [(7, 5), (7, beside), (9, 5), (9, _), (12, 5)] = places[..] else {
            panic!("{places:?}");
        };
        assert!(beside > 30);
    }

    #[test]
    fn an_http_test_ends_by_the_clock() {
        let test = Test::Http {
            url: "http://localhost/".into(),
            status: 200,
            contains: Some("Hello".into()),
            within: std::time::Duration::from_secs(60),
        };
        let tasks = test_tasks(&[at(1, 1, test)]).unwrap();
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
        let tasks = test_tasks(&[at(3, 5, test)]).unwrap();
        let tasks: Json = serde_json::from_str(&tasks).unwrap();
        let condition = tasks[0]["failed_when"].as_str().unwrap();
        assert!(condition.contains(r"'\'}} or \\ true' in"), "{condition}");
    }
}
