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

use serde_json::{Value as Json, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::build::client;

/// What an account holds: ids by kind.
pub(super) type Inventory = BTreeMap<String, Vec<String>>;

pub(super) const REGION: &str = "eu-west-1";

/// What EC2 takes for what it does, in seconds of the wall: about a hundredth of the real times.
const DELAYS: [(&str, f64); 6] = [
    ("visible", 0.01),
    ("pending", 0.02),
    ("image", 0.05),
    ("snapshot", 0.01),
    ("interface", 0.02),
    ("off", 0.01),
];

struct Server {
    url: String,
    /// It ends when its standard input does: with this process.
    _process: Option<Child>,
    _folder: tempfile::TempDir,
}

impl Server {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        if let Ok(url) = std::env::var("AMIBAKE_TEST_ACCOUNTS") {
            return Self {
                url,
                _process: None,
                _folder: folder,
            };
        }
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
        SERVER.get_or_init(Self::start)
    }
}

/// An account that nobody else uses, and a home for what its builds leave on this host.
pub(super) struct Account {
    pub(super) url: String,
    /// Twelve digits.
    pub(super) number: String,
    home: PathBuf,
    /// Removed with this.
    folder: Option<tempfile::TempDir>,
}

impl Account {
    /// Opens one.
    pub(super) async fn open() -> Self {
        let url = tokio::task::spawn_blocking(|| Server::shared().url.clone());
        let mut random = [0; 8];
        getrandom::fill(&mut random).unwrap();
        let number = format!("{:012}", u64::from_le_bytes(random) % 1_000_000_000_000);
        let folder = tempfile::tempdir().unwrap();
        let mut account = Self::known(url.await.unwrap(), number, folder.path().to_owned());
        account.folder = Some(folder);
        account
            .control("delays", json!(BTreeMap::from(DELAYS)))
            .await;
        account
    }

    /// Returns one that is open.
    pub(super) fn known(url: String, number: String, home: PathBuf) -> Self {
        Self {
            url,
            number,
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
            assert!(
                since.elapsed() < Duration::from_secs(60),
                "waited for {what}"
            );
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
    pub(super) params: BTreeMap<String, String>,
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
