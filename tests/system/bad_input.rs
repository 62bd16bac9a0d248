//! What is wrong with a manifest or a playbook is found before anything is called: the whole corpus
//! of bad ones, through the real program, beside a server that counts who comes.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::{amibake, text};

/// Takes connections to an endpoint that AWS's SDK is sent to, and counts them.
struct Counter {
    url: String,
    taken: Arc<AtomicUsize>,
}

impl Counter {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let taken = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&taken);
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                counted.fetch_add(1, Ordering::SeqCst);
                drop(connection);
            }
        });
        Self { url, taken }
    }

    fn taken(&self) -> usize {
        self.taken.load(Ordering::SeqCst)
    }
}

#[test]
fn no_call_is_made_for_a_bad_manifest_or_playbook() {
    let counter = Counter::start();
    let folder = tempfile::tempdir().unwrap();
    let mut cases = manifests();
    cases.extend(playbooks(folder.path()));
    assert!(cases.len() >= 60, "only {} cases", cases.len());
    let wrong: Vec<String> = cases
        .iter()
        .filter_map(|(manifest, at)| complaint(&counter, folder.path(), manifest, at))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(counter.taken(), 0, "connections to EC2");
}

/// The counter counts: a good manifest is worth a call.
#[test]
fn a_good_manifest_does_call() {
    let counter = Counter::start();
    let folder = tempfile::tempdir().unwrap();
    let manifest = folder.path().join("good.yaml");
    std::fs::write(
        &manifest,
        "name: good\nsource: {ubuntu: \"24.04\"}\nprovision: []\n",
    )
    .unwrap();
    let output = build(&counter, folder.path(), &manifest);
    assert_ne!(output.status.code(), Some(2), "{}", text(&output.stderr));
    assert!(counter.taken() > 0);
}

/// Every bad manifest, and where its error is: `name.yaml:3:5`.
fn manifests() -> Vec<(PathBuf, String)> {
    files("src/manifest/bad", "yaml")
        .into_iter()
        .map(|path| {
            let at = place(&path, "/m/");
            (path, at)
        })
        .collect()
}

/// A manifest around every bad playbook, and where the error is.
fn playbooks(folder: &Path) -> Vec<(PathBuf, String)> {
    files("crates/playbook/tests/bad", "yml")
        .into_iter()
        .map(|path| {
            let manifest = folder
                .join(path.file_name().unwrap())
                .with_extension("yaml");
            let text = format!(
                "name: bad\nsource: {{ubuntu: \"24.04\"}}\nprovision:\n  - playbook: {}\n",
                path.display()
            );
            std::fs::write(&manifest, text).unwrap();
            (manifest, place(&path, ""))
        })
        .collect()
}

fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    let folder = Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap()).join(folder);
    let entries = std::fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().path());
    let mut files: Vec<PathBuf> = entries
        .filter(|path| path.extension().is_some_and(|e| e == extension))
        .collect();
    files.sort();
    files
}

/// Reads `FILE:LINE:COLUMN` from the golden error.
fn place(path: &Path, prefix: &str) -> String {
    let golden = std::fs::read_to_string(path.with_extension("err")).unwrap();
    let found = golden.split_whitespace().find_map(|word| {
        let word = word.strip_prefix(prefix)?.trim_end_matches(':');
        let mut parts = word.rsplitn(3, ':');
        let column: Option<u32> = parts.next()?.parse().ok();
        let line: Option<u32> = parts.next()?.parse().ok();
        (column.is_some() && line.is_some()).then(|| word.to_owned())
    });
    found.unwrap_or_else(|| panic!("{} names no place:\n{golden}", path.display()))
}

/// Returns what is wrong with how the program takes this manifest.
fn complaint(counter: &Counter, folder: &Path, manifest: &Path, at: &str) -> Option<String> {
    let output = build(counter, folder, manifest);
    let said = text(&output.stderr);
    let fine = output.status.code() == Some(2) && output.stdout.is_empty() && said.contains(at);
    (!fine).then(|| {
        format!(
            "{}: {:?}, wanted 2 and {at}, stdout {:?}:\n{said}",
            manifest.display(),
            output.status.code(),
            text(&output.stdout)
        )
    })
}

fn build(counter: &Counter, folder: &Path, manifest: &Path) -> std::process::Output {
    let mut command = amibake(folder, ["build"]);
    command
        .arg(manifest)
        .env("AWS_ENDPOINT_URL", &counter.url)
        .env("AWS_REGION", "eu-west-1")
        .env("AWS_ACCESS_KEY_ID", "AKIATEST")
        .env("AWS_SECRET_ACCESS_KEY", "test")
        .env("AWS_MAX_ATTEMPTS", "1")
        .output()
        .unwrap()
}
