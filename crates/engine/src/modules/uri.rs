//! `uri`: talks to a web service.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::{Map, Value as Json, json};

use crate::args::Args;
use crate::atomic::How;
use crate::attrs;
use crate::change::{self, Change, Content};
use crate::digest;
use crate::http::{Call, HttpError, Payload, Redirects, Reply, join, masked};
use crate::module::{ActionModule, Context, Failure, Outcome};
use crate::modules::get_url;
use crate::place;

mod body;

pub(super) struct Web;

impl ActionModule for Web {
    fn run(&self, args: &Args, context: &mut Context<'_>) -> Result<Outcome, Failure> {
        if let Some(answer) = not_needed(args) {
            return Ok(answer);
        }
        let call = call(args, context)?;
        let start = Instant::now();
        let mut reply = call
            .send()
            .map_err(|error| unanswered(args, &error, start))?;
        answer(args, context, &mut reply, start)
    }
}

/// Says why there is no answer.
fn unanswered(args: &Args, error: &HttpError, start: Instant) -> Failure {
    let (told, url) = (error.told(), args.str("url").unwrap_or_default());
    let fields = |msg: String| {
        Failure::new(msg)
            .with("status", -1)
            .with("url", masked(url))
    };
    if matches!(error, HttpError::NoScheme { .. }) {
        return fields(told);
    }
    let wanted = expected_text(args);
    let failure = fields(format!("Status code was -1 and not {wanted}: {told}"))
        .with("elapsed", start.elapsed().as_secs())
        .with("redirected", false);
    match args.bool("return_content") {
        true => failure.with("content", ""),
        false => failure,
    }
}

/// Answers for `creates` and `removes`.
fn not_needed(args: &Args) -> Option<Outcome> {
    let there = |name: &str| args.str(name).map(|path| (path, Path::new(path).exists()));
    let reason = match (there("creates"), there("removes")) {
        (Some((path, true)), _) => format!("skipped, since '{path}' exists"),
        (_, Some((path, false))) => format!("skipped, since '{path}' does not exist"),
        _ => return None,
    };
    let mut outcome = Outcome::default();
    outcome
        .result
        .insert("stdout".to_owned(), Json::from(reason));
    Some(outcome)
}

fn call(args: &Args, context: &Context<'_>) -> Result<Call, Failure> {
    let mut call = Call::read(args, &context.environment);
    call.method = args.str("method").unwrap_or("GET").to_uppercase();
    if !call.method.chars().all(|c| c.is_ascii_uppercase()) || call.method.is_empty() {
        return Err(Failure::new(
            "Parameter 'method' needs to be a single word in uppercase, like GET or POST.",
        ));
    }
    call.redirects = match args.str("follow_redirects") {
        Some("all" | "yes") => Redirects::All,
        Some("none" | "no") => Redirects::None,
        _ => Redirects::Safe,
    };
    let format = args.str("body_format").unwrap_or("raw");
    let given = args.raw("body").unwrap_or(&Json::Null);
    let (bytes, kind) = body::encode(given, format, &context.sources)?;
    if let Some(kind) = kind {
        call.default_header("Content-Type", &kind);
    }
    if let Some(sent) = context.sources.get("") {
        call.body = Payload::Sent(sent.clone());
    } else if let Some(src) = args.str("src") {
        if !Path::new(src).is_file() {
            let msg = format!("Unable to open source file {src}");
            return Err(Failure::new(msg).with("elapsed", 0));
        }
        call.body = Payload::File(PathBuf::from(src));
    } else if let Some(bytes) = bytes {
        call.body = Payload::Bytes(bytes);
    }
    let dest = args
        .str("dest")
        .map(Path::new)
        .filter(|dest| dest.is_file());
    let modified = dest.and_then(|dest| std::fs::metadata(dest).ok()?.modified().ok());
    let modified = modified.and_then(|time| jiff::Timestamp::try_from(time).ok());
    if let Some(time) = modified.filter(|_| !args.bool("force")) {
        let date = time.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
        call.default_header("If-Modified-Since", &date);
    }
    Ok(call)
}

fn expected(args: &Args) -> Vec<i64> {
    args.list("status_code")
        .iter()
        .filter_map(|code| code.trim().parse().ok())
        .collect()
}

fn expected_text(args: &Args) -> String {
    let codes: Vec<String> = expected(args).iter().map(i64::to_string).collect();
    format!("[{}]", codes.join(", "))
}

