//! A key, and a certificate that it has signed itself.

use std::time::Duration;

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType,
};
use time::OffsetDateTime;

use super::domain::Domain;
use super::name::CertName;
use crate::secret::Secret;

/// How long before now it begins to be valid: ACM wants that in the past, by its own clock, and so do clients
/// by theirs.
const BACKDATED: Duration = Duration::from_secs(86_400);

/// X.509 has no longer common name.
const LONGEST_COMMON_NAME: usize = 64;

/// Both as PEM.
#[derive(Debug, Clone)]
pub(super) struct Pair {
    pub(super) certificate: String,
    pub(super) key: Secret<String>,
}

impl Pair {
    /// Makes a new ECDSA key on P-256, and its certificate for these domains.
    pub(super) fn make(
        name: &CertName,
        domains: &[Domain],
        now: OffsetDateTime,
        valid_for: Duration,
    ) -> Result<Self, rcgen::Error> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.not_before = now - BACKDATED;
        params.not_after = now + valid_for;
        params.distinguished_name = DistinguishedName::new();
        let common_name = common_name(name, domains);
        params
            .distinguished_name
            .push(DnType::CommonName, common_name);
        params.subject_alt_names = alternative_names(domains)?;
        // Who trusts it trusts this one, and none that it might sign.
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        Ok(Self {
            certificate: params.self_signed(&key)?.pem(),
            key: Secret::new(key.serialize_pem()),
        })
    }
}

/// Returns the first domain that is short enough, or else the certificate's own name.
fn common_name(name: &CertName, domains: &[Domain]) -> String {
    let names = domains.iter().map(Domain::to_string);
    let mut short = names.filter(|name| name.len() <= LONGEST_COMMON_NAME);
    short.next().unwrap_or_else(|| name.as_str().to_owned())
}

fn alternative_names(domains: &[Domain]) -> Result<Vec<SanType>, rcgen::Error> {
    let name = |domain: &Domain| match domain {
        Domain::Name(name) => Ok(SanType::DnsName(name.as_str().try_into()?)),
        Domain::Address(address) => Ok(SanType::IpAddress(*address)),
    };
    domains.iter().map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cert::read::{KeyKind, Seen};
    use time::macros::datetime;

    const NOW: OffsetDateTime = datetime!(2026-11-30 10:00:00 UTC);
    const DAY: Duration = Duration::from_secs(86_400);

    fn domains(texts: &[&str]) -> Vec<Domain> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn pair(texts: &[&str]) -> Pair {
        let name = "web".parse().unwrap();
        Pair::make(&name, &domains(texts), NOW, 397 * DAY).unwrap()
    }

    #[test]
    fn what_is_made_is_a_p256_leaf_for_its_domains_that_began_a_day_ago() {
        let texts = ["hello.example.com", "*.example.com", "10.0.0.7", "fd00::1"];
        let pair = pair(&texts);
        let seen = Seen::read(&pair.certificate).unwrap();
        assert_eq!(seen.domains, domains(&texts).into_iter().collect());
        assert_eq!((seen.begins, seen.ends), (NOW - DAY, NOW + 397 * DAY));
        assert_eq!((seen.key, seen.issuer), (KeyKind::P256, None));
        assert!(pair.key.expose().starts_with("-----BEGIN PRIVATE KEY-----"));
    }

    #[test]
    fn no_two_have_one_key_and_none_shows_it() {
        let (one, other) = (pair(&["a.example.com"]), pair(&["a.example.com"]));
        assert_ne!(one.key.expose(), other.key.expose());
        assert_ne!(one.certificate, other.certificate);
        assert!(!format!("{one:?}").contains("PRIVATE"));
    }

    #[test]
    fn a_domain_too_long_for_a_common_name_is_left_to_the_alternative_names() {
        let long = format!("{}.example.com", "a".repeat(60));
        let name = "web".parse().unwrap();
        assert_eq!(common_name(&name, &domains(&[&long])), "web");
        let two = domains(&[&long, "a.example.com"]);
        assert_eq!(common_name(&name, &two), "a.example.com");
        let seen = Seen::read(&pair(&[&long]).certificate).unwrap();
        assert_eq!(seen.domains, domains(&[&long]).into_iter().collect());
    }

    /// OpenSSL's reader is another than ours.
    #[test]
    fn openssl_and_a_client_take_it_for_a_server_s_and_for_no_authority() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("web.pem");
        std::fs::write(&path, pair(&["hello.example.com", "10.0.0.7"]).certificate).unwrap();
        let mut openssl = std::process::Command::new("openssl");
        let shown = openssl.args(["x509", "-noout", "-text", "-in"]).arg(&path);
        let shown = String::from_utf8(shown.output().unwrap().stdout).unwrap();
        for said in [
            "Version: 3",
            "Subject: CN = hello.example.com",
            "CA:FALSE",
            "Digital Signature",
            "TLS Web Server Authentication",
            "DNS:hello.example.com, IP Address:10.0.0.7",
            "prime256v1",
            "ecdsa-with-SHA256",
            "Not Before: Nov 29 10:00:00 2026",
        ] {
            assert!(shown.contains(said), "{said}: {shown}");
        }
        let mut openssl = std::process::Command::new("openssl");
        let verified = openssl
            .args(["verify", "-purpose", "sslserver"])
            .args([
                "-attime",
                "1796040000",
                "-verify_hostname",
                "hello.example.com",
                "-CAfile",
            ])
            .arg(&path)
            .arg(&path);
        let verified = verified.output().unwrap();
        assert!(verified.status.success(), "{verified:?}");
    }
}
