//! A connection to a MySQL or MariaDB server: who logs in, what is asked, what comes back.
//!
//! The text protocol is all that the modules need, and small; there is no TLS. Errors read as PyMySQL's
//! do, since Ansible's modules show those.

use std::io;
use std::net::{TcpStream, ToSocketAddrs as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use amibake_playbook::value::Value;
use nix::errno::Errno;
use serde_json::Value as Json;

use super::auth::{self, Proof};
use super::packets::{Fields, Packets, put_text};
use super::sql;

/// How many rows one answer may have.
const MOST_ROWS: usize = 1_000_000;
/// UTF-8 in up to four bytes, by the number of its usual order.
const UTF8MB4: u8 = 45;
const MOST_PACKET: u32 = 0xff_ffff;

const LONG_PASSWORD: u32 = 1;
const LONG_FLAG: u32 = 1 << 2;
const CONNECT_WITH_DB: u32 = 1 << 3;
const PROTOCOL_41: u32 = 1 << 9;
const TRANSACTIONS: u32 = 1 << 13;
const SECURE_CONNECTION: u32 = 1 << 15;
const MULTI_RESULTS: u32 = 1 << 17;
const PLUGIN_AUTH: u32 = 1 << 19;
const LENGTH_OF_PROOF: u32 = 1 << 21;

const MORE_RESULTS: u16 = 1 << 3;
const NO_BACKSLASHES: u16 = 1 << 9;

/// Where a server is, and who logs in.
#[derive(Clone)]
pub(super) struct Login {
    pub(super) user: String,
    pub(super) password: String,
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) socket: Option<PathBuf>,
    pub(super) database: Option<String>,
    pub(super) timeout: Option<Duration>,
}

/// Why a server did not do what it was asked, as PyMySQL tells it.
#[derive(Debug, thiserror::Error)]
pub(super) enum SqlError {
    /// It said no.
    #[error("({code}, {})", quoted(.message))]
    Refused { code: u16, message: String },
    #[error("(2003, {})", quoted(&format!("Can't connect to MySQL server on {} ({})", quoted(.host), told(.source))))]
    Unreachable { host: String, source: io::Error },
    #[error("(2013, {})", quoted(&format!("Lost connection to MySQL server during query ({})", told(.0))))]
    Lost(#[from] io::Error),
    /// The values of a query do not fit it; Python's words.
    #[error("{0}")]
    Values(String),
    #[error("(2059, {})", quoted(&format!("Authentication plugin {} not configured", quoted(.0))))]
    Plugin(String),
    #[error(
        "the server wants the password of {0} in the clear, which is not sent over a network; name its socket \
         (login_unix_socket)"
    )]
    InTheClear(String),
}

impl SqlError {
    /// The server's number of the error.
    pub(super) fn code(&self) -> Option<u16> {
        match self {
            Self::Refused { code, .. } => Some(*code),
            Self::Unreachable { .. }
            | Self::Lost(_)
            | Self::Values(_)
            | Self::Plugin(_)
            | Self::InTheClear(_) => None,
        }
    }
}

/// Returns a text as Python's `repr`.
pub(super) fn quoted(text: &str) -> String {
    Value::str(text).repr()
}

/// Returns an error as Python shows an `OSError`.
fn told(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(number) => format!("[Errno {number}] {}", Errno::from_raw(number).desc()),
        None if error.kind() == io::ErrorKind::TimedOut => "timed out".to_owned(),
        None => error.to_string(),
    }
}

/// One row: the texts of its columns, none for NULL.
pub(super) type Row = Vec<Option<String>>;

/// A column of a table that a server answers with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) table: String,
    pub(super) name: String,
    /// The number of its type in the protocol.
    pub(super) kind: u8,
}

/// What a server answers to a query.
#[derive(Debug, Default)]
pub(super) struct Answer {
    /// How many rows were changed or, of rows that were asked for, how many there are.
    pub(super) affected: u64,
    pub(super) columns: Vec<Column>,
    pub(super) rows: Vec<Row>,
}

