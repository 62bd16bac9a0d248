//! HTTP and HTTPS for `get_url`, `uri` and `unarchive`: one request, redirects followed as asked.
//!
//! TLS is rustls with ring; roots are the target's own (`/etc/ssl/certs`, `SSL_CERT_FILE`,
//! `ca_path`), proxies come from the task's environment. Failures read as Python's do.

mod address;
mod as_sent;
mod login;

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ureq::http::{Request, Response, Uri};
use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig, parse_pem};
use ureq::unversioned::transport::{Connector, DefaultConnector};
use ureq::{Agent, Body, Proxy};

use address::{bypasses, credentials_in, host_of, netrc_entry, same_origin};
pub(crate) use address::{join, masked};
use as_sent::AsSent;
use login::Login;

use crate::args::Args;
use crate::environment::variable;
use crate::resolve::Names;
use crate::source::Source;

/// A request as the arguments of `uri` and `get_url` describe it.
pub(crate) struct Call {
    pub(crate) url: String,
    pub(crate) method: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Payload,
    pub(crate) timeout: Duration,
    pub(crate) redirects: Redirects,
    pub(crate) use_proxy: bool,
    pub(crate) validate_certs: bool,
    pub(crate) ca_path: Option<PathBuf>,
    pub(crate) client_cert: Option<PathBuf>,
    pub(crate) client_key: Option<PathBuf>,
    pub(crate) unredirected: Vec<String>,
    /// Whether what is packed is unpacked.
    pub(crate) decompress: bool,
    /// Who asks, if the server wants to know.
    login: Option<Login>,
    /// The task's environment.
    pub(crate) environment: Vec<(String, String)>,
}

/// What is sent.
pub(crate) enum Payload {
    Nothing,
    Bytes(Vec<u8>),
    File(PathBuf),
    /// Supplied by the controller.
    Sent(Source),
}

/// Which redirects are followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Redirects {
    None,
    /// Of GET and HEAD.
    Safe,
    All,
}

/// So often a server may ask anew who asks.
const MOST_LOGINS: usize = 5;

/// What came back.
pub(crate) struct Reply {
    pub(crate) status: u16,
    /// `OK (1234 bytes)`, or `HTTP Error 404: Not Found`.
    pub(crate) msg: String,
    /// Where the last redirect led.
    pub(crate) url: String,
    /// By lower-case name; several of one name are joined.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) cookies: Vec<(String, String)>,
    pub(crate) body: Option<Body>,
    /// Whether what is packed is unpacked.
    pub(crate) decompress: bool,
}

/// Why there is no reply.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HttpError {
    #[error("Request failed: <urlopen error unknown url type: {scheme}>")]
    UnknownScheme { scheme: String },
    /// The only one here that ends `uri` without a status.
    #[error("unknown url type: '{url}'")]
    NoScheme { url: String },
    #[error("could not read the certificates at {}", path.display())]
    Certificates { path: PathBuf, source: io::Error },
    #[error("could not read {}", path.display())]
    Payload { path: PathBuf, source: io::Error },
    #[error("Request failed: <urlopen error {reason}>")]
    Failed { reason: String },
    #[error("Connection failure: {reason}")]
    TimedOut { reason: String },
    #[error("the address {url} cannot be used")]
    BadUrl { url: String },
    #[error("Unsupported digest authentication algorithm '{algorithm}'")]
    UnknownDigest { algorithm: String },
    #[error("the redirect that would lead to an infinite loop")]
    Loop,
}

impl HttpError {
    /// Returns the whole chain on one line, for a result's `msg`.
    pub(crate) fn told(&self) -> String {
        let mut told = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            told = format!("{told}: {error}");
            cause = error.source();
        }
        told
    }
}

