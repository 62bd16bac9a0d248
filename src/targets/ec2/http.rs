//! How AWS is reached from inside a company: by its proxy, and trusting its certificates.
//!
//! The SDK's client reads neither from the environment. What is on this machine, or on the link that
//! gives it credentials, is never asked through a proxy, which could not reach it.

use std::path::{Path, PathBuf};

use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::{self, TlsContext, TrustStore};
use aws_smithy_http_client::{Builder, Connector};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
    SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::targets::TargetError;

/// Names a file of certificates in place of the system's.
const BUNDLE: &str = "AWS_CA_BUNDLE";

/// Where proxies are named, as the SDK's client reads them.
const PROXIES: [&str; 6] = [
    "HTTPS_PROXY",
    "https_proxy",
    "HTTP_PROXY",
    "http_proxy",
    "ALL_PROXY",
    "all_proxy",
];

/// Whose certificates are trusted: the system's, or those of a file alone.
#[derive(Debug, Clone, Default)]
pub(super) struct Trust {
    context: TlsContext,
}

impl Trust {
    /// Returns those of the bundle that the environment names, or else the profile.
    ///
    /// # Errors
    /// A bundle that cannot be read, or holds something else than certificates.
    pub(super) fn load(of_profile: Option<&str>) -> Result<Self, TargetError> {
        let named = std::env::var_os(BUNDLE).filter(|path| !path.is_empty());
        let named = named.map(|path| (BUNDLE, PathBuf::from(path)));
        let by_profile = || of_profile.map(|path| ("ca_bundle in the profile", path.into()));
        match named.or_else(by_profile) {
            None => Ok(Self::default()),
            Some((by, path)) => Self::of_file(by, &path),
        }
    }

    fn of_file(by: &str, path: &Path) -> Result<Self, TargetError> {
        let wrong = |why: String| {
            let message = format!("the certificates of {} cannot be used", path.display());
            let error = TargetError::manifest(message).because(why);
            error.with_hint(format!("{by} names a file of PEM certificates"))
        };
        let pem = std::fs::read(path).map_err(|e| wrong(e.to_string()))?;
        let mut known = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            let certificate = certificate.map_err(|e| wrong(e.to_string()))?;
            known.add(certificate).map_err(|e| wrong(e.to_string()))?;
        }
        if known.is_empty() {
            return Err(wrong("there are none in it".to_owned()));
        }
        let store = TrustStore::empty().with_pem_certificate(pem);
        let context = TlsContext::builder().with_trust_store(store).build();
        let context = context.map_err(|e| wrong(e.to_string()))?;
        Ok(Self { context })
    }

    /// Returns a connector that goes straight.
    pub(super) fn connector(&self) -> Connector {
        let builder = Connector::builder().tls_provider(provider());
        builder.tls_context(self.context.clone()).build()
    }

    /// Returns the client that asks AWS, by the proxies that the environment names.
    ///
    /// # Errors
    /// A proxy of another sort than HTTP: it would be passed over in silence.
    pub(super) fn client(&self) -> Result<SharedHttpClient, TargetError> {
        let has_proxy = check_proxies(|name| std::env::var(name).ok())?;
        let straight = Builder::new().tls_provider(provider());
        let straight = straight.tls_context(self.context.clone()).build_https();
        if !has_proxy {
            return Ok(straight);
        }
        let context = self.context.clone();
        let by_proxy = Builder::new().build_with_connector_fn(move |settings, components| {
            let mut builder = Connector::builder()
                .tls_provider(provider())
                .tls_context(context.clone())
                .proxy_config(ProxyConfig::from_env());
            builder.set_connector_settings(settings.cloned());
            builder.set_sleep_impl(components.and_then(RuntimeComponents::sleep_impl));
            builder.build()
        });
        Ok(SharedHttpClient::new(ProxiedClient { straight, by_proxy }))
    }
}

/// Returns what speaks TLS everywhere.
#[cfg(feature = "stack")]
pub(crate) fn tls_provider() -> tls::Provider {
    provider()
}

fn provider() -> tls::Provider {
    tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring)
}

/// Returns whether the environment names a proxy. What is wrong is told without the address, which may
/// hold a password.
fn check_proxies(variable: impl Fn(&str) -> Option<String>) -> Result<bool, TargetError> {
    let mut has_proxy = false;
    for name in PROXIES {
        let Some(url) = variable(name).filter(|url| !url.is_empty()) else {
            continue;
        };
        has_proxy = true;
        let (scheme, rest) = url.split_once("://").unwrap_or(("http", &url));
        let scheme = scheme.to_ascii_lowercase();
        let host = rest.rsplit('@').next().unwrap_or(rest);
        let host = host.split('/').next().unwrap_or(host);
        if !matches!(scheme.as_str(), "http" | "https") {
            return Err(TargetError::manifest(format!(
                "{name} names a proxy by {scheme}, which is not supported"
            ))
            .with_hint("name an HTTP proxy: http://proxy.example.com:3128"));
        }
        if host.is_empty() || HttpRequest::get(&url).is_err() {
            return Err(
                TargetError::manifest(format!("{name} is no address of a proxy"))
                    .with_hint("name an HTTP proxy: http://proxy.example.com:3128"),
            );
        }
    }
    Ok(has_proxy)
}