/// A server that knows who we are.
pub(super) struct Connection {
    packets: Packets,
    status: u16,
}

impl Connection {
    pub(super) fn open(login: &Login) -> Result<Self, SqlError> {
        let (packets, timer) = reach(login).map_err(|source| SqlError::Unreachable {
            host: login.host.clone(),
            source,
        })?;
        let mut connection = Self { packets, status: 0 };
        connection.log_in(login)?;
        timer.stop()?;
        Ok(connection)
    }

    fn log_in(&mut self, login: &Login) -> Result<(), SqlError> {
        let greeting = self.packets.read()?;
        let greeting = Greeting::read(&greeting)?;
        let private = login.socket.is_some();
        let plugin = &greeting.plugin;
        let known = auth::proof(plugin, &login.password, &greeting.challenge, private);
        let proof = match known {
            Proof::Says(said) => said,
            // The server tells which plugin the user has once it knows the name.
            Proof::Unknown | Proof::InTheClear => Vec::new(),
        };
        self.packets.write(&hello(login, plugin, &proof))?;
        self.prove(login)
    }

    /// Goes on until the server says yes or no.
    fn prove(&mut self, login: &Login) -> Result<(), SqlError> {
        let private = login.socket.is_some();
        loop {
            let packet = self.packets.read()?;
            match packet.split_first() {
                Some((0, rest)) => {
                    self.status = Done::read(rest)?.status;
                    return Ok(());
                }
                Some((0xff, rest)) => return Err(refusal(rest)),
                // The server would have another plugin.
                Some((0xfe, rest)) => {
                    let mut fields = Fields(rest);
                    let plugin = String::from_utf8_lossy(fields.until_zero()).into_owned();
                    match auth::proof(&plugin, &login.password, fields.0, private) {
                        Proof::Says(said) => self.packets.write(&said)?,
                        Proof::Unknown => return Err(SqlError::Plugin(plugin)),
                        Proof::InTheClear => return Err(SqlError::InTheClear(login.user.clone())),
                    }
                }
                // `caching_sha2_password` remembers the password, or it does not.
                Some((1, [3])) => {}
                Some((1, [4])) if private => self.packets.write(&auth::clear(&login.password))?,
                Some((1, [4])) => return Err(SqlError::InTheClear(login.user.clone())),
                _ => return Err(garbled()),
            }
        }
    }

    /// Runs a query whose `%s` stand for `values`.
    pub(super) fn execute(&mut self, query: &str, values: &[&str]) -> Result<Answer, SqlError> {
        let bound = self.bound(query, values);
        self.query(&bound)
    }

    /// Returns a query with its values in the places of `%s`.
    pub(super) fn bound(&self, query: &str, values: &[&str]) -> String {
        let backslashes = self.status & NO_BACKSLASHES == 0;
        let values: Vec<String> = values
            .iter()
            .map(|value| sql::literal(value, backslashes))
            .collect();
        sql::filled(query, &values)
    }

    /// Returns a value of a task as PyMySQL writes it into a query.
    pub(super) fn literal(&self, value: &Json) -> String {
        match value {
            Json::Null => "NULL".to_owned(),
            Json::Bool(truth) => truth.to_string(),
            Json::Number(number) => number.to_string(),
            Json::String(text) => self.bound("%s", &[text]),
            Json::Array(_) | Json::Object(_) => self.bound("%s", &[&value.to_string()]),
        }
    }

    /// Returns the first row that a query finds.
    pub(super) fn row(&mut self, query: &str, values: &[&str]) -> Result<Option<Row>, SqlError> {
        Ok(self.execute(query, values)?.rows.into_iter().next())
    }

    /// Returns the first column of the first row; none where there is no row, or NULL.
    pub(super) fn value(
        &mut self,
        query: &str,
        values: &[&str],
    ) -> Result<Option<String>, SqlError> {
        let row = self.row(query, values)?;
        Ok(row.and_then(|row| row.into_iter().next()).flatten())
    }