impl Call {
    /// Reads the arguments that `uri` and `get_url` share.
    pub(crate) fn read(args: &Args, environment: &[(String, String)]) -> Self {
        let mut headers: Vec<(String, String)> = Vec::new();
        for (name, value) in args
            .raw("headers")
            .and_then(|h| h.as_object())
            .into_iter()
            .flatten()
        {
            headers.push((name.clone(), plain(value)));
        }
        let path = |name: &str| args.str(name).map(PathBuf::from);
        let mut call = Self {
            url: args.str("url").unwrap_or_default().to_owned(),
            method: "GET".to_owned(),
            headers,
            body: Payload::Nothing,
            timeout: Duration::from_secs(
                args.int("timeout")
                    .and_then(|t| u64::try_from(t).ok())
                    .unwrap_or(10),
            ),
            redirects: Redirects::Safe,
            use_proxy: args.opt_bool("use_proxy").unwrap_or(true),
            validate_certs: args.opt_bool("validate_certs").unwrap_or(true),
            ca_path: path("ca_path"),
            client_cert: path("client_cert"),
            client_key: path("client_key"),
            unredirected: args
                .list("unredirected_headers")
                .iter()
                .map(|h| h.to_lowercase())
                .collect(),
            decompress: args.opt_bool("decompress").unwrap_or(true),
            login: None,
            environment: environment.to_vec(),
        };
        let agent = args.str("http_agent").unwrap_or("ansible-httpget");
        call.default_header("User-Agent", agent);
        call.authenticate(args);
        call
    }

    /// Returns a GET of `url` by a module with few parameters of its own: `validate_certs` counts.
    pub(crate) fn get(url: &str, args: &Args, environment: &[(String, String)]) -> Self {
        let mut call = Self::read(args, environment);
        url.clone_into(&mut call.url);
        call.authenticate(args);
        call
    }

    /// Adds a header unless the author gave it.
    pub(crate) fn default_header(&mut self, name: &str, value: &str) {
        if !self
            .headers
            .iter()
            .any(|(known, _)| known.eq_ignore_ascii_case(name))
        {
            self.headers.push((name.to_owned(), value.to_owned()));
        }
    }

    /// Takes the login from the parameters or the URL, for who asks for it; that of `~/.netrc`, and where
    /// `force_basic_auth` says so, goes with the first request.
    fn authenticate(&mut self, args: &Args) {
        let in_url = credentials_in(&self.url);
        if let Some((bare, _, _)) = &in_url {
            self.url.clone_from(bare);
        }
        let given = args.str("url_username").filter(|user| !user.is_empty());
        let given = given.map(|user| {
            let password = args.str("url_password").unwrap_or_default();
            (user.to_owned(), password.to_owned())
        });
        let given = given.or_else(|| in_url.map(|(_, user, password)| (user, password)));
        let at_once = given.is_none() || args.opt_bool("force_basic_auth") == Some(true);
        match given.or_else(|| self.netrc(args)) {
            Some((user, password)) if at_once => {
                self.default_header("Authorization", &login::basic(&user, &password));
            }
            Some((user, password)) => self.login = Some(Login { user, password }),
            None => {}
        }
    }

    fn netrc(&self, args: &Args) -> Option<(String, String)> {
        let wanted = args.opt_bool("use_netrc").unwrap_or(true);
        let host: Uri = self.url.parse().ok().filter(|_| wanted)?;
        let home = variable("HOME", &self.environment)?;
        let file = variable("NETRC", &self.environment).unwrap_or(format!("{home}/.netrc"));
        netrc_entry(&std::fs::read_to_string(file).ok()?, host.host()?)
    }

    /// Sends it, follows redirects, and returns the last answer whatever its status.
    pub(crate) fn send(&self) -> Result<Reply, HttpError> {
        let agent = self.agent()?;
        let mut hop = Hop {
            url: self.url.clone(),
            method: self.method.clone(),
            with_body: true,
            first: true,
            at_home: true,
        };
        let mut cookies = Vec::new();
        for _ in 0..=10 {
            let response = self.ask(&agent, &hop)?;
            bake(&mut cookies, &response);
            let status = response.status().as_u16();
            let Some(next) = self.redirect(status, &hop.method, &hop.url, &response) else {
                return Ok(reply(hop.url, response, cookies, self.decompress));
            };
            hop = hop.on(status, next);
        }
        Err(HttpError::Loop)
    }

