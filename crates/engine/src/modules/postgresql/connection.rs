//! A connection to a PostgreSQL server, by the protocol's simple queries; errors read as psycopg2's do.
//!
//! Passwords are proved by SCRAM-SHA-256 or MD5, or sent in the clear on a socket of this machine; there is no TLS.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use nix::errno::Errno;

use super::scram::Client;

/// How much one message may hold.
const MOST_BYTES: usize = 64 << 20;
/// How many rows one answer may have.
const MOST_ROWS: usize = 1_000_000;
const PROTOCOL: u32 = 196_608;

/// Where a server is, and who logs in.
#[derive(Clone)]
pub(super) struct Login {
    /// A name, or the folder of a socket.
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) user: String,
    pub(super) password: Option<String>,
    pub(super) database: String,
    /// Options of the session: `-c name=value`.
    pub(super) options: Option<String>,
    pub(super) timeout: Option<Duration>,
}

trait Channel: Read + Write {}

impl<T: Read + Write> Channel for T {}

/// What a server refuses.
#[derive(Debug, Clone, Default, PartialEq, Eq, thiserror::Error)]
pub(super) struct Refusal {
    pub(super) severity: String,
    /// Five letters that tell what kind it is.
    pub(super) code: String,
    pub(super) message: String,
    detail: Option<String>,
    hint: Option<String>,
    /// The line of the query that it is about, and where in it.
    line: Option<(usize, String, usize)>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.message)?;
        if let Some((number, line, column)) = &self.line {
            let first = format!("LINE {number}: ");
            writeln!(f, "{first}{line}")?;
            writeln!(f, "{:width$}^", "", width = first.len() + column)?;
        }
        if let Some(detail) = &self.detail {
            writeln!(f, "DETAIL:  {detail}")?;
        }
        if let Some(hint) = &self.hint {
            writeln!(f, "HINT:  {hint}")?;
        }
        Ok(())
    }
}

/// Why a query brought nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum PgError {
    #[error("{0}")]
    Refused(#[from] Box<Refusal>),
    #[error("lost the server while it was asked: {0}")]
    Lost(#[from] io::Error),
}

impl PgError {
    /// Whether it is what psycopg2 calls a `ProgrammingError`.
    pub(super) fn is_programming(&self) -> bool {
        match self {
            Self::Refused(refusal) => ["42", "3D", "3F"]
                .iter()
                .any(|class| refusal.code.starts_with(class)),
            Self::Lost(_) => false,
        }
    }
}

/// A table that a query brings.
#[derive(Debug, Default)]
pub(super) struct Answer {
    columns: Vec<String>,
    pub(super) rows: Vec<Vec<Option<String>>>,
}

impl Answer {
    /// Returns the first row by the names of its columns.
    pub(super) fn first(self) -> Option<Record> {
        let row = self.rows.into_iter().next()?;
        Some(Record(self.columns.into_iter().zip(row).collect()))
    }
}

/// A row by the names of its columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record(Vec<(String, Option<String>)>);

impl Record {
    /// Returns the text of a column; none where it is NULL, or not there.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(known, _)| known == name);
        found.and_then(|(_, value)| value.as_deref())
    }
}

/// A server that knows who we are.
pub(super) struct Connection {
    channel: Box<dyn Channel>,
    /// As libpq counts it: 150008 is 15.8.
    pub(super) version: u32,
    pub(super) backslashes: bool,
}

impl Connection {
    /// Logs in.
    ///
    /// # Errors
    /// What libpq says.
    pub(super) fn open(login: &Login) -> Result<Self, String> {
        if login.host.starts_with('/') {
            let path = PathBuf::from(&login.host).join(format!(".s.PGSQL.{}", login.port));
            let what = format!(
                "connection to server on socket \"{}\" failed: ",
                path.display()
            );
            let stream = UnixStream::connect(&path).map_err(|error| {
                let ask = "Is the server running locally and accepting connections on that socket?";
                format!("{what}{}\n\t{ask}\n", told(&error))
            })?;
            let prepared = stream
                .set_read_timeout(login.timeout)
                .and_then(|()| stream.try_clone());
            let timer = prepared.map_err(|error| format!("{what}{error}"))?;
            let opened = Self::begin(Box::new(stream), login, true);
            let opened = opened.map_err(|why| format!("{what}{why}"))?;
            timer
                .set_read_timeout(None)
                .map_err(|error| error.to_string())?;
            return Ok(opened);
        }
        Self::by_network(login)
    }

