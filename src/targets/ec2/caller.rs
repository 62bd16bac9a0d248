//! Where this machine is seen from: its public address, as an echo service reports it, or its own
//! address on the way out. Nothing that the service says is believed beyond one address.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use aws_smithy_runtime_api::client::http::HttpConnector;
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_types::byte_stream::ByteStream;

use super::http::Trust;
use crate::clock;
use crate::targets::TargetError;

/// Amazon's own, which answers with the address and a newline.
const SERVICE: &str = "https://checkip.amazonaws.com";

/// Names another service.
const VARIABLE: &str = "AMIBAKE_CHECKIP_URL";

/// Time for one try.
const PER_TRY: Duration = Duration::from_secs(10);

/// Tries, with [`PAUSE`] between them.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_millis(500);

/// The longest answer that is read. An address has 45 characters at most.
const LONGEST_BYTES: usize = 256;

/// The service that says where a request came from.
#[derive(Debug, Clone)]
pub(super) struct Echo {
    url: String,
    /// Whose certificates it may have.
    pub(super) trust: Trust,
}

/// Why the service's answer is of no use.
#[derive(Debug, thiserror::Error)]
enum EchoError {
    #[error("{url} is not an http or https address")]
    Url { url: String },
    #[error("{url} did not answer within {after:?}")]
    TooSlow { url: String, after: Duration },
    #[error("{url} could not be reached")]
    Unreachable {
        url: String,
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("{url} answered with status {status}")]
    Status { url: String, status: u16 },
    #[error("{url} answered with more than {LONGEST_BYTES} bytes")]
    TooLong { url: String },
    #[error("{url} answered {said:?}, which is not the address of a machine")]
    NoAddress { url: String, said: String },
}

impl Echo {
    /// Returns the service that the environment names, or Amazon's.
    pub(super) fn from_environment() -> Self {
        let named = std::env::var(VARIABLE).ok().filter(|url| !url.is_empty());
        Self {
            url: named.unwrap_or_else(|| SERVICE.to_owned()),
            trust: Trust::default(),
        }
    }

    /// Returns the address that the service sees this machine come from.
    ///
    /// No proxy is used: SSH goes without one, and the address wanted is SSH's.
    pub(super) async fn public_address(&self) -> Result<IpAddr, TargetError> {
        let mut tries = 1;
        loop {
            match self.ask_once(PER_TRY).await {
                Ok(address) => return Ok(address),
                Err(EchoError::Unreachable { .. } | EchoError::Status { .. }) if tries < TRIES => {
                    tries += 1;
                    clock::sleep(PAUSE).await;
                }
                Err(error) => return Err(unknown(error)),
            }
        }
    }

    async fn ask_once(&self, time: Duration) -> Result<IpAddr, EchoError> {
        let url = self.url.clone();
        match clock::timeout(time, self.ask()).await {
            Ok(answer) => self.read(&answer?),
            Err(_) => Err(EchoError::TooSlow { url, after: time }),
        }
    }

    async fn ask(&self) -> Result<Vec<u8>, EchoError> {
        let url = || self.url.clone();
        if !(self.url.starts_with("https://") || self.url.starts_with("http://")) {
            return Err(EchoError::Url { url: url() });
        }
        let request = HttpRequest::get(&self.url).map_err(|_| EchoError::Url { url: url() })?;
        let response = self
            .trust
            .connector()
            .call(request)
            .await
            .map_err(|source| EchoError::Unreachable {
                url: url(),
                source: source.into(),
            })?;
        let status = response.status();
        if status.as_u16() != 200 {
            return Err(EchoError::Status {
                url: url(),
                status: status.as_u16(),
            });
        }
        let mut body = ByteStream::new(response.into_body());
        let mut answer = Vec::new();
        while let Some(part) = body.next().await {
            let part = part.map_err(|source| EchoError::Unreachable {
                url: url(),
                source: source.into(),
            })?;
            answer.extend_from_slice(&part);
            if answer.len() > LONGEST_BYTES {
                return Err(EchoError::TooLong { url: url() });
            }
        }
        Ok(answer)
    }

