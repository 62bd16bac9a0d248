//! A request of a smoke test, made to the load balancer's own address: by the name that its certificate
//! has, which need not lead there yet.

use std::fmt;
use std::net::IpAddr;

use aws_smithy_http_client::Connector;
use aws_smithy_http_client::tls::{TlsContext, TrustStore};
use aws_smithy_runtime_api::client::dns::{DnsFuture, ResolveDns, ResolveDnsError};
use aws_smithy_runtime_api::client::http::HttpConnector;
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_types::byte_stream::ByteStream;

use super::super::Stack;
use super::calls::Door;
use super::smoke::{Answered, HEADER, SmokeTest};
use crate::clock;
use crate::exit::chain;
use crate::targets::ec2::{Ec2Error, tls_provider};

/// As much of a body is looked at.
const LONGEST_BYTES: usize = 1 << 20;

/// Makes a request, and returns what was answered or why nothing was.
pub(super) async fn ask(stack: &Stack, door: &Door, test: &SmokeTest) -> Result<Answered, String> {
    match Box::pin(clock::timeout(test.within, asked(stack, door, test))).await {
        Ok(answered) => answered,
        Err(_) => Err(format!("no answer within {} s", test.within.as_secs())),
    }
}

async fn asked(stack: &Stack, door: &Door, test: &SmokeTest) -> Result<Answered, String> {
    let (pem, name) = certificate(stack, &door.certificate).await?;
    let host = test.host.clone().or(name);
    let host = host.unwrap_or_else(|| door.address.clone());
    let url = format!("https://{host}{}", test.path);
    let mut request = HttpRequest::get(&url).map_err(|e| format!("{url}: {e}"))?;
    let wrong = |e: &dyn fmt::Display| format!("the request cannot be made: {e}");
    let method = request.set_method(&test.method);
    method.map_err(|e| wrong(&e))?;
    for (name, value) in &test.headers {
        let set = request
            .headers_mut()
            .try_insert(name.clone(), value.clone());
        set.map_err(|e| wrong(&e))?;
    }
    request.headers_mut().insert(HEADER, door.value.clone());
    let response = connector(pem, &door.address)?.call(request).await;
    let response = response.map_err(|e| chain(&e))?;
    let status = response.status().as_u16();
    let mut body = ByteStream::new(response.into_body());
    let mut bytes = Vec::new();
    while let Some(part) = body.next().await {
        bytes.extend_from_slice(&part.map_err(|e| chain(&e))?);
        if bytes.len() > LONGEST_BYTES {
            break;
        }
    }
    Ok(Answered {
        status,
        body: String::from_utf8_lossy(&bytes).into_owned(),
    })
}

/// Returns the listener's certificate, which may have signed itself, and the name that it is for.
async fn certificate(stack: &Stack, arn: &str) -> Result<(String, Option<String>), String> {
    let config = stack.ec2.sdk_config();
    let told = |error: Ec2Error| format!("the listener's certificate {arn}: {}", chain(&error));
    if arn.contains(":server-certificate/") {
        let iam = aws_sdk_iam::Client::new(config);
        let name = arn.rsplit('/').next().unwrap_or_default();
        let asked = iam.get_server_certificate().server_certificate_name(name);
        let answer = asked.send().await;
        let answer = answer.map_err(|e| told(stack.refused("GetServerCertificate", e)))?;
        let body = answer.server_certificate.map(|one| one.certificate_body);
        return Ok((body.unwrap_or_default(), None));
    }
    let acm = aws_sdk_acm::Client::new(config);
    let body = acm.get_certificate().certificate_arn(arn).send();
    let described = acm.describe_certificate().certificate_arn(arn).send();
    let (body, described) = tokio::join!(body, described);
    let body = body.map_err(|e| told(stack.refused("GetCertificate", e)))?;
    let body = body.certificate.unwrap_or_default();
    let named = described.map_err(|e| told(stack.refused("DescribeCertificate", e)))?;
    let name = named.certificate;
    let name = name.and_then(|certificate| certificate.domain_name);
    // One for many names is for none by itself, and some are called by what is no host's name.
    let is_of_host = |c: char| c.is_ascii_alphanumeric() || ".-".contains(c);
    Ok((body, name.filter(|name| name.chars().all(is_of_host))))
}

/// Returns what connects to one address whatever the name, and trusts this certificate beside the
/// system's.
fn connector(pem: String, address: &str) -> Result<Connector, String> {
    let trusted = TrustStore::default().with_pem_certificate(pem);
    let context = TlsContext::builder().with_trust_store(trusted).build();
    let context = context.map_err(|e| chain(&e))?;
    let to = To(address.to_owned());
    let builder = Connector::builder().tls_provider(tls_provider());
    Ok(builder.tls_context(context).build_with_resolver(to))
}

/// Whatever is asked for, it is there.
#[derive(Debug, Clone)]
struct To(String);

impl ResolveDns for To {
    fn resolve_dns<'a>(&'a self, _name: &'a str) -> DnsFuture<'a> {
        DnsFuture::new(async {
            let found = tokio::net::lookup_host((self.0.as_str(), 443)).await;
            let found = found.map_err(ResolveDnsError::new)?;
            Ok(found.map(|address| address.ip()).collect::<Vec<IpAddr>>())
        })
    }
}
