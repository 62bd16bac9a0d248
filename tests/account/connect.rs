//! Who is let in to a builder, and what is said of one that cannot be logged in to. That SSH says
//! it is silent is a machine's to show; here it is said.

use std::io::{Read, Write};
use std::net::TcpListener;

use serde_json::json;

use super::build::Build;
use super::child::{Process, Work};
use super::guest::{Guests, Steps};
use super::server::Account;
use crate::clock::{Instant, Pace};
use crate::exit::Exit;

/// Starts an echo service on loopback that always says the same; returns its address.
fn echo(says: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _request = stream.read(&mut [0; 4096]);
            let length = says.len();
            let answer = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{says}"
            );
            let _gone = stream.write_all(answer.as_bytes());
        }
    });
    url
}

/// Builds where the environment names an echo service and the manifest asks for public addresses.
async fn build_seen_by(account: &Account, echo: &str) -> super::child::Outcome {
    let work = Work::build(", connect: public-ip", Steps::Done);
    seen_by(account, echo, work).await
}

async fn seen_by(account: &Account, echo: &str, work: Work) -> super::child::Outcome {
    let environment = [("AMIBAKE_CHECKIP_URL", echo)];
    let process = Process::start(account, super::PACE, work, &environment);
    process.end().await
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn the_address_that_the_service_tells_is_let_in_and_no_other() {
    let account = Account::open().await;
    let url = echo("203.0.113.7\n");
    build_seen_by(&account, &url).await.ended(0);
    let calls = account.calls().await;
    let rules = calls
        .iter()
        .filter(|c| c.action == "AuthorizeSecurityGroupIngress");
    for rule in rules {
        let ranges = rule.params.iter().filter(|(name, _)| name.contains("Cidr"));
        let ranges: Vec<&str> = ranges.map(|(_, range)| range.as_str()).collect();
        assert_eq!(ranges, ["203.0.113.7/32"]);
        assert_eq!(rule.params["IpPermissions.1.FromPort"], "22");
        assert_eq!(rule.params["IpPermissions.1.ToPort"], "22");
    }
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn without_an_answer_about_the_own_address_nothing_is_made() {
    let account = Account::open().await;
    let before = account.inventory().await;
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = format!("http://{}/", silent.local_addr().unwrap());
    drop(silent);
    let liar = echo("0.0.0.0/0\n");
    for (echo, why) in [
        (&closed, "could not be reached"),
        (
            &liar,
            "answered \"0.0.0.0/0\\n\", which is not the address of a machine",
        ),
    ] {
        let said = build_seen_by(&account, echo).await.ended(1).said;
        let told = "error: this machine's public address could not be determined: ";
        assert!(said.contains(&format!("{told}{echo} {why}")), "{said}");
        let hint = "hint: name it in builder.ingress_cidrs, as 203.0.113.7/32";
        assert!(said.contains(hint), "{said}");
    }
    let actions = account.actions().await;
    for made in ["CreateSecurityGroup", "RunInstances"] {
        assert!(!actions.contains(&made.to_owned()), "{made} in {actions:?}");
    }
    assert_eq!(account.inventory().await, before);
}

/// Builds on machines that nobody can log in to, with more in the manifest's `builder:`.
async fn fails_to_connect(account: &Account, more: &str) -> String {
    let before = account.inventory().await;
    let work = Work::Build {
        more: format!(", connect: public-ip{more}"),
        image: String::new(),
        steps: Steps::Done,
        silent: true,
        shared: false,
    };
    let said = seen_by(account, &echo("203.0.113.7"), work)
        .await
        .ended(1)
        .said;
    assert_eq!(account.inventory().await, before, "{said}");
    assert!(said.contains("error: nobody answers\n"), "{said}");
    said
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn a_group_that_admits_others_only_is_named() {
    let account = Account::open().await;
    let group = account.inventory().await["security_groups"][0].clone();
    let said = fails_to_connect(&account, &format!(", security_groups: [{group}]")).await;
    let cause = format!("none of its security groups ({group}) admits 203.0.113.7/32 to port 22");
    assert!(said.contains(&cause), "{said}");
}

/// PEERS2026 2.2 row 39.
#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn a_subnet_without_a_way_out_is_named() {
    let account = Account::open().await;
    let subnet = account.control("private-subnet", json!({})).await;
    let subnet = subnet.as_str().unwrap();
    let said = fails_to_connect(&account, &format!(", subnet: {{id: {subnet}}}")).await;
    let cause = format!("its subnet, {subnet}, has no route to an internet gateway");
    assert!(said.contains(&cause), "{said}");
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn a_machine_that_ends_while_a_try_to_connect_hangs_is_told_at_once() {
    // The server is not fast enough for more.
    let _pace = Pace::set(10);
    let account = Account::open().await;
    let code = "Server.InternalError";
    let dies = json!({"after": 1, "code": code, "message": "on launch"});
    account.control("ways", json!({"dies": dies})).await;
    let mut build = Build::of(&account);
    build.guests = Guests::silent();
    let began = Instant::now();
    let built = build.run().await.ended(Exit::Failed);
    assert!(built.said.contains(code), "{}", built.said);
    let calls = account.calls().await;
    let looks = calls
        .iter()
        .filter(|call| call.action == "DescribeInstances");
    assert!(looks.count() > 2);
    // A second is ten here; the rest of it is launching and cleaning up.
    assert!(began.elapsed() < build.plan.builder.timeouts.connect / 2);
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn the_end_of_its_console_is_shown() {
    let _pace = super::fast();
    let account = Account::open().await;
    let mut build = Build::of(&account);
    build.guests = Guests::silent();
    let writing = async {
        let machine = async || {
            let machines = account.control("machines", json!({})).await;
            machines.as_object().unwrap().keys().next().cloned()
        };
        account
            .wait_until("the builder", async || machine().await.is_some())
            .await;
        let text = "[FAILED] Failed to start ssh.service\n";
        let console = json!({"instance": machine().await, "text": text});
        account.control("console", console).await;
    };
    let (built, ()) = tokio::join!(build.run(), writing);
    let said = built.ended(Exit::Failed).said;
    assert!(
        said.contains("[FAILED] Failed to start ssh.service"),
        "{said}"
    );
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn a_machine_without_a_public_address_is_not_waited_for() {
    let account = Account::open().await;
    let before = account.inventory().await;
    account
        .control("ways", json!({"public_addresses": false}))
        .await;
    let url = echo("203.0.113.7");
    let said = build_seen_by(&account, &url).await.ended(1).said;
    assert!(said.contains(" runs and has no public address"), "{said}");
    let hint = "hint: its subnet gives none: name another in builder.subnet";
    assert!(said.contains(hint), "{said}");
    assert_eq!(account.inventory().await, before);
}