    /// Runs a query as it is.
    pub(super) fn query(&mut self, query: &str) -> Result<Answer, SqlError> {
        const QUERY: u8 = 3;
        self.packets.begin();
        let mut packet = vec![QUERY];
        packet.extend_from_slice(query.as_bytes());
        self.packets.write(&packet)?;
        let answer = self.answer()?;
        // What a procedure returns besides is not asked for.
        while self.status & MORE_RESULTS != 0 {
            self.answer()?;
        }
        Ok(answer)
    }

    fn answer(&mut self) -> Result<Answer, SqlError> {
        let packet = self.packets.read()?;
        match packet.split_first() {
            Some((0, rest)) => {
                let done = Done::read(rest)?;
                self.status = done.status;
                Ok(Answer {
                    affected: done.affected,
                    ..Answer::default()
                })
            }
            Some((0xff, rest)) => Err(refusal(rest)),
            _ => self.rows(&packet),
        }
    }

    /// Reads a table: how many columns, what they are, the rows.
    fn rows(&mut self, head: &[u8]) -> Result<Answer, SqlError> {
        let columns = Fields(head).length()?.ok_or_else(garbled)?;
        let mut described = Vec::new();
        for _ in 0..columns {
            described.push(column(&self.packets.read()?)?);
        }
        let end = self.packets.read()?;
        self.end(&end)?;
        let mut rows = Vec::new();
        loop {
            let packet = self.packets.read()?;
            match packet.first() {
                Some(0xff) => return Err(refusal(&packet[1..])),
                Some(0xfe) if packet.len() < 9 => {
                    self.end(&packet)?;
                    break;
                }
                _ if rows.len() == MOST_ROWS => {
                    return Err(
                        io::Error::other("an answer of the server has too many rows").into(),
                    );
                }
                _ => rows.push(row(&packet, described.len())?),
            }
        }
        Ok(Answer {
            affected: rows.len() as u64,
            columns: described,
            rows,
        })
    }

    /// Reads the packet that ends a part of a table.
    fn end(&mut self, packet: &[u8]) -> Result<(), SqlError> {
        let mut fields = Fields(packet);
        if fields.u8()? != 0xfe {
            return Err(garbled());
        }
        fields.u16()?;
        self.status = fields.u16()?;
        Ok(())
    }
}

fn column(packet: &[u8]) -> Result<Column, SqlError> {
    let mut fields = Fields(packet);
    let mut text = || -> io::Result<String> {
        let text = fields.text()?.unwrap_or_default();
        Ok(String::from_utf8_lossy(text).into_owned())
    };
    let (_catalog, _schema, table) = (text()?, text()?, text()?);
    let (_original, name, _column) = (text()?, text()?, text()?);
    fields.length()?; // of what follows
    fields.bytes(2 + 4)?; // character set, length
    let kind = fields.u8()?;
    Ok(Column { table, name, kind })
}

fn row(packet: &[u8], columns: usize) -> Result<Row, SqlError> {
    let mut fields = Fields(packet);
    let mut row = Vec::new();
    for _ in 0..columns {
        let text = fields.text()?;
        row.push(text.map(|text| String::from_utf8_lossy(text).into_owned()));
    }
    Ok(row)
}

fn garbled() -> SqlError {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "the server says what no server says",
    )
    .into()
}

/// Reads a refusal, without its first byte.
fn refusal(packet: &[u8]) -> SqlError {
    let mut fields = Fields(packet);
    let Ok(code) = fields.u16() else {
        return garbled();
    };
    let text = match fields.0.split_first() {
        Some((b'#', rest)) => rest.get(5..).unwrap_or_default(),
        _ => fields.0,
    };
    SqlError::Refused {
        code,
        message: String::from_utf8_lossy(text).into_owned(),
    }
}

/// What a server says when a command is done.
struct Done {
    affected: u64,
    status: u16,
}

