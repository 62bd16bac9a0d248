//! A TCP connection that acknowledges at once what it receives.
//!
//! sshd sends its small packets one after another only once a command runs (it sets `TCP_NODELAY` no sooner): until
//! then each waits for the acknowledgement of the one before, which Linux puts off for 40 ms where nothing is sent.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

pub(super) struct Prompt(TcpStream);

impl Prompt {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self(stream)
    }

    /// Sends what acknowledgement there is to send. Linux forgets the wish with the next segments, and other kernels
    /// know none.
    fn acknowledge(&self) {
        #[cfg(target_os = "linux")]
        let _later = self.0.set_quickack(true);
    }
}

impl AsyncRead for Prompt {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.0).poll_read(cx, buf);
        if read.is_pending() {
            self.acknowledge();
        }
        read
    }
}

impl AsyncWrite for Prompt {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::time::{Duration, Instant};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// Answers a hundred questions, so that Linux takes the connection for a conversation, then says something of its
    /// own accord twice, without `TCP_NODELAY`.
    fn talk(listener: &TcpListener) -> io::Result<()> {
        let (mut stream, _) = listener.accept()?;
        let mut question = [0];
        for _ in 0..100 {
            stream.read_exact(&mut question)?;
            stream.write_all(b"a")?;
        }
        stream.write_all(b"1")?;
        stream.write_all(b"2")
    }

    #[tokio::test]
    async fn what_is_sent_in_small_pieces_is_not_waited_for() {
        let mut fastest = Duration::MAX;
        for _ in 0..5 {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            let server = std::thread::spawn(move || talk(&listener));
            let mut stream = Prompt::new(TcpStream::connect(address).await.unwrap());
            let mut heard = [0];
            for _ in 0..100 {
                stream.write_all(b"q").await.unwrap();
                stream.read_exact(&mut heard).await.unwrap();
            }
            let begun = Instant::now();
            stream.read_exact(&mut heard).await.unwrap();
            stream.read_exact(&mut heard).await.unwrap();
            fastest = fastest.min(begun.elapsed());
            assert_eq!(heard, *b"2");
            server.join().unwrap().unwrap();
        }
        assert!(fastest < Duration::from_millis(30), "{fastest:?}");
    }
}
