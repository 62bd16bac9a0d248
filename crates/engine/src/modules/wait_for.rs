//! `wait_for`: waits for a port, a file, a text in either, or for time to pass.

use std::io::{self, Read};
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use amibake_playbook::pyre::{Captures, Flags, Regex};
use serde_json::{Map, Value as Json, json};

use crate::args::Args;
use crate::module::{ActionModule, Context, Failure, Outcome};
use crate::resolve;

mod drain;

pub(super) struct WaitFor;

struct Wait<'a> {
    args: &'a Args,
    host: &'a str,
    port: Option<u16>,
    path: Option<&'a str>,
    search: Option<(Regex, &'a str)>,
    start: Instant,
    end: Instant,
    connect_timeout: Duration,
    sleep: Duration,
}

impl ActionModule for WaitFor {
    fn run(&self, args: &Args, context: &mut Context<'_>) -> Result<Outcome, Failure> {
        if context.check {
            return Ok(skipped());
        }
        let wait = Wait::read(args)?;
        crate::deadline::sleep(seconds(args.int("delay")));
        let state = args.required("state")?;
        let groups = match state {
            _ if wait.port.is_none() && wait.path.is_none() && state != "drained" => {
                crate::deadline::sleep(seconds(args.int("timeout")));
                (json!([]), json!({}))
            }
            "absent" | "stopped" => wait.until_stopped()?,
            "drained" => wait.until_drained()?,
            _ => wait.until_started()?,
        };
        let mut outcome = Outcome::default();
        let fields = [
            ("state", Json::from(state)),
            ("port", Json::from(wait.port)),
            ("search_regex", Json::from(args.str("search_regex"))),
            ("match_groups", groups.0),
            ("match_groupdict", groups.1),
            ("path", Json::from(wait.path)),
            ("elapsed", wait.elapsed()),
        ];
        outcome
            .result
            .extend(fields.map(|(name, value)| (name.to_owned(), value)));
        crate::attrs::add_path_info(&mut outcome.result);
        if wait.path.is_some() {
            // `state` is both: what was waited for, and what the file is. Ansible keeps the latter.
            outcome.result.entry("state").or_insert(Json::from(state));
        }
        Ok(outcome)
    }
}

fn skipped() -> Outcome {
    let mut outcome = Outcome {
        skipped: true,
        ..Outcome::default()
    };
    let msg = "remote module (ansible.builtin.wait_for) does not support check mode";
    outcome.result.insert("msg".to_owned(), Json::from(msg));
    outcome
}

fn seconds(given: Option<i64>) -> Duration {
    Duration::from_secs(given.unwrap_or(0).try_into().unwrap_or(0))
}

/// What the pattern matched, as results show it.
type Groups = (Json, Json);

impl<'a> Wait<'a> {
    fn read(args: &'a Args) -> Result<Self, Failure> {
        let (port, path) = (args.int("port").filter(|p| *p != 0), args.str("path"));
        let state = args.required("state")?;
        let msg = match (port, path, state) {
            (Some(_), Some(_), _) => {
                Some("port and path parameter can not both be passed to wait_for")
            }
            (_, Some(_), "stopped") => {
                Some("state=stopped should only be used for checking a port in the wait_for module")
            }
            (_, Some(_), "drained") => {
                Some("state=drained should only be used for checking a port in the wait_for module")
            }
            _ if args.has("exclude_hosts") && state != "drained" => {
                Some("exclude_hosts should only be with state=drained")
            }
            _ => None,
        };
        if let Some(msg) = msg {
            return Err(Failure::new(msg).with("elapsed", 0));
        }
        let start = Instant::now();
        let flags = Flags {
            multiline: true,
            bytes: true,
            ..Flags::default()
        };
        let search = args.str("search_regex").map(|pattern| {
            let regex = Regex::new(pattern, flags);
            regex
                .map(|regex| (regex, pattern))
                .map_err(|e| Failure::new(format!("Invalid regular expression: {e}")))
        });
        let port = port.map(u16::try_from).transpose();
        Ok(Self {
            args,
            host: args.str("host").unwrap_or("127.0.0.1"),
            port: port.map_err(|_| Failure::new("port must be between 0 and 65535"))?,
            path,
            search: search.transpose()?,
            start,
            end: start + crate::deadline::at_most(seconds(args.int("timeout"))),
            connect_timeout: seconds(args.int("connect_timeout")),
            sleep: seconds(args.int("sleep")),
        })
    }

    fn elapsed(&self) -> Json {
        Json::from(self.start.elapsed().as_secs())
    }

