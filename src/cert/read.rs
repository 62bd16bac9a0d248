//! What a certificate says: whom it is for, when it ends, what kind of key it has, and who signed it. It is AWS that
//! judges certificates; nothing is verified here.

#![expect(
    clippy::redundant_closure_for_method_calls,
    reason = "yasna's methods have a lifetime of their own, and are not general enough"
)]

use std::collections::BTreeSet;
use std::net::IpAddr;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use time::OffsetDateTime;
use yasna::models::ObjectIdentifier;
use yasna::tags::TAG_UTCTIME;
use yasna::{ASN1Result, BERReader, BERReaderSeq, Tag, parse_der};

use super::domain::Domain;

const RSA: &[u64] = &[1, 2, 840, 113_549, 1, 1, 1];
const P256: &[u64] = &[1, 2, 840, 10_045, 3, 1, 7];
const P384: &[u64] = &[1, 3, 132, 0, 34];
const P521: &[u64] = &[1, 3, 132, 0, 35];
const ALTERNATIVE_NAMES: &[u64] = &[2, 5, 29, 17];

/// What a certificate says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    /// As PEM.
    pub(super) certificate: String,
    pub(super) domains: BTreeSet<Domain>,
    pub(super) begins: OffsetDateTime,
    pub(super) ends: OffsetDateTime,
    pub(super) key: KeyKind,
    /// Who signed it, if that was not itself.
    pub(super) issuer: Option<String>,
}

/// Its key, as far as that decides whether another can take its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum KeyKind {
    /// Such as are made here.
    P256,
    /// `RSA 2048`
    Other(String),
}

/// A text that is no certificate, with the reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("it is no certificate in PEM: {0}")]
pub(super) struct Unreadable(String);

impl Seen {
    /// Reads the first certificate of a text.
    pub(super) fn read(pem: &str) -> Result<Self, Unreadable> {
        let unreadable = |why: &dyn std::fmt::Display| Unreadable(why.to_string());
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|e| unreadable(&e))?;
        let read = parse_der(&der, |reader| {
            reader.read_sequence(|reader| {
                let signed = reader.next().read_sequence(signed_part)?;
                let _algorithm = reader.next().read_der()?;
                let _signature = reader.next().read_der()?;
                Ok(signed)
            })
        });
        let seen = read.map_err(|e| unreadable(&e))?;
        Ok(Self {
            certificate: pem.to_owned(),
            ..seen
        })
    }
}

/// Reads `TBSCertificate` of RFC 5280.
fn signed_part(reader: &mut BERReaderSeq<'_, '_>) -> ASN1Result<Seen> {
    let _version = reader.read_optional(|r| r.read_tagged(Tag::context(0), |r| r.read_u8()))?;
    let _serial_number = reader.next().read_der()?;
    let _signature_algorithm = reader.next().read_der()?;
    let issuer = reader.next().read_der()?;
    let (begins, ends) = reader
        .next()
        .read_sequence(|r| Ok((moment(r.next())?, moment(r.next())?)))?;
    let subject = reader.next().read_der()?;
    let key = reader.next().read_sequence(key_kind)?;
    for unique_id in [1, 2] {
        let tag = Tag::context(unique_id);
        let _unique_id =
            reader.read_optional(|r| r.read_tagged_implicit(tag, |r| r.read_bitvec_bytes()))?;
    }
    let extensions = reader
        .read_optional(|r| r.read_tagged(Tag::context(3), |r| r.collect_sequence_of(extension)))?;
    let extensions = extensions.unwrap_or_default();
    let mut names = extensions
        .iter()
        .filter(|(oid, _)| oid.components() == ALTERNATIVE_NAMES);
    let domains = names.next().map(|(_, value)| domains(value)).transpose()?;
    Ok(Seen {
        certificate: String::new(),
        domains: domains.unwrap_or_default(),
        begins,
        ends,
        key,
        issuer: match issuer == subject {
            true => None,
            false => Some(name(&issuer)?),
        },
    })
}

fn moment(reader: BERReader<'_, '_>) -> ASN1Result<OffsetDateTime> {
    match reader.lookahead_tag()? == TAG_UTCTIME {
        true => Ok(*reader.read_utctime()?.datetime()),
        false => Ok(*reader.read_generalized_time()?.datetime()),
    }
}

/// Reads `SubjectPublicKeyInfo`.
fn key_kind(reader: &mut BERReaderSeq<'_, '_>) -> ASN1Result<KeyKind> {
    let (algorithm, parameters) = reader.next().read_sequence(|r| {
        let algorithm = r.next().read_oid()?;
        Ok((algorithm, r.read_optional(|r| r.read_der())?))
    })?;
    let (key, _) = reader.next().read_bitvec_bytes()?;
    let curve = parameters.and_then(|der| parse_der(&der, |r| r.read_oid()).ok());
    let other = |kind: &str| KeyKind::Other(kind.to_owned());
    Ok(
        match curve.as_ref().map(|curve| curve.components().as_slice()) {
            Some(P256) => KeyKind::P256,
            Some(P384) => other("EC 384"),
            Some(P521) => other("EC 521"),
            _ if algorithm.components() == RSA => other(&format!("RSA {}", rsa_bits(&key)?)),
            _ => other(&algorithm.to_string()),
        },
    )
}