    fn redirect(
        &self,
        status: u16,
        method: &str,
        url: &str,
        response: &Response<Body>,
    ) -> Option<String> {
        let safe = matches!(method, "GET" | "HEAD");
        let follow = match self.redirects {
            Redirects::None => false,
            Redirects::Safe => safe,
            Redirects::All => true,
        };
        let location = response.headers().get("location")?.to_str().ok()?;
        let moved = matches!(status, 301 | 302 | 303 | 307 | 308);
        (moved && follow).then(|| join(url, location))
    }

    /// Sends one request, and once more to a server that wants to know who asks.
    fn ask(&self, agent: &Agent, hop: &Hop) -> Result<Response<Body>, HttpError> {
        let mut response = self.request(agent, hop, None)?;
        let Some(login) = self.login.as_ref().filter(|_| hop.at_home) else {
            return Ok(response);
        };
        let mut refused = Vec::new();
        for _ in 0..MOST_LOGINS {
            let asked = login::challenges(&response);
            // Who asks the same once more does not believe it.
            if asked.is_empty() || asked == refused {
                break;
            }
            let Some(said) = login.answer(&asked, &hop.method, &hop.url)? else {
                break;
            };
            response = self.request(agent, hop, Some(&said))?;
            refused = asked;
        }
        Ok(response)
    }

    fn request(
        &self,
        agent: &Agent,
        hop: &Hop,
        authorization: Option<&str>,
    ) -> Result<Response<Body>, HttpError> {
        let (url, method) = (hop.url.as_str(), hop.method.as_str());
        let mut request = Request::builder().method(method).uri(url);
        for (name, value) in &self.headers {
            let lower = name.to_lowercase();
            let kept = hop.first
                || (!self.unredirected.contains(&lower) && (hop.at_home || travels(&lower)));
            let of_body = matches!(
                lower.as_str(),
                "content-length" | "content-type" | "transfer-encoding"
            );
            let replaced = authorization.is_some() && lower == "authorization";
            if kept && !replaced && (hop.with_body || !of_body) {
                request = request.header(name, value);
            }
        }
        if let Some(said) = authorization {
            request = request.header("Authorization", said);
        }
        let bad = |_| HttpError::BadUrl {
            url: url.to_owned(),
        };
        let given = |wanted: &str| {
            let mut names = self.headers.iter().map(|(name, _)| name);
            names.any(|name| name.eq_ignore_ascii_case(wanted))
        };
        let has_body = hop.with_body && !matches!(self.body, Payload::Nothing);
        if has_body && !given("content-type") {
            // What urllib says of a body that nobody described.
            request = request.header("content-type", "application/x-www-form-urlencoded");
        }
        let answer = match &self.body {
            Payload::Bytes(bytes) if hop.with_body => {
                agent.run(request.body(&bytes[..]).map_err(bad)?)
            }
            Payload::File(path) if hop.with_body => {
                let file = std::fs::File::open(path).map_err(|source| HttpError::Payload {
                    path: path.clone(),
                    source,
                })?;
                agent.run(request.body(file).map_err(bad)?)
            }
            Payload::Sent(source) if hop.with_body => {
                let mut bytes = Vec::new();
                source
                    .write_to(&mut bytes)
                    .map_err(|source| HttpError::Payload {
                        path: PathBuf::from("src"),
                        source,
                    })?;
                agent.run(request.body(&bytes[..]).map_err(bad)?)
            }
            _ => agent.run(request.body(()).map_err(bad)?),
        };
        answer.map_err(|e| failure(&e, url))
    }

