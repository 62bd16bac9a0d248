//! The test EC2 without machines (`tests/cloud`), and an account of it for each test.
//!
//! It is a process of its own, so that it outlives a killed build; one serves all tests of this
//! program. `AMIBAKE_TEST_ACCOUNTS` names one that runs already.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use aws_config::SdkConfig;
use serde_json::{Value as Json, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;

use super::build::client;
use super::sweep::Asked;

/// What an account holds: ids by kind.
pub(super) type Inventory = BTreeMap<String, Vec<String>>;

pub(super) const REGION: &str = "eu-west-1";

/// What EC2 takes for what it does, in seconds of the wall: about a hundredth of the real times.
const DELAYS: [(&str, f64); 7] = [
    ("visible", 0.01),
    ("pending", 0.02),
    ("image", 0.05),
    ("snapshot", 0.01),
    ("interface", 0.02),
    ("off", 0.01),
    ("parameter", 0.02),
];

/// What is waited for longer does not come, however slow this machine is.
const HANGS: Duration = Duration::from_secs(300);

struct Server {
    url: String,
    /// It ends when its standard input does: with this process.
    _process: Option<Child>,
    _folder: tempfile::TempDir,
}

impl Server {
    fn found_or_started() -> Self {
        match std::env::var("AMIBAKE_TEST_ACCOUNTS") {
            Err(_) => Self::start(),
            Ok(url) => Self {
                url,
                _process: None,
                _folder: tempfile::tempdir().unwrap(),
            },
        }
    }

    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let python = std::env::var("AMIBAKE_TEST_PYTHON").expect("./test sets it");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cloud/cloud.py");
        let mut process = Command::new(python)
            .arg(script)
            .arg("--without-machines")
            .arg("--state")
            .arg(folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut url = String::new();
        let mut stdout = BufReader::new(process.stdout.take().unwrap());
        stdout.read_line(&mut url).unwrap();
        assert!(url.starts_with("http"), "the test EC2 did not start");
        Self {
            url: url.trim().to_owned(),
            _process: Some(process),
            _folder: folder,
        }
    }

    fn shared() -> &'static Self {
        static SERVER: OnceLock<Server> = OnceLock::new();
        SERVER.get_or_init(Self::found_or_started)
    }

    /// Returns one that no other program asks, nor is kept waiting by this one.
    fn own() -> &'static Self {
        static SERVER: OnceLock<Server> = OnceLock::new();
        SERVER.get_or_init(Self::start)
    }
}

/// An account that nobody else uses, and a home for what its builds leave on this host.
pub(super) struct Account {
    pub(super) url: String,
    /// Twelve digits.
    pub(super) number: String,
    /// How others than the program reach it, once one does.
    pub(super) settings: OnceCell<SdkConfig>,
    home: PathBuf,
    /// Removed with this.
    folder: Option<tempfile::TempDir>,
}

impl Account {
    /// Opens one.
    pub(super) async fn open() -> Self {
        Self::open_at(Server::shared, &DELAYS).await
    }

    /// Opens one for a case of a sweep, in which these regions are enabled: at a server of its own, which has as
    /// good as no delays, since the clock leaps over whatever is waited for.
    pub(super) async fn open_for_case(regions: &[&str]) -> Self {
        let delays = DELAYS.map(|(what, _)| match what {
            "image" | "interface" => (what, 0.002),
            _ => (what, 0.0),
        });
        let account = Self::open_at(Server::own, &delays).await;
        let enabled = regions
            .iter()
            .map(|region| (*region, "opt-in-not-required"));
        let enabled: BTreeMap<&str, &str> = enabled.collect();
        account.control("ways", json!({"regions": enabled})).await;
        account
    }

    async fn open_at(server: fn() -> &'static Server, delays: &[(&str, f64)]) -> Self {
        let url = tokio::task::spawn_blocking(move || server().url.clone());
        let mut random = [0; 8];
        getrandom::fill(&mut random).unwrap();
        let number = format!("{:012}", u64::from_le_bytes(random) % 1_000_000_000_000);
        let folder = tempfile::tempdir().unwrap();
        let mut account = Self::known(url.await.unwrap(), number, folder.path().to_owned());
        account.folder = Some(folder);
        let delays: BTreeMap<&str, f64> = delays.iter().copied().collect();
        account.control("delays", json!(delays)).await;
        account
    }

    /// Returns one that is open.
    pub(super) fn known(url: String, number: String, home: PathBuf) -> Self {
        Self {
            url,
            number,
            settings: OnceCell::new(),
            home,
            folder: None,
        }
    }

    /// Returns the key that says whose calls they are.
    pub(super) fn key_id(&self) -> String {
        format!("AKIAACCT{}", self.number)
    }

    pub(super) fn home(&self) -> &Path {
        &self.home
    }

    /// Returns where the journals of its runs are.
    pub(super) fn state_folder(&self) -> PathBuf {
        self.home().join("state/amibake")
    }

    /// Returns the runs that have a journal.
    pub(super) fn journals(&self) -> Vec<String> {
        let files = std::fs::read_dir(self.state_folder()).unwrap();
        let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
        names
            .filter_map(|name| name.strip_suffix(".journal").map(str::to_owned))
            .collect()
    }

    /// Tells the test EC2 something about this account, or asks.
    pub(super) async fn control(&self, what: &str, value: Json) -> Json {
        let path = format!("/_cloud/{what}?account={}", self.number);
        let (status, answer) = post(&self.url, &path, &value.to_string()).await;
        assert!(status.contains(" 200 "), "{what}: {status}: {answer}");
        serde_json::from_str(&answer).unwrap()
    }