    /// Asks `done` until it says yes or time is up.
    fn until<T>(
        &self,
        late: impl FnOnce() -> String,
        mut done: impl FnMut() -> Result<Option<T>, Failure>,
    ) -> Result<T, Failure> {
        while Instant::now() < self.end {
            if let Some(answer) = done()? {
                return Ok(answer);
            }
            crate::deadline::sleep(self.sleep);
        }
        let msg = self.args.str("msg").map_or_else(late, str::to_owned);
        Err(Failure::new(msg).with("elapsed", self.elapsed()))
    }

    fn until_stopped(&self) -> Result<Groups, Failure> {
        let late = || match self.path {
            Some(path) => format!("Timeout when waiting for {path} to be absent."),
            None => format!(
                "Timeout when waiting for {}:{} to stop.",
                self.host,
                self.port.unwrap_or(0)
            ),
        };
        self.until(late, || {
            let there = match self.path {
                Some(path) => Path::new(path).exists(),
                None => self.connect().is_ok_and(|stream| {
                    let _ = stream.shutdown(Shutdown::Both);
                    true
                }),
            };
            Ok((!there).then(nothing))
        })
    }

    fn until_started(&self) -> Result<Groups, Failure> {
        let what = match self.path {
            Some(path) => path.to_owned(),
            None => format!("{}:{}", self.host, self.port.unwrap_or(0)),
        };
        let late = || match (&self.search, self.path) {
            (Some((_, pattern)), _) => {
                format!("Timeout when waiting for search string {pattern} in {what}")
            }
            (None, Some(_)) => format!("Timeout when waiting for file {what}"),
            (None, None) => format!("Timeout when waiting for {what}"),
        };
        self.until(late, || match self.path {
            Some(path) => self.file_ready(path),
            None => Ok(self.port_ready()),
        })
    }

    fn file_ready(&self, path: &str) -> Result<Option<Groups>, Failure> {
        match std::fs::metadata(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => {
                let msg = format!("Failed to stat {path}, {e}");
                return Err(Failure::new(msg).with("elapsed", self.elapsed()));
            }
            Ok(_) => {}
        }
        let Some((regex, _)) = &self.search else {
            return Ok(Some(nothing()));
        };
        let text = std::fs::read(path).unwrap_or_default();
        let found = regex.search(&text, 0).ok().flatten();
        Ok(found.map(|found| groups(regex, &found, &text)))
    }

    fn port_ready(&self) -> Option<Groups> {
        let mut stream = self.connect().ok()?;
        let answer = match &self.search {
            None => Some(nothing()),
            Some((regex, _)) => self.read_until(&mut stream, regex).then(nothing),
        };
        let _ = stream.shutdown(Shutdown::Both);
        answer
    }

    /// Reads until the pattern is there, the other side closes, or time is up.
    fn read_until(&self, stream: &mut TcpStream, regex: &Regex) -> bool {
        let (mut text, mut buffer) = (Vec::new(), [0; 1024]);
        loop {
            let left = self.end.saturating_duration_since(Instant::now());
            if left.is_zero() || stream.set_read_timeout(Some(left)).is_err() {
                return false;
            }
            match stream.read(&mut buffer) {
                Ok(0) | Err(_) => return false,
                Ok(read) => text.extend_from_slice(&buffer[..read]),
            }
            if regex.is_match(&text).unwrap_or(false) {
                return true;
            }
        }
    }

    fn connect(&self) -> io::Result<TcpStream> {
        let left = self.end.saturating_duration_since(Instant::now());
        let timeout = self.connect_timeout.min(left).max(Duration::from_millis(1));
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for address in resolve::addresses(self.host, self.port.unwrap_or(0))? {
            match TcpStream::connect_timeout(&address, timeout) {
                Ok(stream) => return Ok(stream),
                Err(e) => last = e,
            }
        }
        Err(last)
    }

    fn until_drained(&self) -> Result<Groups, Failure> {
        let states = self.args.list("active_connection_states");
        let excluded = self.args.list("exclude_hosts");
        let port = self.port.unwrap_or(0);
        let late = || format!("Timeout when waiting for {}:{port} to drain", self.host);
        let filter = drain::Filter::new(self.host, port, &states, &excluded)?;
        self.until(late, || Ok((filter.count() == 0).then(nothing)))
    }
}

fn nothing() -> Groups {
    (json!([]), json!({}))
}

fn groups(regex: &Regex, found: &Captures, text: &[u8]) -> Groups {
    let shown = |index| {
        let range = found.get(index);
        Json::from(range.map(|range| String::from_utf8_lossy(&text[range]).into_owned()))
    };
    let all: Vec<Json> = (1..found.len()).map(shown).collect();
    let named: Map<String, Json> = regex
        .group_names()
        .enumerate()
        .filter_map(|(index, name)| Some((name?.to_owned(), shown(index))))
        .collect();
    (Json::from(all), Json::from(named))
}