    fn agent(&self) -> Result<Agent, HttpError> {
        let scheme = self
            .url
            .split_once("://")
            .map(|(scheme, _)| scheme.to_lowercase());
        match scheme.as_deref() {
            Some("http" | "https") => {}
            Some(other) => {
                let scheme = other.to_owned();
                return Err(HttpError::UnknownScheme { scheme });
            }
            None => {
                let url = self.url.clone();
                return Err(HttpError::NoScheme { url });
            }
        }
        let tls = match scheme.as_deref() {
            Some("https") => self.tls()?,
            // A redirect to https needs them too, but is no reason to read them always.
            _ => self.tls().unwrap_or_default(),
        };
        let timeout = crate::deadline::at_most(self.timeout).max(Duration::from_millis(1));
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .allow_non_standard_methods(true)
            // As urllib: nothing is said of what is accepted.
            .accept("")
            .accept_encoding("identity")
            .timeout_connect(Some(timeout))
            .timeout_recv_response(Some(timeout))
            .timeout_per_read(Some(timeout))
            .proxy(self.proxy())
            .tls_config(tls)
            .build();
        Ok(Agent::with_parts(
            config,
            DefaultConnector::new().chain(AsSent),
            Names::default(),
        ))
    }

    fn proxy(&self) -> Option<Proxy> {
        if !self.use_proxy {
            return None;
        }
        let secure = self.url.to_lowercase().starts_with("https:");
        let name = if secure { "https_proxy" } else { "http_proxy" };
        let value = |name: &str| {
            let upper = name.to_uppercase();
            variable(name, &self.environment)
                .or_else(|| variable(&upper, &self.environment))
                .filter(|value| !value.is_empty())
        };
        let host = host_of(&self.url)?;
        let excluded = value("no_proxy").is_some_and(|list| bypasses(&list, &host));
        let proxy = value(name)
            .or_else(|| value("all_proxy"))
            .filter(|_| !excluded)?;
        let proxy = if proxy.contains("://") {
            proxy
        } else {
            format!("http://{proxy}")
        };
        Proxy::new(&proxy).ok()
    }

    fn tls(&self) -> Result<TlsConfig, HttpError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut tls = TlsConfig::builder()
            .unversioned_rustls_crypto_provider(provider)
            .disable_verification(!self.validate_certs);
        if self.validate_certs {
            let roots = self.roots()?;
            tls = tls.root_certs(RootCerts::Specific(Arc::new(roots)));
        }
        if let Some(path) = &self.client_cert {
            tls = tls.client_cert(Some(self.client(path)?));
        }
        Ok(tls.build())
    }

    /// The certificates to trust: of `ca_path` alone if it is given, else of the system.
    fn roots(&self) -> Result<Vec<Certificate<'static>>, HttpError> {
        if let Some(path) = &self.ca_path {
            return certificates(path).map_err(|source| HttpError::Certificates {
                path: path.clone(),
                source,
            });
        }
        let named = variable("SSL_CERT_FILE", &self.environment).map(PathBuf::from);
        let usual = [
            "/etc/ssl/certs/ca-certificates.crt",
            "/etc/pki/tls/certs/ca-bundle.crt",
            "/etc/ssl/ca-bundle.pem",
            "/etc/ssl/cert.pem",
            "/etc/ssl/certs",
        ];
        let mut files = named.into_iter().chain(usual.map(PathBuf::from));
        let found = files.find_map(|path| certificates(&path).ok().filter(|c| !c.is_empty()));
        Ok(found.unwrap_or_default())
    }

    fn client(&self, path: &Path) -> Result<ClientCert, HttpError> {
        let failed = |path: &Path, source| HttpError::Certificates {
            path: path.to_owned(),
            source,
        };
        let chain = certificates(path).map_err(|e| failed(path, e))?;
        let key_path = self.client_key.as_deref().unwrap_or(path);
        let pem = std::fs::read(key_path).map_err(|e| failed(key_path, e))?;
        let key = PrivateKey::from_pem(&pem)
            .map_err(|_| failed(key_path, io::ErrorKind::InvalidData.into()))?;
        Ok(ClientCert::new_with_certs(&chain, key))
    }
}

/// Returns a scalar of `headers` as text.
fn plain(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Bool(true) => "True".to_owned(),
        serde_json::Value::Bool(false) => "False".to_owned(),
        other => other.to_string(),
    }
}