    fn by_network(login: &Login) -> Result<Self, String> {
        let Login { host, port, .. } = login;
        let addresses = (host.as_str(), *port).to_socket_addrs().map_err(|_| {
            format!(
                "could not translate host name \"{host}\" to address: Name or service not known\n"
            )
        })?;
        let mut failed = String::new();
        for address in addresses {
            let what = format!(
                "connection to server at \"{host}\" ({}), port {port} failed: ",
                address.ip()
            );
            let tried = match login.timeout {
                Some(timeout) => TcpStream::connect_timeout(&address, timeout),
                None => TcpStream::connect(address),
            };
            let stream = match tried {
                Ok(stream) => stream,
                Err(error) => {
                    let ask =
                        "Is the server running on that host and accepting TCP/IP connections?";
                    failed += &format!("{what}{}\n\t{ask}\n", told(&error));
                    continue;
                }
            };
            let prepared = stream
                .set_nodelay(true)
                .and_then(|()| stream.set_read_timeout(login.timeout))
                .and_then(|()| stream.try_clone());
            let timer = prepared.map_err(|error| format!("{what}{error}"))?;
            let opened = Self::begin(Box::new(stream), login, address.ip().is_loopback());
            let opened = opened.map_err(|why| format!("{failed}{what}{why}"))?;
            timer
                .set_read_timeout(None)
                .map_err(|error| error.to_string())?;
            return Ok(opened);
        }
        Err(failed)
    }

    fn begin(channel: Box<dyn Channel>, login: &Login, private: bool) -> Result<Self, String> {
        let mut connection = Self {
            channel,
            version: 0,
            backslashes: false,
        };
        connection.hello(login).map_err(|error| error.to_string())?;
        match connection.prove(login, private) {
            Ok(()) => Ok(connection),
            Err(Unproved::Lost(error)) => Err(format!("{error}\n")),
            Err(Unproved::Refused(refusal)) => Err(format!("{}:  {refusal}", refusal.severity)),
            Err(Unproved::NoPassword) => Err("fe_sendauth: no password supplied\n".to_owned()),
            Err(Unproved::Unknown(why)) => Err(format!("{why}\n")),
        }
    }

    fn hello(&mut self, login: &Login) -> io::Result<()> {
        let mut body = PROTOCOL.to_be_bytes().to_vec();
        let options = login.options.as_deref();
        let pairs = [
            ("user", Some(login.user.as_str())),
            ("database", Some(login.database.as_str())),
            ("client_encoding", Some("UTF8")),
            ("options", options.filter(|options| !options.is_empty())),
        ];
        for (name, value) in pairs {
            if let Some(value) = value {
                for text in [name, value] {
                    body.extend_from_slice(text.as_bytes());
                    body.push(0);
                }
            }
        }
        body.push(0);
        self.write(&framed(&body))
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.channel.write_all(bytes)?;
        self.channel.flush()
    }

    fn send(&mut self, kind: u8, body: &[u8]) -> io::Result<()> {
        let mut message = vec![kind];
        message.extend(framed(body));
        self.write(&message)
    }

    fn read(&mut self) -> io::Result<(u8, Vec<u8>)> {
        let mut head = [0; 5];
        self.channel.read_exact(&mut head)?;
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        match length.checked_sub(4) {
            Some(length) if length <= MOST_BYTES => {
                let mut body = vec![0; length];
                self.channel.read_exact(&mut body)?;
                Ok((head[0], body))
            }
            _ => Err(io::Error::other("an answer of the server is too large")),
        }
    }

