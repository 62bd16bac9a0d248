//! Galaxy servers: which there are, by `ansible.cfg` and the environment, and what they say of collections (API v3)
//! and roles (API v1, as `ansible-galaxy` asks it).

use std::path::Path;
use std::sync::{Mutex, OnceLock};

use amibake_playbook::yaml;
use base64::Engine as _;
use serde_json::Value as Json;
use url::Url;

use super::git::without_login;
use super::http::{Client, HttpError, Login, shown};
use super::version::{Version, newest};
use crate::ansible_config::{AnsibleConfig, Surroundings};
use crate::secret::Secret;

/// The one that is asked where nothing says another.
const GALAXY: &str = "https://galaxy.ansible.com";

/// Why a server does not say what was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServerError {
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error("`{url}` of the Galaxy server {name} is no address")]
    BadUrl { name: String, url: String },
    #[error("{url} is no Galaxy server: it names no versions of an API")]
    NoGalaxy { url: String },
    #[error("{url} has no API {wanted}")]
    NoApi { url: String, wanted: &'static str },
    #[error("{url} answered without `{missing}`")]
    Incomplete { url: String, missing: &'static str },
    #[error("{url} names the download {download}, which is no absolute address")]
    BadDownload { url: String, download: String },
}

/// How somebody is let in.
#[derive(Debug, Clone)]
enum Auth {
    Nobody,
    /// The header as it is.
    Header(Secret<String>),
    /// A token for a token, which another server gives.
    Exchanged {
        url: String,
        client_id: String,
        client_secret: Option<Secret<String>>,
        token: Option<Secret<String>>,
    },
}

/// A server, asked when it is needed first.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) name: String,
    url: String,
    auth: Auth,
    /// Whether it is asked for whatever no requirement names a server for.
    pub(super) is_general: bool,
    api: OnceLock<Api>,
    /// Held while it is asked what it is: once is enough.
    asking: Mutex<()>,
}

/// What a server says that it is.
#[derive(Debug, Clone)]
struct Api {
    root: Url,
    v1: Option<String>,
    v3: Option<String>,
    login: Option<Login>,
}

/// A version of a collection as a server has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Release {
    pub(super) url: Url,
    pub(super) sha256: String,
    pub(super) dependencies: Vec<(String, String)>,
    /// Where it is told, and by whom it is signed: for who verifies what is installed.
    pub(super) href: String,
    pub(super) signatures: Json,
}

/// A role as a server has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RoleRelease {
    pub(super) version: String,
    pub(super) url: Url,
}

/// Returns the servers in the order in which they are asked.
pub(super) fn servers(config: &AnsibleConfig, around: &Surroundings<'_>) -> Vec<Server> {
    let listed = config.value(
        "ANSIBLE_GALAXY_SERVER_LIST",
        ("galaxy", "server_list"),
        around,
    );
    let listed = listed.unwrap_or_default();
    let names = listed.split([',', '\n']).map(str::trim);
    let named: Vec<Server> = names
        .filter(|name| !name.is_empty())
        .map(|name| named(name, config, around))
        .collect();
    if !named.is_empty() {
        return named;
    }
    let url = config.value("ANSIBLE_GALAXY_SERVER", ("galaxy", "server"), around);
    let kept = config.path(
        "ANSIBLE_GALAXY_TOKEN_PATH",
        ("galaxy", "token_path"),
        around,
    );
    let usual = || Some(config.ansible_home(around)?.join("galaxy_token"));
    let token = kept.or_else(usual).and_then(|path| token_in(&path));
    let auth = token.map_or(Auth::Nobody, |token| header("Token", token.expose()));
    vec![Server::new(
        "default",
        url.unwrap_or_else(|| GALAXY.to_owned()),
        auth,
    )]
}

/// Returns the token that `ansible-galaxy login` or a user put into Ansible's folder.
fn token_in(path: &Path) -> Option<Secret<String>> {
    let text = std::fs::read(path).ok()?;
    let document = yaml::parse(path, &text).ok()?;
    let token = document.root.get("token")?.scalar_text()?;
    Some(Secret::new(token)).filter(|token| !token.expose().is_empty())
}

