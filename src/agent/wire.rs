//! One connection to an agent: noise before the first frame, then frames both ways.

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use amibake_protocol::bundle::{Hash, Hasher};
use amibake_protocol::frame::{self, BLOB_BYTES, Frame, HEADER_BYTES, Header};
use amibake_protocol::message::{AgentRunId, Reply, ToAgent, ToController};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;

use super::asks::Answered;
use super::{AgentError, Privilege, RunRequest, script};
use crate::transport::{BoxFuture, Channel, ExitStatus};

/// How much a login may say before the script does.
const NOISE_BYTES: usize = 64 << 10;
/// How long one piece may wait to be taken.
const STALLED: Duration = Duration::from_mins(2);
/// How much is gathered before it is written: a bundle has thousands of small frames.
const GATHERED: usize = 64 << 10;
/// How much of what came is decoded in advance.
const READ_AHEAD: usize = 32 << 10;
/// A file of this size is read here: to have another thread do it takes longer.
const SMALL: u64 = 64 << 10;
/// How much of standard error is kept.
const STDERR_BYTES: usize = 16 << 10;

/// What comes from the agent.
#[derive(Debug)]
pub(super) enum Received {
    /// A message, and how much memory it takes.
    Message(ToController, u64),
    /// A piece of the file that was announced.
    Bytes(Vec<u8>),
}

type Stdin = Box<dyn AsyncWrite + Send + Unpin>;

/// A connection whose command was started.
pub(super) struct Wire {
    sender: Sender,
    stdout: BufReader<Box<dyn AsyncRead + Send + Unpin>>,
    last: Last,
    asked_again: Arc<Notify>,
}

/// The way to the agent.
pub(super) struct Sender {
    to: Stdin,
    /// What is still to be written, before all that follows.
    waiting: Vec<u8>,
}

/// What explains an end.
pub(super) struct Last {
    stderr: JoinHandle<String>,
    exit: BoxFuture<'static, io::Result<ExitStatus>>,
    /// Whether the agent itself has spoken; then an end is a cut link.
    spoke: bool,
}

/// What comes, in the pieces in which it came: most events come many at once, and to wake somebody up for each takes
/// longer than to read it.
pub(super) struct Arrivals {
    pieces: mpsc::Receiver<Vec<Result<Received, AgentError>>>,
    arrived: VecDeque<Result<Received, AgentError>>,
}

impl Arrivals {
    /// Returns what comes next; `None` is the end of the link.
    pub(super) async fn next(&mut self) -> Option<Result<Received, AgentError>> {
        if self.arrived.is_empty() {
            self.arrived = self.pieces.recv().await?.into();
        }
        self.arrived.pop_front()
    }
}

/// Returns a name that no other run has.
pub(super) fn new_run_id() -> AgentRunId {
    let mut bytes = [0_u8; 8];
    let filled = ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut bytes);
    if filled.is_err() {
        bytes[..4].copy_from_slice(&std::process::id().to_be_bytes());
    }
    AgentRunId::try_from(format!("r{}", hex::encode(bytes)))
        .unwrap_or_else(|_| unreachable!("hexadecimal digits name a run"))
}

/// Writes what the script's first `read` skips: the password for `sudo`, then the mark.
pub(super) async fn give_password(to: &mut Stdin, privilege: &Privilege) -> io::Result<()> {
    if let Privilege::Root {
        password: Some(password),
    } = privilege
    {
        let lines = format!("{}\n{}\n", password.expose(), script::BEGIN);
        to.write_all(lines.as_bytes()).await?;
        to.flush().await?;
    }
    Ok(())
}

/// Reads what fits; the rest is read and forgotten, so that the writer never blocks. Says when
/// `sudo` asks for the second time: the first password was wrong, and there is no other.
async fn read_some(from: &mut (dyn AsyncRead + Send + Unpin), asked_again: &Notify) -> String {
    let (mut kept, mut part) = (Vec::new(), vec![0; 4096]);
    while let Ok(n @ 1..) = from.read(&mut part).await {
        kept.extend_from_slice(&part[..n]);
        if String::from_utf8_lossy(&kept)
            .matches(script::PROMPT)
            .count()
            > 1
        {
            asked_again.notify_one();
        }
        if kept.len() > STDERR_BYTES {
            kept.drain(..kept.len() - STDERR_BYTES);
        }
    }
    String::from_utf8_lossy(&kept).into_owned()
}

