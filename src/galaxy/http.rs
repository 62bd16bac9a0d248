//! GET over HTTP and HTTPS: redirects followed here, so that a login goes to its own host alone.

use std::io::{self, Read};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use ureq::http::Response;
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::{Agent, Body};
use url::{Origin, Url};

use super::cache::{Cache, CacheError};
use super::git::without_login;
use crate::secret::Secret;

/// As many redirects as a browser follows before it gives up.
const MOST_REDIRECTS: usize = 10;
/// As much as an answer of a server may have; an archive has [`MOST_ARCHIVE_BYTES`].
const MOST_ANSWER_BYTES: u64 = 32 << 20;
const MOST_ARCHIVE_BYTES: u64 = 512 << 20;
/// How often something is tried that may work a moment later.
const TRIES: u32 = 4;
/// How long a server may say nothing.
const SILENCE: Duration = Duration::from_secs(60);

/// Why something was not had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HttpError {
    #[error(transparent)]
    Cache(#[from] CacheError),
    #[error("{url} is not in the cache, and --offline asks nobody")]
    NotCached { url: String },
    #[error("{url} answered {status}")]
    Status { url: String, status: u16 },
    #[error("{url} could not be had: {why}")]
    Failed { url: String, why: String },
    #[error("{url} leads to {to}, which is {why}")]
    Redirect {
        url: String,
        to: String,
        why: &'static str,
    },
    #[error("{url} sends more than {} MiB", .limit >> 20)]
    TooLarge { url: String, limit: u64 },
    #[error("{url} ended too early or could not be kept")]
    Cut { url: String, source: io::Error },
}

impl HttpError {
    /// Returns the status that a server answered with.
    pub(super) fn status(&self) -> Option<u16> {
        match self {
            Self::Status { status, .. } => Some(*status),
            Self::Cache(_)
            | Self::NotCached { .. }
            | Self::Failed { .. }
            | Self::Redirect { .. }
            | Self::TooLarge { .. }
            | Self::Cut { .. } => None,
        }
    }
}

/// The value of a header that lets somebody in, and where it may be sent.
#[derive(Debug, Clone)]
pub(super) struct Login {
    pub(super) origin: Origin,
    pub(super) authorization: Secret<String>,
}

pub(super) struct Client<'a> {
    agent: Agent,
    pub(super) cache: &'a Cache,
    pub(super) offline: bool,
    /// How long is waited before the second try; each further one waits twice as long.
    pause: Duration,
}

impl<'a> Client<'a> {
    pub(super) fn new(cache: &'a Cache, offline: bool, pause: Duration) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(concat!("amibake/", env!("CARGO_PKG_VERSION")))
            // An archive counts by its bytes as they are.
            .accept_encoding("identity")
            .timeout_connect(Some(SILENCE))
            .timeout_recv_response(Some(SILENCE))
            .timeout_per_call(Some(Duration::from_secs(1800)))
            .tls_config(tls())
            .build();
        Self {
            agent: config.into(),
            cache,
            offline,
            pause,
        }
    }

    /// Returns an answer in JSON: the server's, or the last one that is in the cache.
    pub(super) fn json(
        &self,
        url: &Url,
        login: Option<&Login>,
    ) -> Result<serde_json::Value, HttpError> {
        let shown = shown(url);
        let text = match self.offline {
            true => self.cache.answer(&shown),
            false => {
                let text = self.text(url, login)?;
                self.cache.keep_answer(&shown, &text)?;
                Some(text)
            }
        };
        let text = text.ok_or_else(|| HttpError::NotCached { url: shown.clone() })?;
        serde_json::from_str(&text).map_err(|error| HttpError::Failed {
            url: shown,
            why: format!("what it answered is no JSON: {error}"),
        })
    }

    fn text(&self, url: &Url, login: Option<&Login>) -> Result<String, HttpError> {
        self.tried(|| {
            let mut text = Vec::new();
            let body = self.get(url, login)?;
            copy(body, &mut text, MOST_ANSWER_BYTES, url)?;
            String::from_utf8(text).map_err(|_| HttpError::Failed {
                url: shown(url),
                why: "what it answered is no text".to_owned(),
            })
        })
    }

    /// Posts a form, which asks for a token. It goes to no other address.
    pub(super) fn post(
        &self,
        url: &Url,
        form: &[(&str, &str)],
    ) -> Result<serde_json::Value, HttpError> {
        let failed = |why: String| HttpError::Failed {
            url: shown(url),
            why,
        };
        let form = form.iter().copied();
        let answer = self.agent.post(url.as_str()).send_form(form);
        let mut answer = answer.map_err(|e| failed(e.to_string()))?;
        match answer.status().as_u16() {
            200..=299 => {}
            status => {
                let url = shown(url);
                return Err(HttpError::Status { url, status });
            }
        }
        let text = answer.body_mut().read_to_string();
        let text = text.map_err(|e| failed(e.to_string()))?;
        serde_json::from_str(&text).map_err(|_| failed("what it answered is no JSON".to_owned()))
    }