/// Reads what is said of a server with a name of its own.
fn named(name: &str, config: &AnsibleConfig, around: &Surroundings<'_>) -> Server {
    let section = format!("galaxy_server.{}", name.to_lowercase());
    let said = |key: &str| {
        let upper = |text: &str| text.to_uppercase();
        let variable = format!("ANSIBLE_GALAXY_SERVER_{}_{}", upper(name), upper(key));
        let value = config.value(&variable, (&section, key), around);
        value.filter(|value| !value.is_empty())
    };
    let secret = |key| said(key).map(Secret::new);
    let auth = match (said("username"), said("auth_url"), secret("token")) {
        (Some(user), _, _) => {
            let password = said("password").unwrap_or_default();
            let both = base64::prelude::BASE64_STANDARD.encode(format!("{user}:{password}"));
            header("Basic", &both)
        }
        (None, Some(url), token) => Auth::Exchanged {
            url,
            client_id: said("client_id").unwrap_or_else(|| "cloud-services".to_owned()),
            client_secret: secret("client_secret"),
            token,
        },
        (None, None, Some(token)) => header("Token", token.expose()),
        (None, None, None) => Auth::Nobody,
    };
    Server::new(name, said("url").unwrap_or_default(), auth)
}

fn header(kind: &str, value: &str) -> Auth {
    Auth::Header(Secret::new(format!("{kind} {value}")))
}

impl Server {
    fn new(name: &str, url: String, auth: Auth) -> Self {
        Self {
            name: name.to_owned(),
            url,
            auth,
            is_general: true,
            api: OnceLock::new(),
            asking: Mutex::new(()),
        }
    }

    /// Returns one that the command line names by its address. Nobody is known there.
    pub(super) fn at(url: &str) -> Self {
        Self::new(url, url.to_owned(), Auth::Nobody)
    }

    /// Returns one that a requirement names by its address, which is asked for that alone.
    pub(super) fn named_by_requirement(url: &str) -> Self {
        Self {
            is_general: false,
            ..Self::at(url)
        }
    }

    /// Returns whether a requirement's `source` means this one.
    pub(super) fn is(&self, source: &str) -> bool {
        let bare = |url: &str| {
            let url = url.trim_end_matches('/');
            url.strip_suffix("/api").unwrap_or(url).to_owned()
        };
        self.name == source || bare(&self.url) == bare(source)
    }

    /// Returns its address as the lock file and `GALAXY.yml` have it: with a slash at its end where Ansible writes one.
    pub(super) fn address(&self) -> String {
        let root = self.api.get().map(|api| shown(&api.root));
        let is_as_given =
            |root: &String| root.trim_end_matches('/') == self.url.trim_end_matches('/');
        match root {
            Some(root) if self.url.trim_end_matches('/') == GALAXY => root,
            Some(root) if !is_as_given(&root) => root.trim_end_matches('/').to_owned(),
            _ => without_login(&self.url),
        }
    }

    /// Returns the versions of a collection; none where it has no such.
    pub(super) fn versions(
        &self,
        client: &Client<'_>,
        name: (&str, &str),
    ) -> Result<Vec<Version>, ServerError> {
        let api = self.api(client)?;
        let mut next = Some(Self::collection(&api, name, "versions/?limit=100")?);
        let mut versions = Vec::new();
        while let Some(url) = next {
            let answer = match client.json(&url, api.login.as_ref()) {
                Err(error) if error.status() == Some(404) => break,
                answer => answer?,
            };
            let listed = answer.get("data").or_else(|| answer.get("results"));
            let listed = listed.and_then(Json::as_array);
            let listed = listed.ok_or_else(|| incomplete(&url, "data"))?;
            let told = listed.iter().filter_map(|one| one["version"].as_str());
            // What is no version by SemVer cannot be asked for either.
            versions.extend(told.filter_map(|version| version.parse::<Version>().ok()));
            let link = answer["links"]["next"].as_str();
            next = link.and_then(|link| api.root.join(link).ok());
        }
        Ok(versions)
    }

    /// Returns a version of a collection, with what it depends on.
    pub(super) fn release(
        &self,
        client: &Client<'_>,
        name: (&str, &str),
        version: &Version,
    ) -> Result<Release, ServerError> {
        let api = self.api(client)?;
        let url = Self::collection(&api, name, &format!("versions/{version}/"))?;
        let answer = client.json(&url, api.login.as_ref())?;
        let text = |value: &Json, missing| {
            let text = value.as_str().map(str::to_owned);
            text.ok_or_else(|| incomplete(&url, missing))
        };
        let download = text(&answer["download_url"], "download_url")?;
        let dependencies = answer["metadata"]["dependencies"].as_object();
        let dependencies = dependencies.into_iter().flatten();
        let pair = |(name, range): (&String, &Json)| {
            (name.clone(), range.as_str().unwrap_or("*").to_owned())
        };
        Ok(Release {
            url: absolute(&api.root, &url, &download)?,
            sha256: text(&answer["artifact"]["sha256"], "artifact.sha256")?,
            dependencies: dependencies.map(pair).collect(),
            href: answer["href"].as_str().unwrap_or_default().to_owned(),
            signatures: match &answer["signatures"] {
                Json::Null => Json::Array(Vec::new()),
                given => given.clone(),
            },
        })
    }

