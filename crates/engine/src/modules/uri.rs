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
use crate::http::{Call, Payload, Redirects, Reply, join, masked};
use crate::module::{ActionModule, Context, Failure, Outcome};
use crate::modules::{get_url, paths};

mod body;

pub(super) struct Web;

impl ActionModule for Web {
    fn run(&self, args: &Args, context: &mut Context<'_>) -> Result<Outcome, Failure> {
        if context.check {
            return Ok(skipped());
        }
        if let Some(answer) = not_needed(args) {
            return Ok(answer);
        }
        if args.has("unix_socket") {
            return Err(Failure::new("uri's unix_socket is not supported yet"));
        }
        let call = call(args, context)?;
        let start = Instant::now();
        let mut reply = call.send().map_err(|e| {
            let msg = format!(
                "Status code was -1 and not {}: {}",
                expected_text(args),
                e.told()
            );
            Failure::new(msg)
                .with("status", -1)
                .with("url", masked(&call.url))
                .with("elapsed", start.elapsed().as_secs())
                .with("redirected", false)
        })?;
        answer(args, context, &mut reply, start)
    }
}

fn skipped() -> Outcome {
    let mut outcome = Outcome {
        skipped: true,
        ..Outcome::default()
    };
    let msg = "remote module (ansible.legacy.uri) does not support check mode";
    outcome.result.insert("msg".to_owned(), Json::from(msg));
    outcome
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
    match (
        args.str("src"),
        args.raw("body").filter(|body| !body.is_null()),
    ) {
        (Some(src), _) => {
            if !Path::new(src).is_file() {
                let msg = format!("Unable to open source file {src}");
                return Err(Failure::new(msg).with("elapsed", 0));
            }
            call.body = Payload::File(PathBuf::from(src));
        }
        (None, Some(given)) => {
            let (bytes, kind) = body::encode(given, args.str("body_format").unwrap_or("raw"))?;
            call.body = Payload::Bytes(bytes);
            if let Some(kind) = kind {
                call.default_header("Content-Type", &kind);
            }
        }
        (None, None) => {}
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
    let mut fields = first_fields(args, reply);
    let mut content = Vec::new();
    let to_file = args
        .str("dest")
        .filter(|_| good && reply.status != 304)
        .map(str::to_owned);
    if maybe_json || return_content || !good || to_file.is_some() {
        reply.reader().read_to_end(&mut content).map_err(|e| {
            let url = masked(&reply.url);
            Failure::new(format!("HTTP Error while fetching {url}: {e}"))
        })?;
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
        fields.insert("path".to_owned(), Json::from(dest));
    }
    let text = String::from_utf8_lossy(&content).into_owned();
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
    let cookies: Map<String, Json> = reply
        .cookies
        .iter()
        .map(|(name, value)| (name.clone(), Json::from(value.as_str())))
        .collect();
    let pairs: Vec<String> = reply
        .cookies
        .iter()
        .map(|(k, v)| format!("{k}={v}"))
        .collect();
    let more = json!({
        "cookies": cookies,
        "cookies_string": pairs.join("; "),
        "msg": reply.msg,
        "redirected": reply.url != asked,
        "status": reply.status,
        "url": masked(&reply.url),
    });
    fields.extend(more.as_object().cloned().unwrap_or_default());
    fields
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
        true => path.join(get_url::url_name(&reply.url)),
        false => path,
    }
}

fn write(dest: &Path, content: &[u8], context: &mut Context<'_>) -> Result<(), Failure> {
    let same = digest::of_file(dest, "sha1").ok() == digest::of(content, "sha1").ok();
    if same {
        return Ok(());
    }
    let changes = [Change::Write {
        path: paths::real(dest),
        content: Content::text(content.to_vec()),
        how: How::default(),
    }];
    change::apply(&changes, context)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_known_by_its_type() {
        assert!(is_json("application/json; charset=utf-8"));
        assert!(is_json("application/problem+json"));
        assert!(!is_json("text/html"));
        assert!(!is_json(""));
    }
}