impl Done {
    fn read(packet: &[u8]) -> Result<Self, SqlError> {
        let mut fields = Fields(packet);
        let affected = fields.length()?.unwrap_or_default();
        fields.length()?;
        Ok(Self {
            affected,
            status: fields.u16()?,
        })
    }
}

/// What a server says first.
struct Greeting {
    plugin: String,
    challenge: Vec<u8>,
}

impl Greeting {
    fn read(packet: &[u8]) -> Result<Self, SqlError> {
        let mut fields = Fields(packet);
        match fields.u8()? {
            10 => {}
            0xff => return Err(refusal(fields.0)),
            _ => return Err(garbled()),
        }
        fields.until_zero(); // its version
        fields.bytes(4)?; // the number of the connection
        let mut challenge = fields.bytes(8)?.to_vec();
        fields.bytes(1 + 2 + 1 + 2 + 2)?; // filler, abilities, character set, status, abilities
        let length = usize::from(fields.u8()?);
        fields.bytes(10)?;
        let rest = fields.bytes(length.saturating_sub(8).max(13))?;
        challenge.extend_from_slice(&rest[..12]);
        let plugin = String::from_utf8_lossy(fields.until_zero()).into_owned();
        Ok(Self { plugin, challenge })
    }
}

/// Returns what a client says first.
fn hello(login: &Login, plugin: &str, proof: &[u8]) -> Vec<u8> {
    let database = login.database.as_ref().filter(|name| !name.is_empty());
    let mut able = LONG_PASSWORD
        | LONG_FLAG
        | PROTOCOL_41
        | TRANSACTIONS
        | SECURE_CONNECTION
        | MULTI_RESULTS
        | PLUGIN_AUTH
        | LENGTH_OF_PROOF;
    if database.is_some() {
        able |= CONNECT_WITH_DB;
    }
    let mut packet = able.to_le_bytes().to_vec();
    packet.extend_from_slice(&MOST_PACKET.to_le_bytes());
    packet.push(UTF8MB4);
    packet.extend_from_slice(&[0; 23]);
    packet.extend_from_slice(login.user.as_bytes());
    packet.push(0);
    put_text(&mut packet, proof);
    if let Some(database) = database {
        packet.extend_from_slice(database.as_bytes());
        packet.push(0);
    }
    packet.extend_from_slice(plugin.as_bytes());
    packet.push(0);
    packet
}

/// A socket that waits for no longer than the login may take.
enum Timer {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Timer {
    /// Lets it wait for as long as a query takes.
    fn stop(self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.set_read_timeout(None),
            Self::Unix(stream) => stream.set_read_timeout(None),
        }
    }
}

fn reach(login: &Login) -> io::Result<(Packets, Timer)> {
    if let Some(socket) = &login.socket {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(login.timeout)?;
        let timer = Timer::Unix(stream.try_clone()?);
        return Ok((Packets::new(Box::new(stream)), timer));
    }
    let stream = by_network(login)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(login.timeout)?;
    let timer = Timer::Tcp(stream.try_clone()?);
    Ok((Packets::new(Box::new(stream)), timer))
}

/// Tries each address of the host; what the last one says counts.
fn by_network(login: &Login) -> io::Result<TcpStream> {
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in (login.host.as_str(), login.port).to_socket_addrs()? {
        let tried = match login.timeout {
            Some(timeout) => TcpStream::connect_timeout(&address, timeout),
            None => TcpStream::connect(address),
        };
        match tried {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_read_as_those_of_pymysql() {
        let refused = SqlError::Refused {
            code: 1045,
            message: "Access denied for user 'a'@'b' (using password: NO)".to_owned(),
        };
        assert_eq!(
            refused.to_string(),
            "(1045, \"Access denied for user 'a'@'b' (using password: NO)\")"
        );
        let gone = SqlError::Unreachable {
            host: "localhost".to_owned(),
            source: io::Error::from_raw_os_error(2),
        };
        assert_eq!(
            gone.to_string(),
            "(2003, \"Can't connect to MySQL server on 'localhost' ([Errno 2] No such file or directory)\")"
        );
    }
}
