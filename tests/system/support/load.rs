//! Somebody who asks a site all the time: a few clients on kept-alive connections, who trust one certificate and
//! write down what each request was answered.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// So many clients ask, each as soon as it has its answer and has rested.
const CLIENTS: usize = 4;
const REST: Duration = Duration::from_millis(20);

/// How long one answer may take: longer than the minute after which the load balancer answers by itself. Where a compiler
/// has the processors, a late answer is this machine's; how late the latest was, is told (`summary`).
const PATIENCE: Duration = Duration::from_secs(75);

/// What one request came to.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    /// Seconds since 1970.
    pub(crate) asked: f64,
    pub(crate) answered: f64,
    /// Status and body, or what went wrong.
    pub(crate) what: Result<(u16, String), String>,
}

impl Answer {
    /// Returns whether it is a good one of this version.
    pub(crate) fn is_of(&self, version: &str) -> bool {
        matches!(&self.what, Ok((200, body)) if body == version)
    }
}

/// Where a site is, and what its clients trust.
#[derive(Debug, Clone)]
pub(crate) struct Site {
    pub(crate) address: SocketAddr,
    /// `hello.example.com`
    pub(crate) domain: String,
    /// As PEM.
    pub(crate) certificate: String,
}

/// Clients at work.
pub(crate) struct Load {
    ends: Arc<AtomicBool>,
    answers: Arc<Mutex<Vec<Answer>>>,
    clients: Vec<JoinHandle<()>>,
}

/// Returns the wall's time as the test EC2 writes it down.
pub(crate) fn now() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap().as_secs_f64()
}

impl Load {
    /// Has clients ask for `path` until [`Self::end`].
    pub(crate) fn start(site: &Site, path: &'static str) -> Self {
        let ends = Arc::new(AtomicBool::new(false));
        let answers = Arc::new(Mutex::new(Vec::new()));
        let clients = (0..CLIENTS).map(|_| {
            let (site, ends, answers) = (site.clone(), Arc::clone(&ends), Arc::clone(&answers));
            std::thread::spawn(move || {
                let mut client = Client::new(&site);
                while !ends.load(Ordering::Relaxed) {
                    let answer = client.ask(path);
                    answers.lock().unwrap().push(answer);
                    std::thread::sleep(REST);
                }
            })
        });
        Self {
            clients: clients.collect(),
            ends,
            answers,
        }
    }

    /// Returns how many answers there are by now.
    pub(crate) fn count(&self) -> usize {
        self.answers.lock().unwrap().len()
    }

    /// Ends it, and returns all answers by the time when they were asked for.
    pub(crate) fn end(mut self) -> Vec<Answer> {
        self.ends.store(true, Ordering::Relaxed);
        for client in self.clients.drain(..) {
            client.join().unwrap();
        }
        let mut answers = std::mem::take(&mut *self.answers.lock().unwrap());
        answers.sort_by(|a, b| a.asked.total_cmp(&b.asked));
        answers
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
    }
}

/// Returns what is told of answers of which none is wrong.
pub(crate) fn summary(answers: &[Answer]) -> String {
    let took = |answer: &Answer| answer.answered - answer.asked;
    let slowest = answers.iter().map(took).fold(0.0, f64::max);
    let late = answers.iter().filter(|one| took(one) > 1.0).count();
    let requests = answers.len();
    format!(
        "{requests} requests, none failed, {late} took longer than a second, the slowest {slowest:.1} s"
    )
}

/// One client, and its connection while it has one.
pub(crate) struct Client {
    site: Site,
    config: Arc<ClientConfig>,
    connection: Option<BufReader<StreamOwned<ClientConnection, TcpStream>>>,
}

impl Client {
    pub(crate) fn new(site: &Site) -> Self {
        let mut trusted = RootCertStore::empty();
        let certificate = CertificateDer::from_pem_slice(site.certificate.as_bytes());
        trusted.add(certificate.unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider);
        let config = config.with_safe_default_protocol_versions().unwrap();
        let config = config.with_root_certificates(trusted).with_no_client_auth();
        Self {
            site: site.clone(),
            config: Arc::new(config),
            connection: None,
        }
    }

    /// Asks once. What goes wrong costs the connection.
    pub(crate) fn ask(&mut self, path: &str) -> Answer {
        let asked = now();
        let what = self.exchange(path).map_err(|error| error.to_string());
        if what.is_err() {
            self.connection = None;
        }
        Answer {
            asked,
            answered: now(),
            what,
        }
    }

    fn exchange(&mut self, path: &str) -> std::io::Result<(u16, String)> {
        if self.connection.is_none() {
            self.connection = Some(self.connect()?);
        }
        let connection = self.connection.as_mut().expect("there is one now");
        let domain = &self.site.domain;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {domain}\r\n\r\n");
        connection.get_mut().write_all(request.as_bytes())?;
        let mut line = String::new();
        connection.read_line(&mut line)?;
        let status = line.split(' ').nth(1).and_then(|code| code.parse().ok());
        let status = status.ok_or_else(|| std::io::Error::other(format!("no status: {line:?}")))?;
        let mut length = 0;
        loop {
            let mut header = String::new();
            connection.read_line(&mut header)?;
            if header.trim().is_empty() {
                break;
            }
            if let Some(value) = header.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().map_err(std::io::Error::other)?;
            }
        }
        let mut body = vec![0; length];
        std::io::Read::read_exact(connection, &mut body)?;
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    }

    fn connect(&self) -> std::io::Result<BufReader<StreamOwned<ClientConnection, TcpStream>>> {
        let stream = TcpStream::connect_timeout(&self.site.address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from(self.site.domain.clone()).map_err(std::io::Error::other)?;
        let session = ClientConnection::new(Arc::clone(&self.config), name);
        let session = session.map_err(std::io::Error::other)?;
        Ok(BufReader::new(StreamOwned::new(session, stream)))
    }
}