    /// Returns what the account holds. Instances that go are left out, with what goes with them.
    pub(super) async fn inventory(&self) -> Inventory {
        serde_json::from_value(self.control("inventory", json!({})).await).unwrap()
    }

    /// Returns how an image is described.
    pub(super) async fn description(&self, image: &str) -> String {
        let asked = client(self).await.describe_images().image_ids(image);
        let images = asked.send().await.unwrap().images.unwrap_or_default();
        images[0].description().unwrap_or_default().to_owned()
    }

    /// Returns an image's UEFI variables.
    pub(super) async fn uefi_data(&self, image: &str) -> Option<String> {
        let asking = client(self).await.describe_image_attribute();
        let asking = asking.image_id(image).attribute("uefiData".into());
        asking.send().await.unwrap().uefi_data?.value
    }

    /// Makes something happen to a later call.
    pub(super) async fn fault(&self, action: &str, kind: &str, more: Json) {
        let mut fault = json!({"action": action, "kind": kind});
        let fields = fault.as_object_mut().unwrap();
        fields.extend(more.as_object().unwrap().clone());
        self.control("fault", fault).await;
    }

    /// Makes an instance profile.
    pub(super) async fn make_profile(&self, name: &str) {
        self.control("profile", json!({"name": name})).await;
    }

    /// Returns a subnet of the default VPC.
    pub(super) async fn a_subnet(&self) -> String {
        let asked = client(self).await.describe_subnets().send().await.unwrap();
        asked.subnets()[0].subnet_id().unwrap().to_owned()
    }

    /// Has EC2 refuse an action from its `nth` next call on.
    pub(super) async fn deny(&self, action: &str, nth: u32) {
        let more = json!({"nth": nth, "times": 999});
        self.fault(action, "denied", more).await;
    }

    /// Insists that every fault was met.
    pub(super) async fn assert_all_hit(&self) {
        let faults = self.control("faults", json!({})).await;
        for fault in faults.as_array().unwrap() {
            assert!(fault["hit"].as_u64().unwrap() > 0, "not reached: {fault}");
        }
    }

    /// Returns whether a fault holds a call.
    pub(super) async fn holds(&self) -> bool {
        let faults = self.control("faults", json!({})).await;
        let faults = faults.as_array().unwrap();
        faults.iter().any(|fault| fault["waiting"] == true)
    }

    /// Returns whether a fault holds a call, or does within a second of the wall.
    pub(super) async fn awaits_held(&self) -> bool {
        let within = json!({"seconds": 1});
        self.control("await-held", within).await == true
    }

    /// Waits until a fault holds a call.
    pub(super) async fn wait_until_held(&self) {
        self.wait_until("a held call", async || self.holds().await)
            .await;
    }

    /// Lets the held calls go, and waits until EC2 is through with them.
    pub(super) async fn release(&self) {
        self.control("release", json!({})).await;
        self.wait_until("the held calls' end", async || {
            let faults = self.control("faults", json!({})).await;
            faults
                .as_array()
                .unwrap()
                .iter()
                .all(|f| f["waiting"] == false)
        })
        .await;
    }

    /// Waits for a state of the account, at the wall's pace.
    pub(super) async fn wait_until(&self, what: &str, is_true: impl AsyncFn() -> bool) {
        let since = Instant::now();
        while !is_true().await {
            assert!(since.elapsed() < HANGS, "waited for {what}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Returns the calls made so far, in order.
    pub(super) async fn calls(&self) -> Vec<Call> {
        serde_json::from_value(self.control("calls", json!({})).await).unwrap()
    }

    /// Returns the names of the calls made so far, in order.
    pub(super) async fn actions(&self) -> Vec<String> {
        self.calls()
            .await
            .into_iter()
            .map(|call| call.action)
            .collect()
    }
}

/// A call as EC2 has it.
#[derive(Debug, Clone, serde::Deserialize)]
pub(super) struct Call {
    pub(super) action: String,
    /// Seconds of the wall's clock.
    pub(super) time: f64,
    #[serde(deserialize_with = "texts")]
    pub(super) params: BTreeMap<String, String>,
    pub(super) region: String,
    /// "ok", or an error's code; nothing where there was no answer.
    #[serde(default)]
    pub(super) answer: String,
}

impl Call {
    /// Returns whether it is such a one.
    pub(super) fn is(&self, asked: &Asked) -> bool {
        let is_having = || self.params.keys().any(|key| key.starts_with(asked.having));
        let is_there = asked.region.is_none_or(|region| region == self.region);
        self.action == asked.action && is_there && (asked.having.is_empty() || is_having())
    }
}

/// A call of SSM's has more than texts.
fn texts<'de, D: serde::Deserializer<'de>>(from: D) -> Result<BTreeMap<String, String>, D::Error> {
    use serde::Deserialize as _;

    let text = |value: Json| match value {
        Json::String(text) => text,
        other => other.to_string(),
    };
    let values = BTreeMap::<String, Json>::deserialize(from)?;
    Ok(values.into_iter().map(|(k, v)| (k, text(v))).collect())
}

/// Insists that there is one image more than `before`, with its snapshot, and nothing else.
pub(super) fn assert_one_image_more(before: &Inventory, after: &Inventory) {
    for (kind, had) in before {
        let more = usize::from(kind == "images" || kind == "snapshots");
        assert_eq!(after[kind].len(), had.len() + more, "{kind}: {after:?}");
    }
}

/// Returns the status line and the body that answer a POST.
async fn post(url: &str, path: &str, body: &str) -> (String, String) {
    let address = url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).await.unwrap();
    let length = body.len();
    let request = format!(
        "POST {path} HTTP/1.0\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
    let status = head.lines().next().unwrap_or_default();
    (status.to_owned(), body.to_owned())
}
