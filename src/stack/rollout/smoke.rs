//! Smoke tests: what is asked of a colour that nobody else reaches yet, and what it is to answer. They are
//! a file of the user's; docs/rollout.md has its keys.

use std::path::Path;
use std::time::Duration;

use amibake_playbook::diagnostic::{Diagnostic, Diagnostics};
use amibake_playbook::files::Disk;
use amibake_playbook::yaml::{self, Kind, Node};

/// The header that leads a request to the idle colour; its value is new with each deploy.
pub(crate) const HEADER: &str = "X-Amibake-Smoke";

/// What all smoke tests of a deploy are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SmokeTests(pub(crate) Vec<SmokeTest>);

/// One request, and what is to come of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SmokeTest {
    pub(crate) path: String,
    /// `GET` or `HEAD`.
    pub(crate) method: String,
    /// Whom it asks for; the certificate's own name where none is given.
    pub(crate) host: Option<String>,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) status: u16,
    /// What the body has in it.
    pub(crate) contains: Option<String>,
    pub(crate) within: Duration,
    /// How often it is made: each time another instance may answer.
    pub(crate) times: u32,
}

/// What an answer was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answered {
    pub(crate) status: u16,
    pub(crate) body: String,
}

const KEYS: &[&str] = &[
    "path", "method", "host", "headers", "status", "contains", "within", "times",
];

impl SmokeTests {
    /// Reads the file at `path`: a list of tests.
    pub(crate) fn load(path: &Path) -> Result<Self, Diagnostics> {
        let document = yaml::load(&Disk::here(), path)?;
        Ok(Self::read(&document.root)?)
    }

    fn read(root: &Node) -> Result<Self, Diagnostic> {
        let tests = root.expect_seq("the smoke tests")?;
        if tests.is_empty() {
            return Err(Diagnostic::new(
                &root.span,
                "there are no smoke tests in it",
            ));
        }
        let tests: Result<_, _> = tests.iter().map(SmokeTest::read).collect();
        Ok(Self(tests?))
    }
}

impl SmokeTest {
    fn read(node: &Node) -> Result<Self, Diagnostic> {
        let fields = node.fields("a smoke test", KEYS)?;
        let path = fields.require("path")?;
        let text = path.expect_text("`path`")?;
        if !text.starts_with('/') {
            return Err(Diagnostic::new(&path.span, "`path` must begin with a /"));
        }
        let method = fields.text("method")?.unwrap_or_else(|| "GET".to_owned());
        if !matches!(method.as_str(), "GET" | "HEAD") {
            let wrong = format!("`method` must be GET or HEAD, not `{method}`");
            return Err(Diagnostic::new(&node.span, wrong));
        }
        let number = |key, least: i64, most: i64, default: i64| match fields.int(key)? {
            None => Ok(default),
            Some(n) if (least..=most).contains(&n) => Ok(n),
            Some(n) => {
                let wrong = format!("`{key}` must be between {least} and {most}, not {n}");
                Err(Diagnostic::new(&node.span, wrong))
            }
        };
        let small = |n: i64| u16::try_from(n).unwrap_or(u16::MAX);
        Ok(Self {
            path: text,
            method,
            host: fields.text("host")?,
            headers: headers(fields.get("headers"))?,
            status: small(number("status", 100, 599, 200)?),
            contains: fields.text("contains")?,
            within: Duration::from_secs(small(number("within", 1, 300, 10)?).into()),
            times: small(number("times", 1, 1000, 1)?).into(),
        })
    }

    /// Returns what is wrong with an answer, if something is.
    pub(crate) fn complaint(&self, answer: &Answered) -> Option<String> {
        let (method, path) = (&self.method, &self.path);
        if answer.status != self.status {
            let (is, wanted) = (answer.status, self.status);
            return Some(format!("{method} {path} answered {is}, not {wanted}"));
        }
        let text = self.contains.as_ref()?;
        let is_there = answer.body.contains(text.as_str());
        let begin: String = answer.body.chars().take(200).collect();
        (!is_there).then(|| format!("{method} {path} answered without {text:?}: {begin:?}"))
    }
}

fn headers(node: Option<&Node>) -> Result<Vec<(String, String)>, Diagnostic> {
    let Some(node) = node else {
        return Ok(Vec::new());
    };
    if !matches!(node.kind, Kind::Map(_)) {
        return Err(node.unexpected("`headers`", "a mapping"));
    }
    let pairs = node.expect_map("`headers`")?.iter();
    pairs
        .map(|(name, value)| {
            Ok((
                name.expect_text("a header's name")?,
                value.expect_text("a header's value")?,
            ))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<SmokeTests, String> {
        let document = yaml::parse(Path::new("smoke.yaml"), text.as_bytes()).unwrap();
        SmokeTests::read(&document.root).map_err(|wrong| wrong.message)
    }

    #[test]
    fn a_test_says_what_is_asked_and_has_the_rest_by_default() {
        let tests = read(
            "- path: /healthz\n- {path: /a, method: HEAD, host: web.test, headers: {Accept: text/html}, status: 404, within: 3, times: 4}\n\
             - {path: /, contains: Hello}\n",
        );
        let SmokeTests(tests) = tests.unwrap();
        assert_eq!((tests[0].status, tests[0].times), (200, 1));
        assert_eq!((&*tests[0].method, tests[0].within.as_secs()), ("GET", 10));
        assert_eq!(
            tests[1].headers,
            [("Accept".to_owned(), "text/html".to_owned())]
        );
        assert_eq!((tests[1].status, tests[1].times), (404, 4));
        assert_eq!(tests[2].contains.as_deref(), Some("Hello"));
    }

    #[test]
    fn what_is_no_test_is_refused() {
        for text in [
            "[]",
            "path: /",
            "- {}",
            "- path: healthz",
            "- {path: /, methods: GET}",
            "- {path: /, method: POST}",
            "- {path: /, status: 42}",
            "- {path: /, times: 0}",
            "- {path: /, headers: [a]}",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_answer_is_judged_by_its_status_and_what_is_in_it() {
        let SmokeTests(tests) = read("- {path: /, contains: Hello}").unwrap();
        let answer = |status, body: &str| Answered {
            status,
            body: body.to_owned(),
        };
        assert_eq!(tests[0].complaint(&answer(200, "<p>Hello")), None);
        let wrong = tests[0].complaint(&answer(500, "Hello")).unwrap();
        assert_eq!(wrong, "GET / answered 500, not 200");
        let wrong = tests[0].complaint(&answer(200, "Bye")).unwrap();
        assert_eq!(wrong, "GET / answered without \"Hello\": \"Bye\"");
    }
}