impl Wire {
    pub(super) fn new(channel: Channel) -> Self {
        let mut stderr = channel.stderr;
        let asked_again = Arc::new(Notify::new());
        let told = Arc::clone(&asked_again);
        Self {
            sender: Sender {
                to: channel.stdin,
                waiting: Vec::new(),
            },
            stdout: BufReader::with_capacity(READ_AHEAD, channel.stdout),
            last: Last {
                stderr: tokio::spawn(async move { read_some(&mut *stderr, &told).await }),
                exit: channel.exit,
                spoke: false,
            },
            asked_again,
        }
    }

    /// Gets the agent running: answers the script until it says `have`.
    pub(super) async fn ready(
        &mut self,
        request: &RunRequest<'_>,
        run: &AgentRunId,
    ) -> Result<(), AgentError> {
        give_password(&mut self.sender.to, &request.privilege)
            .await
            .map_err(AgentError::Link)?;
        let mark = format!("amibake {run} ");
        let mut noise = NOISE_BYTES;
        loop {
            let asked_again = Arc::clone(&self.asked_again);
            let line = tokio::select! {
                line = self.line(&mut noise) => line?,
                () = asked_again.notified() => {
                    return Err(AgentError::Sudo("the password was not accepted".to_owned()));
                }
            };
            let Some(at) = line.find(&mark) else { continue };
            let said: Vec<&str> = line[at + mark.len()..].split_whitespace().collect();
            match said.as_slice() {
                ["have"] => return Ok(()),
                ["need", hash] => self.ship(request, hash).await?,
                ["none", architecture] => {
                    let architecture = architecture.chars().take(32).collect();
                    return Err(AgentError::NoAgent(architecture));
                }
                _ => return Err(AgentError::OutOfPlace("the script spoke oddly".to_owned())),
            }
        }
    }

    async fn line(&mut self, noise: &mut usize) -> Result<String, AgentError> {
        let mut line = Vec::new();
        loop {
            match self.stdout.read_u8().await {
                Ok(b'\n') => return Ok(String::from_utf8_lossy(&line).into_owned()),
                Ok(byte) => line.push(byte),
                Err(_) => return Err(self.last.why().await),
            }
            *noise = noise
                .checked_sub(1)
                .ok_or_else(|| AgentError::OutOfPlace("too much before its answer".to_owned()))?;
        }
    }

    async fn ship(&mut self, request: &RunRequest<'_>, hash: &str) -> Result<(), AgentError> {
        let known = ["x86_64", "aarch64"].into_iter();
        let program = known
            .filter_map(|architecture| request.programs.get(architecture))
            .find(|program| program.hash().as_str() == hash)
            .ok_or_else(|| AgentError::OutOfPlace("it wants an unknown agent".to_owned()))?;
        self.sender.raw(program.packed()).await?;
        self.sender.flush().await
    }

    pub(super) async fn send(&mut self, message: &ToAgent) -> Result<(), AgentError> {
        self.sender.send(message).await
    }

    /// Sends a message no later than the next one that is not put.
    pub(super) async fn put(&mut self, message: &ToAgent) -> Result<(), AgentError> {
        self.sender.put(&encode(message)?).await
    }

    /// Sends what was put.
    pub(super) async fn flush(&mut self) -> Result<(), AgentError> {
        self.sender.flush().await
    }

    /// Puts a file that had this hash when it was looked at.
    pub(super) async fn put_file(
        &mut self,
        path: &Path,
        size: u64,
        hash: &Hash,
    ) -> Result<(), AgentError> {
        match self.sender.put_file(path, size).await? == *hash {
            true => Ok(()),
            false => Err(AgentError::Changed(path.to_path_buf())),
        }
    }