    /// Returns a role's version, or its newest; `None` where it has no such role.
    pub(super) fn role(
        &self,
        client: &Client<'_>,
        name: &str,
        version: Option<&str>,
    ) -> Result<Option<RoleFound>, ServerError> {
        let api = self.api(client)?;
        let v1 = api.v1.as_deref().ok_or_else(|| ServerError::NoApi {
            url: shown(&api.root),
            wanted: "v1, which roles are had from",
        })?;
        let (owner, bare) = name.rsplit_once('.').unwrap_or_default();
        let mut url = join(&api.root, &[v1, "roles/"])?;
        url.query_pairs_mut()
            .append_pair("owner__username", owner)
            .append_pair("name", bare);
        let answer = client.json(&url, api.login.as_ref())?;
        let Some(role) = answer["results"].get(0) else {
            return Ok(None);
        };
        let id = role["id"].as_u64().ok_or_else(|| incomplete(&url, "id"))?;
        let versions = join(&api.root, &[v1, "roles/", &format!("{id}/versions/")])?;
        let versions = Self::role_versions(client, &api, versions)?;
        Ok(Some(RoleFound::of(role, &versions, version, &url)?))
    }

    fn role_versions(client: &Client<'_>, api: &Api, first: Url) -> Result<Vec<Json>, ServerError> {
        let mut all = Vec::new();
        let mut next = Some(first);
        if let Some(url) = &mut next {
            url.set_query(Some("page_size=50"));
        }
        while let Some(url) = next {
            let answer = client.json(&url, api.login.as_ref())?;
            all.extend(answer["results"].as_array().into_iter().flatten().cloned());
            let link = answer["next_link"].as_str();
            next = link.and_then(|link| api.root.join(link).ok());
        }
        Ok(all)
    }

    /// Returns the login for a download of this server.
    pub(super) fn login(&self, client: &Client<'_>) -> Result<Option<Login>, ServerError> {
        Ok(self.api(client)?.login)
    }

    fn collection(
        api: &Api,
        (namespace, name): (&str, &str),
        rest: &str,
    ) -> Result<Url, ServerError> {
        let v3 = api.v3.as_deref().ok_or_else(|| ServerError::NoApi {
            url: shown(&api.root),
            wanted: "v3, which collections are had from",
        })?;
        join(
            &api.root,
            &[v3, &format!("collections/{namespace}/{name}/"), rest],
        )
    }

    /// Asks the server what it is: at its address, or at `/api/` below it.
    fn api(&self, client: &Client<'_>) -> Result<Api, ServerError> {
        if let Some(api) = self.api.get() {
            return Ok(api.clone());
        }
        let _asking = self.asking.lock();
        if let Some(api) = self.api.get() {
            return Ok(api.clone());
        }
        let url = match self.url.trim_end_matches('/') {
            GALAXY => format!("{GALAXY}/api/"),
            url => format!("{url}/"),
        };
        let bad = || ServerError::BadUrl {
            name: self.name.clone(),
            url: without_login(&self.url),
        };
        let root: Url = url.parse().map_err(|_| bad())?;
        if !matches!(root.scheme(), "http" | "https") {
            return Err(bad());
        }
        let login = self.authorized(client, &root)?;
        let api = match Self::asked(client, &root, login.clone()) {
            Err(first) if !root.path().ends_with("/api/") => {
                let below = root.join("api/").map_err(|_| bad())?;
                Self::asked(client, &below, login).map_err(|second| {
                    let is_404 = matches!(&second, ServerError::Http(e) if e.status() == Some(404));
                    if is_404 { first } else { second }
                })?
            }
            asked => asked?,
        };
        Ok(self.api.get_or_init(|| api).clone())
    }

    fn asked(client: &Client<'_>, root: &Url, login: Option<Login>) -> Result<Api, ServerError> {
        let answer = client.json(root, login.as_ref())?;
        let versions = answer["available_versions"].as_object();
        let versions = versions.ok_or_else(|| ServerError::NoGalaxy { url: shown(root) })?;
        let path = |version: &str| {
            let path = versions.get(version)?.as_str()?;
            Some(format!("{}/", path.trim_end_matches('/')))
        };
        Ok(Api {
            root: root.clone(),
            v1: path("v1"),
            v3: path("v3"),
            login,
        })
    }