    /// Goes on until the server is ready for queries.
    fn prove(&mut self, login: &Login, private: bool) -> Result<(), Unproved> {
        const OK: u32 = 0;
        const CLEAR: u32 = 3;
        const MD5: u32 = 5;
        const SASL: u32 = 10;
        const SASL_GOES_ON: u32 = 11;
        const SASL_ENDS: u32 = 12;
        let password = || login.password.as_deref().ok_or(Unproved::NoPassword);
        let mut scram = None;
        loop {
            let (kind, body) = self.read()?;
            match kind {
                b'E' => return Err(Unproved::Refused(Box::new(refusal(&body, "")))),
                b'S' => self.note(&body),
                b'Z' => return Ok(()),
                b'R' => {
                    let mut fields = Fields(&body);
                    match fields.u32()? {
                        OK => {}
                        CLEAR if private => self.send(b'p', &zeroed(password()?))?,
                        CLEAR => {
                            let why = "the server wants the password in the clear, which is not sent over a network";
                            return Err(Unproved::Unknown(why));
                        }
                        MD5 => {
                            let proof = md5(&login.user, password()?, fields.0);
                            self.send(b'p', &zeroed(&proof))?;
                        }
                        SASL => {
                            let client = Client::new(password()?)?;
                            self.send(b'p', &client.first())?;
                            scram = Some(client);
                        }
                        SASL_GOES_ON => {
                            let client = scram.as_mut();
                            let answer = client.and_then(|client| client.answer(fields.0));
                            let answer = answer
                                .ok_or(Unproved::Unknown("the server's SCRAM is malformed"))?;
                            self.send(b'p', answer.as_bytes())?;
                        }
                        SASL_ENDS
                            if scram.as_ref().is_some_and(|client| client.trusts(fields.0)) => {}
                        SASL_ENDS => {
                            return Err(Unproved::Unknown("the server does not know the password"));
                        }
                        _ => {
                            let why = "the server wants a kind of login that is not known here";
                            return Err(Unproved::Unknown(why));
                        }
                    }
                }
                _ => {}
            }
        }
    }

    /// Takes what the server says of itself.
    fn note(&mut self, body: &[u8]) {
        let mut fields = Fields(body);
        let (name, value) = (fields.text(), fields.text());
        match name.as_str() {
            "server_version" => self.version = version(&value),
            "standard_conforming_strings" => self.backslashes = value == "off",
            _ => {}
        }
    }

    /// Runs a query as it is.
    pub(super) fn query(&mut self, query: &str) -> Result<Answer, PgError> {
        self.send(b'Q', &zeroed(query))?;
        let (mut answer, mut refused) = (Answer::default(), None);
        loop {
            let (kind, body) = self.read()?;
            let mut fields = Fields(&body);
            match kind {
                b'T' => {
                    answer = Answer::default();
                    for _ in 0..fields.u16()? {
                        answer.columns.push(fields.text());
                        fields.bytes(18)?;
                    }
                }
                b'D' if answer.rows.len() == MOST_ROWS => {
                    return Err(
                        io::Error::other("an answer of the server has too many rows").into(),
                    );
                }
                b'D' => {
                    let count = fields.u16()?;
                    let row: io::Result<Vec<_>> = (0..count).map(|_| fields.value()).collect();
                    answer.rows.push(row?);
                }
                b'E' => refused = Some(refusal(&body, query)),
                b'S' => self.note(&body),
                b'Z' => break,
                _ => {}
            }
        }
        match refused {
            Some(refusal) => Err(Box::new(refusal).into()),
            None => Ok(answer),
        }
    }
}

/// Why nobody is logged in.
enum Unproved {
    Refused(Box<Refusal>),
    Lost(io::Error),
    NoPassword,
    Unknown(&'static str),
}

impl From<io::Error> for Unproved {
    fn from(error: io::Error) -> Self {
        Self::Lost(error)
    }
}

fn told(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(number) => Errno::from_raw(number).desc().to_owned(),
        None if error.kind() == io::ErrorKind::TimedOut => "timeout expired".to_owned(),
        None => error.to_string(),
    }
}

fn framed(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap_or(u32::MAX);
    let mut message = length.to_be_bytes().to_vec();
    message.extend_from_slice(body);
    message
}

fn zeroed(text: &str) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    bytes.push(0);
    bytes
}

fn md5(user: &str, password: &str, salt: &[u8]) -> String {
    use md5::{Digest as _, Md5};
    let inner = hex::encode(Md5::digest(format!("{password}{user}")));
    let outer = Md5::new().chain_update(inner).chain_update(salt).finalize();
    format!("md5{}", hex::encode(outer))
}

/// Returns `15.8 (Debian …)` as 150008.
fn version(text: &str) -> u32 {
    let number = text.split(|c: char| c != '.' && !c.is_ascii_digit()).next();
    let mut parts = number
        .unwrap_or_default()
        .split('.')
        .map(|part| part.parse().unwrap_or(0));
    let mut next = || parts.next().unwrap_or(0);
    match next() {
        major @ 10.. => major * 10_000 + next(),
        major => major * 10_000 + next() * 100 + next(),
    }
}

