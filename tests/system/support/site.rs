//! A site of real machines behind the test EC2's load balancer: its images, its certificate, its stack, and whose
//! turn it was.

use std::net::SocketAddr;
use std::process::{Command, Output};

use serde_json::{Value as Json, json};

use super::load::{Answer, Site};
use super::{Cloud, expect_exit, needed, text};

pub(crate) const DOMAIN: &str = "hello.example.com";

/// Says its image's version in each answer, as the example application does, and drains when it is told to end:
/// what it has begun is answered, and its health check fails from then on.
const SERVER: &str = r#"#!/usr/bin/python3
import http.server, signal, threading, time
VERSION, leaves = "@VERSION@", threading.Event()
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        body = VERSION.encode()
        self.send_response(503 if leaves.is_set() and self.path == "/healthz" else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass
server = http.server.ThreadingHTTPServer(("", 8080), Handler)
def leave(*_):
    leaves.set()
    threading.Timer(3, server.shutdown).start()
signal.signal(signal.SIGTERM, leave)
server.serve_forever()
"#;

const UNIT: &str = "[Unit]\nAfter=network.target\n[Service]\nExecStart=/usr/local/bin/server\nTimeoutStopSec=10\n\
                    [Install]\nWantedBy=multi-user.target\n";

impl Cloud {
    /// Makes an image whose application says `version`.
    pub(crate) fn image_of(&self, version: &str) -> String {
        let files = json!({
            "usr/local/bin/server": SERVER.replace("@VERSION@", version),
            "etc/systemd/system/web.service": UNIT,
            "etc/systemd/system/multi-user.target.wants/web.service": "-> ../web.service",
        });
        let image = json!({"name": format!("web-{version}"), "files": files});
        let made = self.control("image-of-files", Some(image));
        made["image"].as_str().unwrap().to_owned()
    }

    /// Makes a call as any other client of AWS does.
    pub(crate) fn aws(&self, service: &str, operation: &str, params: Json) -> Json {
        let client = r#"
import boto3, json, sys
client = boto3.client(sys.argv[2], endpoint_url=sys.argv[1], region_name="eu-west-1")
print(json.dumps(getattr(client, sys.argv[3])(**json.loads(sys.argv[4])), default=str))
"#;
        let output = Command::new(needed("AMIBAKE_TEST_PYTHON"))
            .args([
                "-c",
                client,
                self.url(),
                service,
                operation,
                &params.to_string(),
            ])
            .env("AWS_ACCESS_KEY_ID", "AKIATEST")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{operation}: {}",
            text(&output.stderr)
        );
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Makes a certificate by `amibake cert`; returns its ARN and itself.
    pub(crate) fn certificate(&self) -> (String, String) {
        let file = self.folder().join("web.pem");
        let mut command = self.amibake(["cert", "web", "--domain", DOMAIN, "--certificate-file"]);
        let output = expect_exit(command.arg(&file), 0);
        let arn = text(&output.stdout).trim().to_owned();
        (arn, std::fs::read_to_string(file).unwrap())
    }

    /// Returns where the only load balancer's listener for HTTPS is.
    pub(crate) fn front(&self) -> SocketAddr {
        let balancers = self.control("balancers", None);
        let balancers = balancers.as_object().unwrap();
        assert_eq!(balancers.len(), 1, "{balancers:?}");
        let only = balancers.values().next().unwrap();
        only["listeners"]["443"].as_str().unwrap().parse().unwrap()
    }

    /// Returns the site, for clients who trust this certificate.
    pub(crate) fn site(&self, certificate: &str) -> Site {
        Site {
            address: self.front(),
            domain: DOMAIN.to_owned(),
            certificate: certificate.to_owned(),
        }
    }

    /// Returns the stack's outputs.
    pub(crate) fn outputs(&self, stack: &str) -> Json {
        let told = self.aws(
            "cloudformation",
            "describe_stacks",
            json!({"StackName": stack}),
        );
        let outputs = told["Stacks"][0]["Outputs"].as_array().unwrap().iter();
        let pairs = outputs.map(|one| {
            (
                one["OutputKey"].as_str().unwrap().to_owned(),
                one["OutputValue"].clone(),
            )
        });
        Json::Object(pairs.collect())
    }
}

/// When which target groups had traffic: each change, by the wall's clock.
#[derive(Debug, Clone)]
pub(crate) struct Turns(Vec<(f64, Vec<String>)>);

impl Turns {
    /// Reads them from the calls that changed rules.
    pub(crate) fn read(cloud: &Cloud) -> Self {
        let calls = cloud.control("calls", None);
        let changes = calls.as_array().unwrap().iter().filter(|call| {
            let action = call["action"].as_str().unwrap();
            matches!(action, "CreateRule" | "ModifyRule") && call["answer"] == "ok"
        });
        let turns = changes.filter_map(|call| {
            let params = call["params"].as_object().unwrap();
            // A rule that asks for a header has nobody's traffic but the smoke tests'.
            let is_for_few = params.iter().any(|(_, v)| v == "http-header");
            (!is_for_few).then(|| (call["time"].as_f64().unwrap(), targets(params)))
        });
        Self(turns.filter(|(_, groups)| !groups.is_empty()).collect())
    }

    /// Returns whose turn it was at some time between these, each a target group's ARN.
    pub(crate) fn between(&self, from: f64, to: f64) -> Vec<&str> {
        // A change counts from somewhere between the call and its answer on.
        const LATE: f64 = 1.0;
        let mut turns = Vec::new();
        for (number, (since, groups)) in self.0.iter().enumerate() {
            let until = self.0.get(number + 1).map_or(f64::MAX, |(at, _)| at + LATE);
            if *since <= to && from <= until {
                turns.extend(groups.iter().map(String::as_str));
            }
        }
        turns
    }

    /// Returns whose turn it is now.
    pub(crate) fn last(&self) -> Vec<&str> {
        let last = self.0.last();
        last.map_or_else(Vec::new, |(_, groups)| {
            groups.iter().map(String::as_str).collect()
        })
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }
}

/// Returns the groups that a rule gives a weight.
fn targets(params: &serde_json::Map<String, Json>) -> Vec<String> {
    let mut found = Vec::new();
    for (name, value) in params {
        let Some(stem) = name.strip_suffix(".TargetGroupArn") else {
            continue;
        };
        let weight = params.get(&format!("{stem}.Weight"));
        if weight.is_some_and(|weight| weight != "0") {
            found.push(value.as_str().unwrap().to_owned());
        }
    }
    found
}

/// Insists that each request was answered with 200, by a version whose colour's turn it was.
pub(crate) fn assert_served(answers: &[Answer], turns: &Turns, colours: &[(&str, &str)]) {
    let mut wrong = Vec::new();
    for answer in answers {
        let allowed = turns.between(answer.asked, answer.answered);
        let is_fine = match &answer.what {
            Ok((200, version)) => {
                let mut of_version = colours.iter().filter(|(known, _)| known == version);
                of_version.any(|(_, group)| allowed.contains(group))
            }
            _ => false,
        };
        if !is_fine {
            wrong.push(answer);
        }
    }
    let some: Vec<_> = wrong.iter().take(5).collect();
    assert!(
        wrong.is_empty(),
        "{} of {} answers: {some:#?}",
        wrong.len(),
        answers.len()
    );
}

/// Returns what a command said, results and all else.
pub(crate) fn all(output: &Output) -> String {
    text(&output.stdout) + &text(&output.stderr)
}