/// Reads all certificates of a PEM file, or of the files in a directory.
fn certificates(path: &Path) -> io::Result<Vec<Certificate<'static>>> {
    if path.is_dir() {
        let mut all = Vec::new();
        for entry in std::fs::read_dir(path)? {
            let file = entry?.path();
            if file.is_file() {
                all.extend(certificates(&file).unwrap_or_default());
            }
        }
        return Ok(all);
    }
    let pem = std::fs::read(path)?;
    let items = parse_pem(&pem).filter_map(|item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(certificate),
        _ => None,
    });
    Ok(items.collect())
}

/// One request of a chain of redirects.
struct Hop {
    url: String,
    method: String,
    /// Whether the body and what describes it go along.
    with_body: bool,
    first: bool,
    /// Whether no redirect has led to another origin yet.
    at_home: bool,
}

/// Whether a header of a task goes along to another origin. Of the others anyone may be a
/// credential: `X-Api-Key`, `Cookie`. What describes a body goes where the body goes.
fn travels(name: &str) -> bool {
    let harmless = ["user-agent", "range", "content-type", "content-length"];
    name.starts_with("accept") || harmless.contains(&name)
}

impl Hop {
    /// Returns what is asked after a redirect: 307 and 308 repeat the request, others drop its body, and
    /// most make it a GET.
    fn on(self, status: u16, url: String) -> Self {
        let repeated = matches!(status, 307 | 308);
        let read = match status {
            302 | 303 => self.method != "HEAD",
            301 => self.method == "POST",
            _ => false,
        };
        let method = if read { "GET".to_owned() } else { self.method };
        Self {
            at_home: self.at_home && same_origin(&self.url, &url),
            url,
            method,
            with_body: self.with_body && repeated,
            first: false,
        }
    }
}

/// Takes the cookies of an answer; of one name the last counts.
fn bake(cookies: &mut Vec<(String, String)>, response: &Response<Body>) {
    for value in response.headers().get_all("set-cookie") {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        let pair = value
            .split(';')
            .next()
            .and_then(|pair| pair.split_once('='));
        if let Some((name, value)) = pair {
            let name = name.trim().to_owned();
            cookies.retain(|(known, _)| *known != name);
            cookies.push((name, value.trim().to_owned()));
        }
    }
}

fn reply(
    url: String,
    response: Response<Body>,
    cookies: Vec<(String, String)>,
    decompress: bool,
) -> Reply {
    let status = response.status();
    let mut headers = BTreeMap::new();
    for (name, value) in response.headers() {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        headers
            .entry(as_sent::header_name(name.as_str()).to_owned())
            .and_modify(|all: &mut String| {
                all.push_str(", ");
                all.push_str(&value);
            })
            .or_insert(value);
    }
    let reason = status.canonical_reason().unwrap_or_default();
    let msg = if status.is_success() {
        let length = headers
            .get("content-length")
            .map_or("unknown", String::as_str);
        format!("OK ({length} bytes)")
    } else {
        format!("HTTP Error {}: {reason}", status.as_u16())
    };
    Reply {
        status: status.as_u16(),
        msg,
        url,
        headers,
        cookies,
        body: Some(response.into_body()),
        decompress,
    }
}

impl Reply {
    /// Whether it is what urllib returns; every other status is an error to it.
    pub(crate) fn success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Returns the body as a reader without a limit of size. What comes with an error is left as it is.
    pub(crate) fn reader(&mut self) -> Box<dyn Read> {
        let Some(body) = self.body.take() else {
            return Box::new(io::empty());
        };
        let body = Box::new(body.into_with_config().limit(u64::MAX).reader());
        match self.headers.get("content-encoding") {
            Some(encoding) if self.decompress && self.success() => {
                as_sent::unpacked(encoding, body)
            }
            _ => body,
        }
    }
}

