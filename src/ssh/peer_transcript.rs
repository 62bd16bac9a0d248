//! What a host says on one connection, kept to tell afterwards where it hung up.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::error::Stage;

/// How much is kept: twenty lines may come before the version, as russh has it.
const GREETING: usize = 21 * LINE;

/// The longest line of a greeting, and as much as is quoted.
const LINE: usize = 255;

/// What was heard, shared by those who listen.
#[derive(Debug, Clone, Default)]
pub(super) struct PeerTranscript(Arc<Mutex<Words>>);

#[derive(Debug, Default)]
struct Words {
    /// The first bytes.
    first: Vec<u8>,
    /// What it has to say to whom logs in, and why it ends the connection.
    told: Vec<String>,
    /// The error that ended the connection on this side.
    broke: Option<russh::Error>,
}

impl PeerTranscript {
    fn words(&self) -> MutexGuard<'_, Words> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the stream, listened to.
    pub(super) fn on<S>(&self, stream: S) -> Listening<S> {
        let transcript = self.clone();
        Listening { stream, transcript }
    }

    /// Notes what it says before it lets somebody in, and when it hangs up.
    pub(super) fn told(&self, text: &str) {
        let text = text.chars().take(LINE).collect();
        let told = &mut self.words().told;
        if told.len() < 2 {
            told.push(text);
        }
    }

    /// Notes what ended the connection on this side.
    pub(super) fn breaks(&self, error: russh::Error) {
        self.words().broke = Some(error);
    }

    /// Returns what ended the connection on this side, if anything did.
    pub(super) fn broke(&self) -> Option<russh::Error> {
        self.words().broke.take()
    }

    fn bytes(&self, bytes: &[u8]) {
        let first = &mut self.words().first;
        let room = GREETING.saturating_sub(first.len());
        first.extend(bytes.iter().take(room));
    }

    /// Returns what a host that has not proven itself was at.
    pub(super) fn stage(&self) -> Stage {
        let first = &self.words().first;
        let greets = first.split(|b| *b == b'\n').any(|l| l.starts_with(b"SSH-"));
        match greets {
            true => Stage::KeyExchange,
            false => Stage::Connect,
        }
    }

    /// Returns what it said for people when it hung up at `stage`, on one line.
    pub(super) fn said(&self, stage: Stage) -> String {
        let words = self.words();
        let said = match stage {
            Stage::Connect => {
                let greeting = String::from_utf8_lossy(&words.first);
                greeting.chars().take(LINE).collect()
            }
            Stage::KeyExchange | Stage::Login => words.told.join(" "),
        };
        let words: Vec<&str> = said.split_whitespace().collect();
        words.join(" ")
    }
}

/// A stream of which the beginning is heard.
pub(super) struct Listening<S> {
    stream: S,
    transcript: PeerTranscript,
}

impl<S: AsyncRead + Unpin> AsyncRead for Listening<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        self.transcript.bytes(&buf.filled()[before..]);
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Listening<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