fn answer(
    args: &Args,
    context: &mut Context<'_>,
    reply: &mut Reply,
    start: Instant,
) -> Result<Outcome, Failure> {
    let good = expected(args).contains(&i64::from(reply.status));
    let kind = reply
        .headers
        .get("content-type")
        .cloned()
        .unwrap_or_default();
    let maybe_json = is_json(&kind);
    let return_content = args.bool("return_content");
    let shown = maybe_json || return_content || !good;
    let mut fields = first_fields(args, reply);
    let mut content = Vec::new();
    let to_file = args
        .str("dest")
        .filter(|_| good && reply.status != 304)
        .map(str::to_owned);
    if shown || to_file.is_some() || !reply.success() {
        reply.reader().read_to_end(&mut content).map_err(|e| {
            let url = masked(&reply.url);
            Failure::new(format!("HTTP Error while fetching {url}: {e}"))
        })?;
    }
    if !shown && !reply.success() {
        // An error that was expected: Ansible leaves what came with it where it found it.
        fields.insert("body".to_owned(), Json::from(decoded(&content, "")));
    }
    fields.insert("elapsed".to_owned(), Json::from(start.elapsed().as_secs()));
    let mut changed = false;
    if let Some(dest) = to_file {
        let dest = named(dest, reply);
        write(&dest, &content, context)?;
        get_url::give_attributes(args, &dest, context)?;
        changed = true;
        fields.insert("path".to_owned(), Json::from(dest.to_string_lossy()));
    } else if let Some(dest) = args.str("dest") {
        let dest = named(dest.to_owned(), reply);
        fields.insert("path".to_owned(), Json::from(dest.to_string_lossy()));
    }
    let text = decoded(&content, &kind);
    if let (true, Ok(parsed)) = (maybe_json, serde_json::from_str::<Json>(&text)) {
        fields.insert("json".to_owned(), parsed);
    }
    if return_content {
        fields.insert("content".to_owned(), Json::from(text));
    }
    attrs::add_path_info(&mut fields);
    if good {
        return Ok(Outcome {
            changed,
            result: fields,
            ..Outcome::default()
        });
    }
    let (status, wanted) = (reply.status, expected_text(args));
    Err(Failure {
        msg: format!("Status code was {status} and not {wanted}: {}", reply.msg),
        result: fields,
    })
}

/// The fields that say what the server said: headers too, dashes as underscores.
fn first_fields(args: &Args, reply: &Reply) -> Map<String, Json> {
    let mut fields = Map::new();
    for (name, value) in &reply.headers {
        fields.insert(name.replace('-', "_"), Json::from(value.as_str()));
    }
    let asked = args.str("url").unwrap_or_default();
    if let Some(location) = reply.headers.get("location") {
        fields.insert("location".to_owned(), Json::from(join(asked, location)));
    }
    let url = match reply.success() {
        true => reply.url.as_str(),
        false => asked,
    };
    let more = json!({
        "msg": reply.msg,
        "redirected": url != asked,
        "status": reply.status,
        "url": masked(url),
    });
    fields.extend(more.as_object().cloned().unwrap_or_default());
    if reply.success() {
        fields.extend(cookies(reply));
    }
    fields
}

fn cookies(reply: &Reply) -> Map<String, Json> {
    let pairs = || reply.cookies.iter();
    let named = pairs().map(|(name, value)| (name.clone(), Json::from(value.as_str())));
    let text: Vec<String> = pairs().map(|(k, v)| format!("{k}={v}")).collect();
    let mut fields = Map::new();
    fields.insert("cookies".to_owned(), Json::Object(named.collect()));
    fields.insert("cookies_string".to_owned(), Json::from(text.join("; ")));
    fields
}

/// Reads a text in the charset that its content type names: Latin-1, else UTF-8.
fn decoded(content: &[u8], kind: &str) -> String {
    let parameters = kind.split(';').skip(1);
    let charset = parameters
        .filter_map(|parameter| parameter.trim().strip_prefix("charset="))
        .map(|charset| charset.trim_matches('"').to_lowercase().replace('_', "-"))
        .next();
    match charset.as_deref() {
        Some("iso-8859-1" | "iso8859-1" | "latin-1" | "latin1" | "l1") => {
            content.iter().copied().map(char::from).collect()
        }
        _ => String::from_utf8_lossy(content).into_owned(),
    }
}

fn is_json(kind: &str) -> bool {
    let main = kind
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_lowercase();
    let sub = main.split_once('/').map_or("", |(_, sub)| sub);
    let sub = sub.rsplit('+').next().unwrap_or(sub);
    matches!(sub, "json" | "javascript")
}

/// A directory as `dest` takes the name of the address.
fn named(dest: String, reply: &Reply) -> PathBuf {
    let path = PathBuf::from(dest);
    match path.is_dir() {
        true => path.join(get_url::file_name(reply)),
        false => path,
    }
}

fn write(dest: &Path, content: &[u8], context: &mut Context<'_>) -> Result<(), Failure> {
    let same = digest::file_checksum(dest, "sha1").ok() == digest::checksum(content, "sha1").ok();
    if same {
        return Ok(());
    }
    let path = place::real(dest)
        .map_err(|e| Failure::new(format!("could not write {}: {e}", dest.display())))?;
    let changes = [Change::Write {
        path,
        content: Content::text(content.to_vec()),
        how: How::default(),
    }];
    change::apply(&changes, context)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_read_in_their_charset() {
        let kind = "text/plain; charset=ISO-8859-1";
        assert_eq!(decoded(b"gr\xfc\xdf", kind), "grüß");
        assert_eq!(decoded("grüß".as_bytes(), "text/plain"), "grüß");
    }

    #[test]
    fn json_is_known_by_its_type() {
        assert!(is_json("application/json; charset=utf-8"));
        assert!(is_json("application/problem+json"));
        assert!(!is_json("text/html"));
        assert!(!is_json(""));
    }
}