    fn read(&self, answer: &[u8]) -> Result<IpAddr, EchoError> {
        let said = String::from_utf8_lossy(answer);
        let address = said.trim().parse().ok().filter(may_come_from);
        address.ok_or_else(|| EchoError::NoAddress {
            url: self.url.clone(),
            said: said.chars().take(60).collect(),
        })
    }
}

/// Private addresses are fine: a service inside a company's network sees those.
fn may_come_from(address: &IpAddr) -> bool {
    !(address.is_unspecified()
        || address.is_loopback()
        || address.is_multicast()
        || *address == IpAddr::V4(Ipv4Addr::BROADCAST))
}

fn unknown(error: EchoError) -> TargetError {
    TargetError::new("this machine's public address could not be determined")
        .because(error)
        .with_hint(format!(
            "name it in builder.ingress_cidrs, as 203.0.113.7/32, or another service in {VARIABLE}"
        ))
}

/// Returns the address this machine has on the way to the network outside. Nothing is sent.
pub(super) async fn local_address() -> Result<IpAddr, TargetError> {
    let unknown =
        |e| TargetError::new("this machine's own address could not be determined").because(e);
    let socket = tokio::net::UdpSocket::bind("0.0.0.0:0")
        .await
        .map_err(unknown)?;
    socket.connect("192.0.2.1:9").await.map_err(unknown)?;
    Ok(socket.local_addr().map_err(unknown)?.ip())
}

/// Returns the range that holds one address alone.
pub(super) fn alone(address: IpAddr) -> String {
    match address {
        IpAddr::V4(_) => format!("{address}/32"),
        IpAddr::V6(_) => format!("{address}/128"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    /// Answers one request with `answer` as it stands, and holds the connection.
    async fn service(answer: String) -> Echo {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let _request = stream.read(&mut [0; 4096]).await;
                let _gone = stream.write_all(answer.as_bytes()).await;
                std::mem::forget(stream);
            }
        });
        Echo {
            url,
            trust: Trust::default(),
        }
    }

    fn ok(body: &str) -> String {
        format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    }

    async fn asked(answer: String) -> Result<String, String> {
        let echo = service(answer).await;
        let asked = echo.ask_once(Duration::from_millis(1500)).await;
        asked
            .map(alone)
            .map_err(|e| e.to_string().replace(&echo.url, "URL"))
    }

    #[tokio::test]
    async fn an_address_alone_is_believed() {
        assert_eq!(asked(ok("203.0.113.7\n")).await.unwrap(), "203.0.113.7/32");
        assert_eq!(asked(ok("2001:db8::7")).await.unwrap(), "2001:db8::7/128");
    }

    #[tokio::test]
    async fn anything_else_is_not() {
        for said in [
            "",
            "0.0.0.0",
            "127.0.0.1",
            "203.0.113.7/0",
            "<html>",
            "1.2.3.4, 5.6.7.8",
        ] {
            let error = asked(ok(said)).await.unwrap_err();
            assert_eq!(
                error,
                format!("URL answered {said:?}, which is not the address of a machine")
            );
        }
        let long = "HTTP/1.1 200 OK\r\n\r\n".to_owned() + &"1".repeat(100_000);
        assert_eq!(
            asked(long).await.unwrap_err(),
            "URL answered with more than 256 bytes"
        );
        let elsewhere =
            "HTTP/1.1 302 Found\r\nLocation: http://192.0.2.1/\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(
            asked(elsewhere.to_owned()).await.unwrap_err(),
            "URL answered with status 302"
        );
        let slow = "HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n203".to_owned();
        assert_eq!(
            asked(slow).await.unwrap_err(),
            "URL did not answer within 1.5s"
        );
    }

    #[tokio::test]
    async fn a_service_that_cannot_be_asked_is_an_error_with_a_way_out() {
        for url in [
            "http://127.0.0.1:9/",
            "checkip.example.com",
            "ftp://example.com",
        ] {
            let echo = Echo {
                url: url.to_owned(),
                trust: Trust::default(),
            };
            let error = echo.public_address().await.unwrap_err();
            assert!(error.hint().unwrap().contains("builder.ingress_cidrs"));
        }
    }
}