fn rsa_bits(key: &[u8]) -> ASN1Result<usize> {
    parse_der(key, |reader| {
        reader.read_sequence(|r| {
            let (modulus, _) = r.next().read_bigint_bytes()?;
            let _exponent = r.next().read_der()?;
            Ok(modulus.iter().skip_while(|byte| **byte == 0).count() * 8)
        })
    })
}

fn extension(reader: BERReader<'_, '_>) -> ASN1Result<(ObjectIdentifier, Vec<u8>)> {
    reader.read_sequence(|r| {
        let oid = r.next().read_oid()?;
        let _is_critical = r.read_optional(|r| r.read_bool())?;
        Ok((oid, r.next().read_bytes()?))
    })
}

/// Returns the domains among alternative names. What else there may be (a mail address, say) is no balancer's.
fn domains(names: &[u8]) -> ASN1Result<BTreeSet<Domain>> {
    let names = parse_der(names, |r| r.collect_sequence_of(|r| r.read_tagged_der()))?;
    let domain = |name: &yasna::models::TaggedDerValue| match name.tag().tag_number {
        2 => {
            let text = String::from_utf8_lossy(name.value());
            Some(Domain::Name(text.to_ascii_lowercase()))
        }
        7 => address(name.value()).map(Domain::Address),
        _ => None,
    };
    Ok(names.iter().filter_map(domain).collect())
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let of_four = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    of_four
        .or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from))
        .ok()
}

/// Returns a distinguished name in words: `O=Example, CN=Some CA`.
fn name(der: &[u8]) -> ASN1Result<String> {
    let sets = parse_der(der, |r| {
        r.collect_sequence_of(|r| {
            r.collect_set_of(|r| {
                r.read_sequence(|r| Ok((r.next().read_oid()?, r.next().read_tagged_der()?)))
            })
        })
    })?;
    let word = |(oid, value): &(ObjectIdentifier, yasna::models::TaggedDerValue)| {
        let key = match oid.components().as_slice() {
            [2, 5, 4, 3] => "CN".to_owned(),
            [2, 5, 4, 6] => "C".to_owned(),
            [2, 5, 4, 10] => "O".to_owned(),
            [2, 5, 4, 11] => "OU".to_owned(),
            _ => oid.to_string(),
        };
        format!("{key}={}", String::from_utf8_lossy(value.value()))
    };
    let words: Vec<String> = sets.iter().flatten().map(word).collect();
    Ok(words.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DistinguishedName, DnType, Issuer, KeyPair};

    #[test]
    fn one_of_another_key_or_another_issuer_is_seen_to_be_that() {
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
        let issuer = Issuer::new(CertificateParams::default(), key);
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        let subject = (DnType::CommonName, "hello.example.com");
        params.distinguished_name.push(subject.0, subject.1);
        let own = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
        let signed = params.signed_by(&own, &issuer).unwrap();
        let seen = Seen::read(&signed.pem()).unwrap();
        assert_eq!(seen.key, KeyKind::Other("EC 384".into()));
        assert_eq!(seen.issuer.as_deref(), Some("CN=rcgen self signed cert"));
        assert_eq!(seen.domains, BTreeSet::new());
        assert_eq!((seen.begins.year(), seen.ends.year()), (1975, 4096));
    }

    /// Made by `openssl req -x509 -newkey rsa:2048 -days 36500 -subj /O=Example/CN=a.example.com -addext
    /// subjectAltName=DNS:A.example.com,IP:10.0.0.7,email:a@example.com`.
    #[test]
    fn one_that_openssl_made_is_read() {
        let seen = Seen::read(include_str!("read/openssl.pem")).unwrap();
        let domains = ["a.example.com", "10.0.0.7"].map(|text| text.parse().unwrap());
        assert_eq!(seen.domains, BTreeSet::from(domains));
        assert_eq!(seen.key, KeyKind::Other("RSA 2048".into()));
        assert_eq!(seen.issuer, None);
        assert_eq!((seen.ends - seen.begins).whole_days(), 36_500);
    }

    #[test]
    fn a_text_that_is_none_is_told_to_be_none() {
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for text in ["", "hello", broken] {
            let error = Seen::read(text).unwrap_err().to_string();
            assert!(
                error.starts_with("it is no certificate in PEM: "),
                "{error}"
            );
        }
    }
}
