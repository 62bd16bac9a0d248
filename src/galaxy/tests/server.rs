//! A Galaxy server on loopback: API v3 for collections, v1 for roles, in pages of two.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::{Value as Json, json};
use sha2::{Digest as _, Sha256};

use super::world::collection_archive;

/// A request that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) path: String,
    pub(super) authorization: Option<String>,
}

#[derive(Debug, Clone)]
enum Answer {
    Bytes(Vec<u8>),
    Redirect(String),
    /// A status for so many times, then the answer after it.
    Fails(u16, usize, Box<Answer>),
}

#[derive(Default)]
struct State {
    answers: BTreeMap<String, Answer>,
    asked: Vec<Asked>,
    /// By collection: version, needs, SHA-256.
    collections: BTreeMap<String, Vec<(String, Json, String)>>,
    /// By role: its versions.
    roles: BTreeMap<String, Vec<String>>,
    /// What everybody has to say who asks anything.
    wanted: Option<String>,
}

pub(super) struct Server {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Server {
    pub(super) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state: Arc<Mutex<State>> = Arc::default();
        let shared = Arc::clone(&state);
        // It ends with the tests' process.
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&shared);
                thread::spawn(move || serve(&stream, &state, address));
            }
        });
        Self { address, state }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns the requests whose paths begin so.
    pub(super) fn asked(&self, path: &str) -> Vec<Asked> {
        let state = self.state.lock().unwrap();
        let asked = state
            .asked
            .iter()
            .filter(|asked| asked.path.starts_with(path));
        asked.cloned().collect()
    }

    /// Answers nobody without this.
    pub(super) fn wants(&self, authorization: &str) {
        self.state.lock().unwrap().wanted = Some(authorization.to_owned());
    }

    pub(super) fn file(&self, path: &str, bytes: &[u8]) {
        self.set(path, Answer::Bytes(bytes.to_vec()));
    }

    pub(super) fn redirect(&self, path: &str, to: &str) {
        self.set(path, Answer::Redirect(to.to_owned()));
    }

    /// Has a path answer with a status before it answers as it did.
    pub(super) fn fail(&self, path: &str, status: u16, times: usize) {
        let before = self.state.lock().unwrap().answers[path].clone();
        self.set(path, Answer::Fails(status, times, Box::new(before)));
    }

    fn set(&self, path: &str, answer: Answer) {
        let mut state = self.state.lock().unwrap();
        state.answers.insert(path.to_owned(), answer);
    }

    pub(super) fn collection(&self, name: &str, version: &str, needs: &[(&str, &str)], word: &str) {
        let bytes = collection_archive(name, version, needs, word);
        self.collection_of(name, version, needs, &bytes);
    }

    pub(super) fn collection_of(
        &self,
        name: &str,
        version: &str,
        needs: &[(&str, &str)],
        bytes: &[u8],
    ) {
        let needs: serde_json::Map<String, Json> = needs
            .iter()
            .map(|(n, r)| ((*n).to_owned(), json!(r)))
            .collect();
        let sha256 = hex::encode(Sha256::digest(bytes));
        self.file(
            &format!("/download/{}-{version}.tar.gz", name.replace('.', "-")),
            bytes,
        );
        let mut state = self.state.lock().unwrap();
        let versions = state.collections.entry(name.to_owned()).or_default();
        versions.retain(|(known, ..)| known != version);
        versions.push((version.to_owned(), Json::Object(needs), sha256));
    }

    pub(super) fn role(&self, name: &str, version: &str, bytes: &[u8]) {
        self.file(&format!("/roles/{name}/{version}.tar.gz"), bytes);
        let mut state = self.state.lock().unwrap();
        let versions = state.roles.entry(name.to_owned()).or_default();
        versions.push(version.to_owned());
    }
}

fn serve(stream: &TcpStream, state: &Mutex<State>, address: SocketAddr) {
    let mut reader = BufReader::new(stream);
    loop {
        let mut first = String::new();
        if reader.read_line(&mut first).unwrap_or(0) == 0 {
            return;
        }
        let path = first.split(' ').nth(1).unwrap_or("/").to_owned();
        let mut authorization = None;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 || line.trim().is_empty() {
                break;
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("authorization")
            {
                authorization = Some(value.trim().to_owned());
            }
        }
        let asked = Asked {
            path,
            authorization,
        };
        let (status, header, body) = answer(&asked, &mut state.lock().unwrap(), address);
        let head = format!(
            "HTTP/1.1 {status} X\r\ncontent-length: {}\r\n{header}\r\n",
            body.len()
        );
        let mut out = stream;
        if out
            .write_all(head.as_bytes())
            .and_then(|()| out.write_all(&body))
            .is_err()
        {
            return;
        }
    }
}