    pub(super) async fn put_bytes(&mut self, bytes: &[u8]) -> Result<(), AgentError> {
        for part in bytes.chunks(BLOB_BYTES) {
            self.sender.put(&frame::encode_blob(part)).await?;
        }
        Ok(())
    }

    /// Reads the first message.
    pub(super) async fn message(&mut self) -> Result<ToController, AgentError> {
        match read(&mut self.stdout).await {
            Ok(Some(frame)) => {
                self.last.spoke = true;
                match decode(frame)? {
                    Received::Message(message, _) => Ok(message),
                    Received::Bytes(_) => {
                        let wrong = "bytes came that were not asked for";
                        Err(AgentError::OutOfPlace(wrong.to_owned()))
                    }
                }
            }
            Ok(None) => Err(self.last.why().await),
            Err(error) => Err(error),
        }
    }

    /// Parts it for following: messages are read by a task of their own, few in advance.
    pub(super) fn split(self) -> (Sender, Arrivals, Last) {
        let (to, pieces) = mpsc::channel(1);
        let mut stdout = self.stdout;
        tokio::spawn(async move {
            loop {
                let mut piece = Vec::new();
                let ended = read_piece(&mut stdout, &mut piece).await;
                let is_empty = piece.is_empty();
                if (!is_empty && to.send(piece).await.is_err()) || ended {
                    return;
                }
            }
        });
        let arrivals = Arrivals {
            pieces,
            arrived: VecDeque::new(),
        };
        (self.sender, arrivals, self.last)
    }
}

/// Reads a frame, and those behind it that are here already; returns whether nothing follows them.
async fn read_piece(
    from: &mut BufReader<impl AsyncRead + Unpin>,
    piece: &mut Vec<Result<Received, AgentError>>,
) -> bool {
    loop {
        let message = match read(from).await {
            Ok(Some(frame)) => decode(frame),
            Ok(None) => return true,
            Err(error) => Err(error),
        };
        let failed = message.is_err();
        piece.push(message);
        if failed || !has_frame(from.buffer()) {
            return failed;
        }
    }
}

/// Returns whether all of a frame is in `buffer`.
fn has_frame(buffer: &[u8]) -> bool {
    let header = buffer.first_chunk::<HEADER_BYTES>();
    let header = header.and_then(|header| Header::parse(*header).ok());
    header.is_some_and(|header| buffer.len() - HEADER_BYTES >= header.len)
}

fn decode(frame: Frame) -> Result<Received, AgentError> {
    let weight = match &frame {
        Frame::Message(body) => frame::weight(body),
        Frame::Blob(body) => body.len(),
    };
    if weight > frame::MAX_WEIGHT {
        return Err(AgentError::TooMuch("data in one message"));
    }
    match frame {
        Frame::Blob(bytes) => Ok(Received::Bytes(bytes)),
        message @ Frame::Message(_) => Ok(Received::Message(message.message()?, weight as u64)),
    }
}

/// Reads one frame; a link that ends, even inside a frame, is `None`: it can be mended.
async fn read(from: &mut (impl AsyncRead + Unpin)) -> Result<Option<Frame>, AgentError> {
    let mut header = [0; HEADER_BYTES];
    if from.read_exact(&mut header).await.is_err() {
        return Ok(None);
    }
    let Header { kind, len } = Header::parse(header)?;
    if len > frame::MAX_WEIGHT {
        return Err(AgentError::TooMuch("data in one message"));
    }
    let mut body = Vec::new();
    let got = from.take(len as u64).read_to_end(&mut body).await;
    if got.is_err() || body.len() < len {
        return Ok(None);
    }
    Ok(Some(Frame::assemble(kind, body)))
}

impl Sender {
    pub(super) async fn send(&mut self, message: &ToAgent) -> Result<(), AgentError> {
        self.put(&encode(message)?).await?;
        self.flush().await
    }