/// A client that asks by a proxy what a proxy can reach.
#[derive(Debug)]
struct ProxiedClient {
    straight: SharedHttpClient,
    by_proxy: SharedHttpClient,
}

impl HttpClient for ProxiedClient {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(ProxiedConnector {
            straight: self.straight.http_connector(settings, components),
            by_proxy: self.by_proxy.http_connector(settings, components),
        })
    }
}

#[derive(Debug)]
struct ProxiedConnector {
    straight: SharedHttpConnector,
    by_proxy: SharedHttpConnector,
}

impl HttpConnector for ProxiedConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        match is_here(host_of(request.uri())) {
            true => self.straight.call(request),
            false => self.by_proxy.call(request),
        }
    }
}

/// Returns the host of `https://host:port/path`, without the brackets of an IPv6 address.
fn host_of(uri: &str) -> &str {
    let rest = uri.split_once("://").map_or(uri, |(_, rest)| rest);
    let authority = rest.split(['/', '?']).next().unwrap_or(rest);
    match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => authority.split(':').next().unwrap_or(authority),
    }
}

/// Returns whether a host is this machine, or the service of its link that knows who it is.
fn is_here(host: &str) -> bool {
    match host.parse() {
        Ok(std::net::IpAddr::V4(address)) => address.is_loopback() || address.is_link_local(),
        // fd00:ec2::254 and fd00:ec2::23 are the same services by IPv6.
        Ok(std::net::IpAddr::V6(address)) => {
            address.is_loopback() || address.segments()[..2] == [0xfd00, 0x0ec2]
        }
        Err(_) => host.eq_ignore_ascii_case("localhost"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::targets::Fault;

    #[test]
    fn what_a_proxy_cannot_reach_is_asked_without_one() {
        for here in [
            "127.0.0.1",
            "169.254.169.254",
            "169.254.170.2",
            "fd00:ec2::254",
            "::1",
            "LocalHost",
        ] {
            assert!(is_here(here), "{here}");
        }
        for there in [
            "ec2.eu-west-1.amazonaws.com",
            "10.0.0.7",
            "fd00::1",
            "localhost.example.com",
        ] {
            assert!(!is_here(there), "{there}");
        }
        assert_eq!(host_of("http://169.254.169.254/latest"), "169.254.169.254");
        assert_eq!(host_of("http://[fd00:ec2::254]:80/x"), "fd00:ec2::254");
        assert_eq!(host_of("https://sts.amazonaws.com"), "sts.amazonaws.com");
    }

    #[test]
    fn a_proxy_that_cannot_be_used_is_told_by_its_variable_and_without_its_password() {
        let with = |name: &'static str, url: &'static str| {
            check_proxies(move |asked| (asked == name).then(|| url.to_owned()))
        };
        assert!(!with("HTTPS_PROXY", "").unwrap());
        assert!(with("https_proxy", "http://proxy:3128").unwrap());
        assert!(with("HTTPS_PROXY", "proxy.example.com:3128").unwrap());
        assert!(with("HTTPS_PROXY", "http://ann:hunter22@proxy:3128/").unwrap());
        for (url, words) in [
            ("socks5://ann:hunter22@proxy:1080", "by socks5"),
            ("http://ann:hunter22@", "no address"),
            ("http://ann:hunter 22@proxy", "no address"),
        ] {
            let error = with("ALL_PROXY", url).unwrap_err();
            assert_eq!(error.fault, Fault::Manifest);
            let told = error.on_one_line();
            assert!(told.contains("ALL_PROXY") && told.contains(words), "{told}");
            assert!(!told.contains("hunter"), "{told}");
        }
    }

    #[test]
    fn a_bundle_that_holds_no_certificates_is_told_by_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        let told = || {
            Trust::of_file("AWS_CA_BUNDLE", &path)
                .unwrap_err()
                .on_one_line()
        };
        assert!(told().contains("No such file"), "{}", told());
        std::fs::write(&path, "hello").unwrap();
        assert!(told().contains("there are none in it"), "{}", told());
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        std::fs::write(&path, broken).unwrap();
        assert!(told().contains("ca.pem cannot be used: "), "{}", told());
    }
}