fn answer(asked: &Asked, state: &mut State, address: SocketAddr) -> (u16, String, Vec<u8>) {
    state.asked.push(asked.clone());
    let refuses = state.wanted.is_some() && state.wanted != asked.authorization;
    if refuses {
        return (401, String::new(), b"{}".to_vec());
    }
    if let Some(kept) = state.answers.get_mut(&asked.path) {
        let mut answer = kept.clone();
        if let Answer::Fails(status, times, after) = kept {
            if *times > 0 {
                *times -= 1;
                return (*status, String::new(), Vec::new());
            }
            answer = (**after).clone();
        }
        return match answer {
            Answer::Bytes(bytes) => (200, String::new(), bytes),
            Answer::Redirect(to) => (302, format!("location: {to}\r\n"), Vec::new()),
            Answer::Fails(status, ..) => (status, String::new(), Vec::new()),
        };
    }
    match api(&asked.path, state, address) {
        Some(json) => (
            200,
            "content-type: application/json\r\n".to_owned(),
            json.to_string().into_bytes(),
        ),
        None => (404, String::new(), b"{\"errors\": []}".to_vec()),
    }
}

/// As many as a page has.
const PAGE: usize = 2;

fn api(path: &str, state: &State, address: SocketAddr) -> Option<Json> {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let value = |key: &str| {
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs
            .find(|(name, _)| *name == key)
            .map(|(_, value)| value.to_owned())
    };
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    match parts[..] {
        ["api"] => Some(json!({"available_versions": {"v1": "v1/", "v3": "v3/"}})),
        ["api", "v3", "collections", namespace, name, "versions"] => {
            let all = state.collections.get(&format!("{namespace}.{name}"))?;
            let offset: usize = value("offset").and_then(|o| o.parse().ok()).unwrap_or(0);
            let page = all.iter().rev().skip(offset).take(PAGE);
            let page: Vec<Json> = page
                .map(|(version, ..)| json!({"version": version}))
                .collect();
            let next = (offset + PAGE < all.len())
                .then(|| format!("{path}?limit={PAGE}&offset={}", offset + PAGE));
            Some(json!({"meta": {"count": all.len()}, "links": {"next": next}, "data": page}))
        }
        [
            "api",
            "v3",
            "collections",
            namespace,
            name,
            "versions",
            version,
        ] => {
            let all = state.collections.get(&format!("{namespace}.{name}"))?;
            let (_, needs, sha256) = all.iter().find(|(known, ..)| known == version)?;
            Some(json!({
                "namespace": {"name": namespace}, "collection": {"name": name}, "name": name, "version": version,
                "href": path, "artifact": {"sha256": sha256, "filename": "x"}, "signatures": [],
                "download_url": format!("http://{address}/download/{namespace}-{name}-{version}.tar.gz"),
                "metadata": {"dependencies": needs},
            }))
        }
        ["api", "v3", "collections", namespace, name] => {
            state.collections.get(&format!("{namespace}.{name}"))?;
            Some(json!({
                "namespace": namespace, "name": name, "created_at": "2026-01-01T00:00:00Z",
                "updated_at": "2026-01-01T00:00:00Z",
            }))
        }
        ["api", "v1", "roles"] => {
            let name = format!("{}.{}", value("owner__username")?, value("name")?);
            let place = state.roles.keys().position(|known| *known == name);
            // From 1 on: Ansible takes 0 for none.
            let found =
                place.map(|place| json!({"id": place + 1, "github_user": "x", "github_repo": "y"}));
            let found: Vec<Json> = found.into_iter().collect();
            Some(json!({"count": found.len(), "results": found}))
        }
        ["api", "v1", "roles", id, "versions"] => {
            let id: usize = id.parse().ok()?;
            let (name, versions) = state.roles.iter().nth(id.checked_sub(1)?)?;
            let one = |version: &String| {
                json!({
                    "name": version,
                    "download_url": format!("http://{address}/roles/{name}/{version}.tar.gz"),
                })
            };
            let all: Vec<Json> = versions.iter().map(one).collect();
            Some(json!({"results": all, "next_link": null}))
        }
        _ => None,
    }
}