/// Says it as Python's urllib does, where users match on it.
fn failure(error: &ureq::Error, url: &str) -> HttpError {
    let reason = match error {
        ureq::Error::Timeout(ureq::Timeout::Connect | ureq::Timeout::Resolve) => {
            "timed out".to_owned()
        }
        ureq::Error::Timeout(_) => {
            let secure = url.to_lowercase().starts_with("https:");
            let reason = match secure {
                true => "The read operation timed out",
                false => "timed out",
            };
            return HttpError::TimedOut {
                reason: reason.to_owned(),
            };
        }
        ureq::Error::HostNotFound => "[Errno -2] Name or service not known".to_owned(),
        ureq::Error::Io(e) => match e.raw_os_error() {
            Some(code) => format!(
                "[Errno {code}] {}",
                nix::errno::Errno::from_raw(code).desc()
            ),
            None => match e.get_ref().and_then(|e| e.downcast_ref()) {
                Some(e) => untrusted(e, url),
                None => looked_up(&e.to_string()),
            },
        },
        ureq::Error::Rustls(e) => untrusted(e, url),
        ureq::Error::ConnectionFailed => "[Errno 111] Connection refused".to_owned(),
        other => other.to_string(),
    };
    HttpError::Failed { reason }
}

/// Says as OpenSSL does why a server is not believed.
fn untrusted(error: &rustls::Error, url: &str) -> String {
    use rustls::CertificateError as Wrong;
    let rustls::Error::InvalidCertificate(wrong) = error else {
        return error.to_string();
    };
    let other = |host: String| match host.parse::<std::net::IpAddr>() {
        Ok(_) => format!("IP address mismatch, certificate is not valid for '{host}'."),
        Err(_) => format!("Hostname mismatch, certificate is not valid for '{host}'."),
    };
    let reason = match wrong {
        Wrong::NotValidForName => other(host_of(url).unwrap_or_default()),
        Wrong::NotValidForNameContext { expected, .. } => other(expected.to_str().into_owned()),
        Wrong::UnknownIssuer => "unable to get local issuer certificate".to_owned(),
        Wrong::Expired | Wrong::ExpiredContext { .. } => "certificate has expired".to_owned(),
        Wrong::NotValidYet | Wrong::NotValidYetContext { .. } => {
            "certificate is not yet valid".to_owned()
        }
        other => other.to_string(),
    };
    format!("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: {reason}")
}

/// Says as glibc does why a name has no address; musl's words are others.
fn looked_up(error: &str) -> String {
    let said = |end: &str| error.contains("lookup address") && error.ends_with(end);
    match () {
        () if said("Name does not resolve") => "[Errno -2] Name or service not known".to_owned(),
        () if said("Try again") => "[Errno -3] Temporary failure in name resolution".to_owned(),
        () => error.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_is_not_believed_is_told_as_openssl_does() {
        use rustls::{CertificateError as Wrong, Error};
        let told = |wrong: Wrong, url| untrusted(&Error::InvalidCertificate(wrong), url);
        let failed = "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: ";
        assert_eq!(
            told(Wrong::NotValidForName, "https://a.example/x"),
            format!("{failed}Hostname mismatch, certificate is not valid for 'a.example'.")
        );
        assert_eq!(
            told(Wrong::NotValidForName, "https://192.0.2.1/x"),
            format!("{failed}IP address mismatch, certificate is not valid for '192.0.2.1'.")
        );
        assert_eq!(
            told(Wrong::UnknownIssuer, "https://a.example/x"),
            format!("{failed}unable to get local issuer certificate")
        );
    }

    #[test]
    fn a_redirect_repeats_the_request_or_reads() {
        let after = |method: &str, status: u16| {
            let hop = Hop {
                url: "http://h/a".to_owned(),
                method: method.to_owned(),
                with_body: true,
                first: true,
                at_home: true,
            };
            let hop = hop.on(status, "http://h/b".to_owned());
            (hop.method, hop.with_body)
        };
        assert_eq!(after("POST", 307), ("POST".to_owned(), true));
        assert_eq!(after("POST", 301), ("GET".to_owned(), false));
        assert_eq!(after("PUT", 301), ("PUT".to_owned(), false));
        assert_eq!(after("PUT", 302), ("GET".to_owned(), false));
        assert_eq!(after("HEAD", 303), ("HEAD".to_owned(), false));
    }
}