/// Reads a refusal, of a query that is at hand.
fn refusal(body: &[u8], query: &str) -> Refusal {
    let (mut fields, mut found) = (Fields(body), Refusal::default());
    let kind = |fields: &mut Fields<'_>| {
        let kind = fields.bytes(1).ok()?.first().copied();
        kind.filter(|kind| *kind != 0)
    };
    while let Some(kind) = kind(&mut fields) {
        let text = fields.text();
        match kind {
            b'V' => found.severity = text,
            b'C' => found.code = text,
            b'M' => found.message = text,
            b'D' => found.detail = Some(text),
            b'H' => found.hint = Some(text),
            b'P' => found.line = text.parse().ok().and_then(|at| line_at(query, at)),
            _ => {}
        }
    }
    found
}

/// Returns the line that holds a letter, counted from 1, and where in it.
fn line_at(query: &str, at: usize) -> Option<(usize, String, usize)> {
    let mut before = at.checked_sub(1)?;
    for (number, line) in (1..).zip(query.split('\n')) {
        let length = line.chars().count();
        if before <= length {
            return Some((number, line.to_owned(), before));
        }
        before -= length + 1;
    }
    None
}

/// Reads a message from its beginning.
struct Fields<'m>(&'m [u8]);

impl<'m> Fields<'m> {
    fn bytes(&mut self, count: usize) -> io::Result<&'m [u8]> {
        let cut = || {
            io::Error::new(
                io::ErrorKind::InvalidData,
                "a message of the server is cut short",
            )
        };
        let (taken, rest) = self.0.split_at_checked(count).ok_or_else(cut)?;
        self.0 = rest;
        Ok(taken)
    }

    fn u16(&mut self) -> io::Result<u16> {
        let bytes = self.bytes(2)?;
        Ok(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    fn u32(&mut self) -> io::Result<u32> {
        let bytes = self.bytes(4)?;
        Ok(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    /// Reads a value of a row; a length below zero stands for NULL.
    fn value(&mut self) -> io::Result<Option<String>> {
        let length = self.u32()?;
        if length == u32::MAX {
            return Ok(None);
        }
        let bytes = self.bytes(usize::try_from(length).unwrap_or(usize::MAX))?;
        Ok(Some(String::from_utf8_lossy(bytes).into_owned()))
    }

    /// Reads a text that ends with a zero.
    fn text(&mut self) -> String {
        let end = self.0.iter().position(|byte| *byte == 0);
        let (text, rest) = self.0.split_at(end.unwrap_or(self.0.len()));
        self.0 = rest.get(1..).unwrap_or_default();
        String::from_utf8_lossy(text).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_a_number() {
        assert_eq!(version("15.8 (Debian 15.8-0+deb12u1)"), 150_008);
        assert_eq!(version("9.6.24"), 90_624);
        assert_eq!(version("17beta1"), 170_000);
    }

    #[test]
    fn a_refusal_reads_as_psycopg2s() {
        let mut body = Vec::new();
        for (kind, text) in [
            (b'S', "FEHLER"),
            (b'V', "ERROR"),
            (b'C', "42601"),
            (b'M', "syntax error at or near \"selec\""),
            (b'P', "10"),
            (b'H', "Try another."),
        ] {
            body.push(kind);
            body.extend(zeroed(text));
        }
        body.push(0);
        let found = refusal(&body, "select 1\nselec 2");
        assert_eq!(
            found.to_string(),
            "syntax error at or near \"selec\"\nLINE 2: selec 2\n        ^\nHINT:  Try another.\n"
        );
        assert!(PgError::from(Box::new(found)).is_programming());
    }

    #[test]
    fn a_password_is_hashed_with_the_users_name_and_the_servers_salt() {
        // SELECT 'md5' || md5(md5('secret' || 'ann') || 'salt')
        assert_eq!(
            md5("ann", "secret", b"salt"),
            "md5b8f5ba9f485dba302ec0963f7ee9ba8f"
        );
    }

    #[test]
    fn a_value_may_be_null_and_is_never_longer_than_its_message() {
        assert_eq!(Fields(&[0xff; 4]).value().unwrap(), None);
        assert_eq!(
            Fields(&[0, 0, 0, 1, b'x']).value().unwrap().as_deref(),
            Some("x")
        );
        assert!(Fields(&[0, 0, 0, 9, b'x']).value().is_err());
    }
}
