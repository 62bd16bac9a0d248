//! Answers as servers send them. ureq unpacks what is said to be `gzip` and takes away the headers that say so; here
//! a task decides whether that is done, and its result has those headers.
//!
//! Nothing of ureq's turns that off, so the header's name is written otherwise before ureq reads it, in as many
//! letters, and back afterwards.

use flate2::read::MultiGzDecoder;
use ureq::Error;
use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, NextTimeout, Transport};

use std::io::Read;

const NAME: &[u8] = b"\ncontent-encoding:";
const OTHER: &[u8] = b"\ncontent.encoding:";
const END: &[u8] = b"\r\n\r\n";

/// Returns the name that a header was sent with.
pub(super) fn header_name(read: &str) -> &str {
    match read {
        "content.encoding" => "content-encoding",
        name => name,
    }
}

/// Returns what `body` holds under that `Content-Encoding`.
pub(super) fn unpacked(encoding: &str, body: Box<dyn Read>) -> Box<dyn Read> {
    match encoding.eq_ignore_ascii_case("gzip") {
        true => Box::new(MultiGzDecoder::new(body)),
        false => body,
    }
}

/// Hides the header on every connection.
#[derive(Debug)]
pub(super) struct AsSent;

impl<In: Transport> Connector<In> for AsSent {
    type Out = Hiding<In>;

    fn connect(
        &self,
        _: &ConnectionDetails,
        inner: Option<In>,
    ) -> Result<Option<Self::Out>, Error> {
        Ok(inner.map(|inner| Hiding {
            inner,
            in_headers: true,
        }))
    }
}

/// A connection on which the header is hidden.
#[derive(Debug)]
pub(super) struct Hiding<In> {
    inner: In,
    /// Whether the headers of the answer have not ended yet.
    in_headers: bool,
}

impl<In: Transport> Transport for Hiding<In> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.in_headers = true;
        self.inner.transmit_output(amount, timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        let more = self.inner.await_input(timeout)?;
        if self.in_headers {
            self.in_headers = !hide(self.inner.buffers());
        }
        Ok(more)
    }

    fn is_open(&mut self) -> bool {
        self.inner.is_open()
    }

    fn is_tls(&self) -> bool {
        self.inner.is_tls()
    }
}

/// Hides the header in what has come; returns whether the headers end there.
fn hide(buffers: &mut dyn Buffers) -> bool {
    let mut came = buffers.input().to_vec();
    let end = came.windows(END.len()).position(|bytes| bytes == END);
    let headers = end.unwrap_or(came.len());
    let is_name = |bytes: &[u8]| bytes.eq_ignore_ascii_case(NAME);
    if let Some(at) = came[..headers].windows(NAME.len()).position(is_name) {
        came[at..at + OTHER.len()].copy_from_slice(OTHER);
        buffers.input_consume(came.len());
        buffers.input_append_buf()[..came.len()].copy_from_slice(&came);
        buffers.input_appended(came.len());
    }
    // Before the answer there may be one that says to go on.
    end.is_some() && !came.starts_with(b"HTTP/1.1 1")
}
