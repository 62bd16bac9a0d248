//! How a build reaches its builder: who is let in, and what is said when it does not answer.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;

use crate::support::running::{Built, RunningBuild};
use crate::support::{Cloud, wait_for};

/// No `connect`: by its public address is the default.
const MANIFEST: &str = r#"
name: connect
source: {ubuntu: "24.04"}
builder:
  region: eu-west-1
  instance_type: [t3.small]
provision:
  - tasks:
      - name: Take a moment
        ansible.builtin.shell: echo started >> /etc/ran; sleep 10; echo done >> /etc/ran
image: {name: "connect-{{ build_time }}"}
"#;

/// An echo service on loopback that says what it is told to say.
struct Echo {
    url: String,
    says: Arc<Mutex<String>>,
}

impl Echo {
    fn start(says: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let says = Arc::new(Mutex::new(says.to_owned()));
        let shared = Arc::clone(&says);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let _request = stream.read(&mut [0; 4096]);
                let body = format!("{}\n", shared.lock().unwrap());
                let length = body.len();
                let answer = format!(
                    "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
                );
                let _gone = stream.write_all(answer.as_bytes());
            }
        });
        Self { url, says }
    }

    fn now_says(&self, address: &str) {
        address.clone_into(&mut self.says.lock().unwrap());
    }
}

fn start(cloud: &Cloud, manifest: &str, echo: &str) -> RunningBuild {
    let manifest = cloud.manifest(manifest);
    let mut command = cloud.amibake(["build"]);
    command.arg(manifest).env("AMIBAKE_CHECKIP_URL", echo);
    cloud.run(&mut command)
}

/// The ranges that were let in, in the order of the calls.
fn admitted(cloud: &Cloud) -> Vec<String> {
    let calls = cloud.control("calls", None);
    let calls = calls.as_array().unwrap().iter();
    let rules = calls.filter(|c| c["action"] == "AuthorizeSecurityGroupIngress");
    let mut sources: Vec<String> = rules
        .map(|c| {
            let params = &c["params"];
            assert_eq!(params["IpPermissions.1.FromPort"], "22");
            assert_eq!(params["IpPermissions.1.ToPort"], "22");
            assert!(params.get("IpPermissions.1.IpRanges.2.CidrIp").is_none());
            params["IpPermissions.1.IpRanges.1.CidrIp"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    sources.dedup(); // a new group is known late: the call is made again
    sources
}

#[test]
fn the_caller_s_public_address_alone_is_let_in_and_followed_when_it_changes() {
    let cloud = Cloud::start();
    cloud.control("ways", Some(json!({"seen_as": ["203.0.113.7"]})));
    // The service is a little behind: the first address was that of another network.
    let echo = Echo::start("198.51.100.1");
    let mut running = start(&cloud, MANIFEST, &echo.url);
    wait_for("the first rule", Duration::from_mins(2), || {
        !admitted(&cloud).is_empty()
    });
    echo.now_says("203.0.113.7");

    let mut machine = None;
    wait_for("the task", Duration::from_mins(5), || {
        machine = cloud
            .machines()
            .into_iter()
            .find(|(_, m)| ran(&m["root"]).is_some());
        machine.is_some()
    });
    let (builder, machine) = machine.unwrap();
    assert_eq!(admitted(&cloud), ["198.51.100.1/32", "203.0.113.7/32"]);

    // In the middle of the task this machine moves to a third network.
    cloud.control("ways", Some(json!({"seen_as": ["203.0.113.8"]})));
    echo.now_says("203.0.113.8");
    assert!(
        cloud
            .inside(&builder, "pkill -KILL -u ubuntu sshd")
            .status
            .success()
    );
    running.wait().ended(0);
    assert_eq!(
        admitted(&cloud),
        ["198.51.100.1/32", "203.0.113.7/32", "203.0.113.8/32"]
    );
    drop(machine);
    let snapshots = &cloud.inventory()["snapshots"];
    let root = cloud.root_of(&snapshots[0]);
    assert_eq!(ran(root.to_str().unwrap()).unwrap(), "started\ndone\n");
}

fn ran(root: &str) -> Option<String> {
    std::fs::read_to_string(Path::new(root).join("etc/ran")).ok()
}

/// Builds with more lines in `builder:`, and little time.
fn fails_to_connect(cloud: &Cloud, more: &str) -> Built {
    let more = format!("  timeouts: {{connect: 20s}}\n{more}provision:");
    let echo = Echo::start("203.0.113.7");
    let before = cloud.inventory();
    let built = start(cloud, &MANIFEST.replace("provision:", &more), &echo.url)
        .wait()
        .ended(1);
    let said = &built.stderr;
    assert_eq!(built.stdout, "");
    assert!(said.contains("left behind: nothing"), "{said}");
    assert_eq!(cloud.inventory(), before, "{said}");
    built
}

#[test]
fn a_port_without_sshd_is_told_from_a_silent_one() {
    let cloud = Cloud::start();
    let said = fails_to_connect(&cloud, "  port: 2222\n  ingress_cidrs: [203.0.113.0/24]\n").stderr;
    assert!(said.contains("port 2222 cannot be reached"), "{said}");
    assert!(said.contains("nothing listens on that port"), "{said}");
    assert!(!said.contains("none of its security groups"), "{said}");
}