    /// Returns what lets us in there, and nowhere else.
    fn authorized(&self, client: &Client<'_>, root: &Url) -> Result<Option<Login>, ServerError> {
        let authorization = match &self.auth {
            Auth::Nobody => return Ok(None),
            Auth::Header(value) => value.clone(),
            // Offline nobody is let in anywhere.
            Auth::Exchanged { .. } if client.offline => return Ok(None),
            Auth::Exchanged {
                url,
                client_id,
                client_secret,
                token,
            } => {
                let mut form = vec![("client_id", client_id.as_str())];
                match (client_secret, token) {
                    (Some(secret), _) => form.extend([
                        ("client_secret", secret.expose().as_str()),
                        ("scope", "api.console"),
                        ("grant_type", "client_credentials"),
                    ]),
                    (None, Some(token)) => form.extend([
                        ("refresh_token", token.expose().as_str()),
                        ("grant_type", "refresh_token"),
                    ]),
                    (None, None) => return Ok(None),
                }
                let at: Url = url.parse().map_err(|_| ServerError::BadUrl {
                    name: self.name.clone(),
                    url: without_login(url),
                })?;
                let answer = client.post(&at, &form)?;
                let given = answer["access_token"].as_str();
                let given = given.ok_or_else(|| incomplete(&at, "access_token"))?;
                let kind = answer["token_type"].as_str().unwrap_or("Bearer");
                Secret::new(format!("{kind} {given}"))
            }
        };
        Ok(Some(Login {
            origin: root.origin(),
            authorization,
        }))
    }
}

/// What a server knows of a role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum RoleFound {
    Release(RoleRelease),
    /// It has the role, and not this version of it.
    NoVersion(Vec<String>),
    /// Its newest version cannot be told.
    Incomparable(Vec<String>),
}

impl RoleFound {
    fn of(
        role: &Json,
        versions: &[Json],
        wanted: Option<&str>,
        asked: &Url,
    ) -> Result<Self, ServerError> {
        let names = versions.iter().filter_map(|one| one["name"].as_str());
        let names: Vec<String> = names.map(str::to_owned).collect();
        let text = |key: &str| role[key].as_str();
        let version = match wanted {
            Some(version) if version == "master" || names.is_empty() => version.to_owned(),
            Some(version) if names.iter().any(|name| name == version) => version.to_owned(),
            Some(_) => return Ok(Self::NoVersion(names)),
            None if names.is_empty() => text("github_branch").unwrap_or("master").to_owned(),
            None => match newest(&names) {
                Some(newest) => names[newest].clone(),
                None => return Ok(Self::Incomparable(names)),
            },
        };
        let told = versions
            .iter()
            .find(|one| one["name"].as_str() == Some(&version));
        let told = |key: &str| {
            told.and_then(|one| one[key].as_str())
                .filter(|t| !t.is_empty())
        };
        let url = match told("download_url").or_else(|| told("source")) {
            Some(url) => absolute(asked, asked, url)?,
            None => {
                let missing = || incomplete(asked, "github_repo");
                let user = text("github_user").ok_or_else(missing)?;
                let repository = text("github_repo").ok_or_else(missing)?;
                let mut url: Url = "https://github.com".parse().map_err(|_| missing())?;
                url.path_segments_mut().map_err(|()| missing())?.extend([
                    user,
                    repository,
                    "archive",
                    &format!("{version}.tar.gz"),
                ]);
                url
            }
        };
        Ok(Self::Release(RoleRelease { version, url }))
    }
}

fn join(root: &Url, parts: &[&str]) -> Result<Url, ServerError> {
    let mut url = root.clone();
    for part in parts {
        url = url.join(part).map_err(|_| ServerError::BadUrl {
            name: shown(root),
            url: (*part).to_owned(),
        })?;
    }
    Ok(url)
}

/// Returns the address of a download: whole, or a path on its server.
fn absolute(root: &Url, told_at: &Url, download: &str) -> Result<Url, ServerError> {
    let bad = || ServerError::BadDownload {
        url: shown(told_at),
        download: without_login(download),
    };
    let whole = download.starts_with("http://") || download.starts_with("https://");
    if !whole && !download.starts_with('/') {
        return Err(bad());
    }
    let url = root.join(download).map_err(|_| bad())?;
    match url.scheme() {
        "http" | "https" => Ok(url),
        _ => Err(bad()),
    }
}

fn incomplete(url: &Url, missing: &'static str) -> ServerError {
    ServerError::Incomplete {
        url: shown(url),
        missing,
    }
}