    /// Returns the SHA-256 and the place of an archive. With one that is known it comes from the cache.
    pub(super) fn archive(
        &self,
        url: &Url,
        login: Option<&Login>,
        known: Option<&str>,
    ) -> Result<(String, std::path::PathBuf), HttpError> {
        let (by_address, shown) = (format!("archive {}", shown(url)), shown(url));
        let last = || self.cache.answer(&by_address);
        let wanted = match (known, self.offline) {
            (Some(known), _) => Some(known.to_owned()),
            (None, true) => last(),
            (None, false) => None,
        };
        if let Some(sha256) = wanted
            && let Some(path) = self.cache.archive(&sha256)
        {
            return Ok((sha256, path));
        }
        if self.offline {
            return Err(HttpError::NotCached { url: shown });
        }
        let kept = self.tried(|| {
            self.cache.keep_archive(|to| {
                let body = self.get(url, login)?;
                copy(body, to, MOST_ARCHIVE_BYTES, url)
            })
        })?;
        self.cache.keep_answer(&by_address, &kept.0)?;
        Ok(kept)
    }

    /// Tries again what may work a moment later.
    fn tried<T>(&self, work: impl Fn() -> Result<T, HttpError>) -> Result<T, HttpError> {
        let mut pause = self.pause;
        for _ in 1..TRIES {
            match work() {
                Err(
                    HttpError::Status {
                        status: 429 | 500..600,
                        ..
                    }
                    | HttpError::Failed { .. }
                    | HttpError::Cut { .. },
                ) => {}
                other => return other,
            }
            thread::sleep(pause);
            pause *= 2;
        }
        work()
    }

    fn get(&self, url: &Url, login: Option<&Login>) -> Result<Body, HttpError> {
        let mut at = url.clone();
        // A login in the address is its own host's as well.
        let in_address = login_of(&mut at);
        let login = login.or(in_address.as_ref());
        for _ in 0..=MOST_REDIRECTS {
            let answer = self.get_once(&at, login)?;
            match answer.status().as_u16() {
                200..=299 => return Ok(answer.into_body()),
                301 | 302 | 303 | 307 | 308 => at = redirected(&at, &answer)?,
                status => {
                    let url = shown(&at);
                    return Err(HttpError::Status { url, status });
                }
            }
        }
        Err(HttpError::Redirect {
            url: shown(url),
            to: shown(&at),
            why: "one redirect too many",
        })
    }

    fn get_once(&self, at: &Url, login: Option<&Login>) -> Result<Response<Body>, HttpError> {
        let mut request = self.agent.get(at.as_str());
        if let Some(login) = login.filter(|login| login.origin == at.origin()) {
            request = request.header("authorization", login.authorization.expose());
        }
        request.call().map_err(|error| HttpError::Failed {
            url: shown(at),
            why: error.to_string(),
        })
    }
}

/// Returns where an answer leads: never from HTTPS to what anybody on the way can read and write.
fn redirected(from: &Url, answer: &Response<Body>) -> Result<Url, HttpError> {
    let location = answer.headers().get("location");
    let location = location.and_then(|l| l.to_str().ok()).unwrap_or_default();
    let refused = |to: String, why| HttpError::Redirect {
        url: shown(from),
        to,
        why,
    };
    let to = from.join(location);
    let mut to = to.map_err(|_| refused(location.to_owned(), "no address"))?;
    let _never_sent = login_of(&mut to);
    match (from.scheme(), to.scheme()) {
        ("https", "https") | ("http", "http" | "https") => Ok(to),
        ("https", "http") => Err(refused(shown(&to), "not encrypted any more")),
        _ => Err(refused(shown(&to), "neither HTTP nor HTTPS")),
    }
}

/// Takes the login out of an address.
fn login_of(url: &mut Url) -> Option<Login> {
    use base64::Engine as _;
    let decoded = |text: &str| {
        let bytes = percent_encoding::percent_decode_str(text);
        bytes.decode_utf8_lossy().into_owned()
    };
    let user = decoded(url.username());
    let password = url.password().map(decoded).unwrap_or_default();
    let _has_no_host = url.set_username("");
    let _has_no_host = url.set_password(None);
    if user.is_empty() && password.is_empty() {
        return None;
    }
    let both = base64::prelude::BASE64_STANDARD.encode(format!("{user}:{password}"));
    Some(Login {
        origin: url.origin(),
        authorization: Secret::new(format!("Basic {both}")),
    })
}

/// Returns an address as it may be told and kept: without login, and without what signs a download.
pub(super) fn shown(url: &Url) -> String {
    let signs = |(name, _): (std::borrow::Cow<'_, str>, _)| {
        let name = name.to_lowercase();
        ["signature", "token", "credential", "sig", "key"]
            .iter()
            .any(|part| name.contains(part))
    };
    let mut url = url.clone();
    if url.query_pairs().any(signs) {
        url.set_query(None);
    }
    without_login(url.as_str())
}

fn copy(body: Body, to: &mut dyn io::Write, limit: u64, url: &Url) -> Result<(), HttpError> {
    let cut = |source| HttpError::Cut {
        url: shown(url),
        source,
    };
    let mut body = body.into_with_config().limit(u64::MAX).reader();
    let copied = io::copy(&mut (&mut body).take(limit), to).map_err(cut)?;
    if copied < limit || body.read(&mut [0]).map_err(cut)? == 0 {
        return Ok(());
    }
    Err(HttpError::TooLarge {
        url: shown(url),
        limit,
    })
}

fn tls() -> TlsConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let found = rustls_native_certs::load_native_certs().certs;
    let roots = found
        .iter()
        .map(|der| Certificate::from_der(der).to_owned());
    let roots: Vec<Certificate<'static>> = roots.collect();
    TlsConfig::builder()
        .unversioned_rustls_crypto_provider(provider)
        .root_certs(RootCerts::Specific(Arc::new(roots)))
        .build()
}