    /// Puts exactly `size` bytes of a file, and returns their hash; one that is shorter now is an error.
    pub(super) async fn put_file(&mut self, path: &Path, size: u64) -> Result<Hash, AgentError> {
        let failed = |source| AgentError::Bundle {
            path: path.to_path_buf(),
            source,
        };
        if size <= SMALL {
            let bytes = read_small(path, size).map_err(failed)?;
            if bytes.len() as u64 != size {
                return Err(AgentError::Changed(path.to_path_buf()));
            }
            if size > 0 {
                self.put(&frame::encode_blob(&bytes)).await?;
            }
            return Ok(Hash::of(&bytes));
        }
        let mut file = tokio::fs::File::open(path).await.map_err(failed)?;
        let (mut left, mut part) = (size, vec![0; BLOB_BYTES]);
        let mut hasher = Hasher::default();
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(BLOB_BYTES).min(BLOB_BYTES);
            let n = file.read(&mut part[..most]).await.map_err(failed)?;
            if n == 0 {
                return Err(AgentError::Changed(path.to_path_buf()));
            }
            hasher.update(&part[..n]);
            self.put(&frame::encode_blob(&part[..n])).await?;
            left -= n as u64;
        }
        Ok(hasher.finish())
    }

    pub(super) async fn answer(&mut self, id: u64, answer: Answered) -> Result<(), AgentError> {
        match answer {
            Answered::Value(value) => {
                let reply = Reply::Value { value };
                self.send(&ToAgent::Answer { id, reply }).await
            }
            Answered::Refused(reason) => {
                let reply = Reply::Refused { reason };
                self.send(&ToAgent::Answer { id, reply }).await
            }
            Answered::File { path, mode, size } => {
                let reply = Reply::File { mode, size };
                self.put(&encode(&ToAgent::Answer { id, reply })?).await?;
                self.put_file(&path, size).await?;
                self.flush().await
            }
        }
    }

    /// Writes with what is put before and after it; [`Self::flush`] sees to the last of it.
    async fn put(&mut self, bytes: &[u8]) -> Result<(), AgentError> {
        self.waiting.extend_from_slice(bytes);
        match self.waiting.len() < GATHERED {
            true => Ok(()),
            false => self.write_waiting().await,
        }
    }

    async fn write_waiting(&mut self) -> Result<(), AgentError> {
        let waiting = std::mem::take(&mut self.waiting);
        self.raw(&waiting).await
    }

    /// Writes in pieces, each of which must be taken in time: a machine that reads nothing more
    /// would be waited for without end.
    async fn raw(&mut self, bytes: &[u8]) -> Result<(), AgentError> {
        for part in bytes.chunks(BLOB_BYTES) {
            tokio::time::timeout(STALLED, self.to.write_all(part))
                .await
                .unwrap_or_else(|_| Err(io::Error::other("it takes nothing more")))
                .map_err(AgentError::Link)?;
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), AgentError> {
        self.write_waiting().await?;
        self.to.flush().await.map_err(AgentError::Link)
    }
}

impl Last {
    /// Explains why the connection ended while a run was followed: it can be mended.
    pub(super) async fn explain(self) -> AgentError {
        let mut last = self;
        last.why().await
    }

    async fn why(&mut self) -> AgentError {
        let stderr = tokio::time::timeout(Duration::from_secs(5), &mut self.stderr).await;
        let stderr = stderr.ok().and_then(Result::ok).unwrap_or_default();
        let exit = tokio::time::timeout(Duration::from_secs(5), &mut self.exit).await;
        match exit {
            Ok(Ok(ExitStatus::Status(_))) if !self.spoke => script::why_not(&stderr),
            _ => AgentError::Link(io::Error::other(match stderr.trim() {
                "" => "the connection was cut".to_owned(),
                said => said.to_owned(),
            })),
        }
    }
}

fn read_small(path: &Path, size: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path)?;
    std::io::Read::read_to_end(&mut std::io::Read::take(file, size), &mut bytes)?;
    Ok(bytes)
}

/// Returns the frame of a message, as the wire carries it.
fn encode(message: &ToAgent) -> Result<Vec<u8>, AgentError> {
    Ok(frame::encode(message)?)
}
