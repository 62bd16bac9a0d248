//! AWS from inside a company: by its proxy, trusting its certificates, by its profiles and roles.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::json;

use super::child::{Outcome, Process, Work};
use super::server::{Account, REGION};

/// A proxy that opens TLS, as `tests/cloud/proxy.py` has it. It ends with this.
struct Proxy {
    address: String,
    ca: PathBuf,
    hosts: Arc<Mutex<Vec<String>>>,
    _process: Child,
}

impl Proxy {
    fn start(account: &Account) -> Self {
        let python = std::env::var("AMIBAKE_TEST_PYTHON").expect("./test sets it");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cloud/proxy.py");
        let ca = account.home().join("company.pem");
        let mut process = Command::new(python)
            .arg(script)
            .arg("--ca")
            .arg(&ca)
            .args(["--to", &account.url])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let address = lines.next().unwrap().unwrap();
        let hosts = Arc::new(Mutex::new(Vec::new()));
        let asked = Arc::clone(&hosts);
        std::thread::spawn(move || {
            for host in lines.map_while(Result::ok) {
                asked.lock().unwrap().push(host);
            }
        });
        Self {
            address,
            ca,
            hosts,
            _process: process,
        }
    }

    fn url(&self, login: &str) -> String {
        format!("http://{login}@{}", self.address)
    }

    fn was_asked_for(&self, host: &str) -> bool {
        self.hosts.lock().unwrap().iter().any(|asked| asked == host)
    }
}

/// Runs `preflight` with more in its environment.
pub(super) async fn preflight(account: &Account, more: &[(&str, &str)]) -> Outcome {
    let work = preflight_words(account);
    Process::start(account, 10, work, more).end().await
}

/// Returns what `preflight` is started with.
pub(super) fn preflight_words(account: &Account) -> Work {
    let manifest = account.home().join("web.yaml");
    let text = format!(
        "name: web\nsource: {{ubuntu: '24.04'}}\nbuilder: {{region: {REGION}, connect: private-ip}}\n"
    );
    std::fs::write(&manifest, text).unwrap();
    let words = ["preflight", manifest.to_str().unwrap()];
    Work::Command(words.map(str::to_owned).to_vec())
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn every_service_is_reached_by_the_proxy_with_the_company_s_certificates() {
    let account = Account::open().await;
    let proxy = Proxy::start(&account);
    let url = proxy.url("ann:hunter22");
    let ca = proxy.ca.to_str().unwrap();
    // No endpoint of its own: the names are AWS's.
    let by_proxy = [
        ("AWS_ENDPOINT_URL", ""),
        ("HTTPS_PROXY", &*url),
        ("AWS_CA_BUNDLE", ca),
    ];
    let told = preflight(&account, &by_proxy).await.ended(0).stdout;
    super::preflight::assert_in_order(&told);
    for service in ["ec2", "ssm", "sts", "servicequotas"] {
        let host = format!("{service}.{REGION}.amazonaws.com");
        assert!(proxy.was_asked_for(&host), "{host}");
    }
    assert!(proxy.was_asked_for("iam.amazonaws.com"));

    // Nobody has told that the company is to be trusted.
    let untrusting = &by_proxy[..2];
    let outcome = preflight(&account, untrusting).await.ended(1);
    assert!(outcome.said.contains("certificate"), "{}", outcome.said);

    let wrong = proxy.url("ann:hunter33");
    let stranger = [by_proxy[0], ("HTTPS_PROXY", &*wrong), by_proxy[2]];
    let outcome = preflight(&account, &stranger).await.ended(1);
    assert!(outcome.said.contains("proxy"), "{}", outcome.said);
    assert!(!outcome.said.contains("hunter33"), "{}", outcome.said);
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn what_no_proxy_names_is_asked_straight() {
    let account = Account::open().await;
    let proxy = Proxy::start(&account);
    let url = proxy.url("ann:hunter22");
    let ca = proxy.ca.to_str().unwrap();
    let sts = format!("sts.{REGION}.amazonaws.com");
    let env = [
        ("AWS_ENDPOINT_URL", ""),
        ("HTTPS_PROXY", &*url),
        ("AWS_CA_BUNDLE", ca),
        ("NO_PROXY", "sts.eu-west-1.amazonaws.com"),
    ];
    let outcome = preflight(&account, &env).await.ended(1);
    assert!(
        outcome.said.contains("GetCallerIdentity got no answer"),
        "{}",
        outcome.said
    );
    assert!(!proxy.was_asked_for(&sts));

    // The test EC2 is on this machine, which no proxy reaches: the endpoint is asked straight.
    let here = [("HTTP_PROXY", &*url), ("HTTPS_PROXY", &*url)];
    preflight(&account, &here).await.ended(0);
    assert!(proxy.hosts.lock().unwrap().is_empty());
}

/// A home with profiles, and no keys in the environment.
pub(super) fn with_profiles(account: &Account) -> Vec<(&'static str, &'static str)> {
    let folder = account.home().join(".aws");
    std::fs::create_dir_all(&folder).unwrap();
    let key = account.key_id();
    let config = format!(
        "[profile keys]\naws_access_key_id = {key}\naws_secret_access_key = s\n\
         [profile ci]\nrole_arn = arn:aws:iam::1:role/ci\nsource_profile = keys\nexternal_id = x-17\n\
         [profile ann]\nrole_arn = arn:aws:iam::1:role/ci\nsource_profile = keys\nmfa_serial = arn:aws:iam::1:mfa/ann\n"
    );
    std::fs::write(folder.join("config"), config).unwrap();
    vec![("AWS_ACCESS_KEY_ID", ""), ("AWS_SECRET_ACCESS_KEY", "")]
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn a_role_is_assumed_with_its_external_id() {
    let account = Account::open().await;
    account
        .control("ways", json!({"external_id": "x-17"}))
        .await;
    let mut env = with_profiles(&account);
    env.push(("AWS_PROFILE", "ci"));
    preflight(&account, &env).await.ended(0);
    let actions = account.actions().await;
    assert!(actions.contains(&"AssumeRole".to_owned()), "{actions:?}");
    account
        .control("ways", json!({"external_id": "another"}))
        .await;
    let outcome = preflight(&account, &env).await.ended(1);
    assert!(
        outcome.said.contains("no AWS credentials"),
        "{}",
        outcome.said
    );
}

/// PEERS2026 2.2 row 7.
#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn a_profile_that_is_not_there_is_the_user_s_fault_and_told_with_its_files() {
    let account = Account::open().await;
    let mut env = with_profiles(&account);
    env.push(("AWS_PROFILE", "cj"));
    let outcome = preflight(&account, &env).await.ended(2);
    let told = "there is no AWS profile cj in ~/.aws/config or ~/.aws/credentials";
    assert!(outcome.said.contains(told), "{}", outcome.said);
    assert!(
        outcome.said.contains("did you mean ci?"),
        "{}",
        outcome.said
    );
    // Whoever has keys needs no file.
    let bare = Account::open().await;
    preflight(&bare, &[("AWS_PROFILE", "default")])
        .await
        .ended(0);
}

/// PEERS2026 2.2 row 45.
#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn a_zone_in_place_of_a_region_is_told_with_its_region() {
    let account = Account::open().await;
    let words = ["reap", "--region", "us-west-2c"]
        .map(str::to_owned)
        .to_vec();
    let ended = Process::start(&account, 10, Work::Command(words), &[])
        .end()
        .await;
    let outcome = ended.ended(2);
    assert!(
        outcome.said.contains("its region is us-west-2"),
        "{}",
        outcome.said
    );
}
