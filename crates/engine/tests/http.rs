//! `get_url` and `uri` against a small server of our own.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};

use amibake_engine::args::Args;
use amibake_engine::module::{Context, Failure, Outcome};
use amibake_engine::modules;
use amibake_playbook::argspec;
use serde_json::{Map, Value as Json, json};

#[test]
fn a_file_is_fetched_once_and_then_only_if_its_checksum_differs() {
    let server = serve();
    let folder = tempfile::tempdir().unwrap();
    let dest = folder.path().join("f");
    let sum = "sha1:86f7e437faa5a7fce15d1ddcb9eaeaea377667b8";
    let task = json!({"url": format!("{server}/a"), "dest": dest, "checksum": sum, "mode": "0600"});
    let first = run("get_url", &task).unwrap();
    assert!(first.changed);
    assert_eq!(first.result["status_code"], 200);
    assert_eq!(first.result["mode"], "0600");
    let second = run("get_url", &task).unwrap();
    assert!(!second.changed);
    assert_eq!(second.result["msg"], "file already exists");
    let wrong = json!({"url": format!("{server}/b"), "dest": dest, "checksum": sum, "force": true});
    let failure = run("get_url", &wrong).unwrap_err();
    assert!(failure.msg.contains("did not match"), "{}", failure.msg);
    assert_eq!(std::fs::read(&dest).unwrap(), b"a", "the old file stays");
}

#[test]
fn a_checksum_list_is_fetched_by_its_address() {
    let server = serve();
    let folder = tempfile::tempdir().unwrap();
    let sums = format!("sha1:{server}/sums");
    let task = json!({"url": format!("{server}/a"), "dest": folder.path(), "checksum": sums});
    let outcome = run("get_url", &task).unwrap();
    assert!(outcome.changed);
    assert_eq!(std::fs::read(folder.path().join("a")).unwrap(), b"a");
}

#[test]
fn what_is_missing_or_refuses_says_so_as_ansible_does() {
    let server = serve();
    let failure = run(
        "get_url",
        &json!({"url": format!("{server}/gone"), "dest": "/tmp/x"}),
    )
    .unwrap_err();
    assert_eq!(failure.msg, "Request failed");
    assert_eq!(failure.result["response"], "HTTP Error 404: Not Found");
    let failure = run("uri", &json!({"url": format!("{server}/gone")})).unwrap_err();
    assert_eq!(
        failure.msg,
        "Status code was 404 and not [200]: HTTP Error 404: Not Found"
    );
    assert_eq!(failure.result["status"], 404);
    let closed = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let failure = run("uri", &json!({"url": format!("http://{closed}/")})).unwrap_err();
    let wanted = "Status code was -1 and not [200]: Request failed: <urlopen error [Errno 111] Connection refused>";
    assert_eq!(failure.msg, wanted);
}

#[test]
fn bodies_headers_and_json_answers_go_through() {
    let server = serve();
    let task = json!({
        "url": format!("{server}/echo"), "method": "post", "body_format": "json", "body": {"x": [1, "ü"]},
        "return_content": true, "status_code": [200, 201],
        "url_username": "u", "url_password": "p", "force_basic_auth": true,
    });
    let answer = run("uri", &task).unwrap();
    assert_eq!(answer.result["json"]["body"], r#"{"x": [1, "\u00fc"]}"#);
    assert_eq!(answer.result["json"]["authorization"], "Basic dTpw");
    assert_eq!(answer.result["json"]["content-type"], "application/json");
    assert_eq!(answer.result["status"], 200);
    assert_eq!(answer.result["content_type"], "application/json");
}

#[test]
fn what_is_packed_is_unpacked_unless_a_task_says_not_to() {
    let server = serve();
    let folder = tempfile::tempdir().unwrap();
    for (decompress, expected) in [(true, b"plain".to_vec()), (false, packed())] {
        let dest = folder.path().join(decompress.to_string());
        let url = format!("{server}/packed");
        let task = json!({"url": url, "dest": dest, "decompress": decompress});
        let answer = run("get_url", &task).unwrap();
        assert_eq!(std::fs::read(&dest).unwrap(), expected);
        assert_eq!(
            answer.result["msg"],
            format!("OK ({} bytes)", packed().len())
        );
        let to = folder.path().join(format!("uri-{decompress}"));
        let answer = run(
            "uri",
            &json!({"url": url, "dest": to, "decompress": decompress}),
        )
        .unwrap();
        assert_eq!(std::fs::read(&to).unwrap(), expected);
        assert_eq!(answer.result["content_encoding"], "gzip");
        assert_eq!(answer.result["content_length"], packed().len().to_string());
    }
}

#[test]
fn a_server_says_how_it_is_logged_in_to() {
    let server = serve();
    let status = |path: &str, password: &str| {
        let url = format!("{server}{path}");
        let task = json!({"url": url, "url_username": "u", "url_password": password, "method": "POST",
            "body": "b", "return_content": true, "status_code": [200, 401]});
        let answer = run("uri", &task).unwrap();
        let content = answer.result["content"].as_str().unwrap().to_owned();
        (answer.result["status"].clone(), content)
    };
    for path in ["/digest?a=b", "/basic"] {
        assert_eq!(status(path, "p"), (json!(200), "b".to_owned()), "{path}");
        assert_eq!(status(path, "wrong").0, 401, "{path}");
    }
    // Who does not ask is not told.
    assert!(!status("/echo", "p").1.contains("authorization"));
}

#[test]
fn redirects_are_followed_as_asked() {
    let server = serve();
    let task = json!({"url": format!("{server}/moved"), "return_content": true});
    let answer = run("uri", &task).unwrap();
    assert_eq!(answer.result["redirected"], true);
    assert_eq!(answer.result["content"], "a");
    let task =
        json!({"url": format!("{server}/moved"), "follow_redirects": "none", "status_code": 302});
    let answer = run("uri", &task).unwrap();
    assert_eq!(answer.result["location"], format!("{server}/a"));
}

#[test]
fn headers_of_a_task_do_not_follow_to_another_origin_nor_back() {
    let (here, there) = (serve(), serve());
    let hosts = [&here, &there].map(|server| server.strip_prefix("http://").unwrap().to_owned());
    let echoed = |url: String| {
        let headers = json!({"X-Api-Key": "k", "Cookie": "c", "Authorization": "a",
            "Accept-Language": "de", "Range": "bytes=0-", "User-Agent": "me"});
        let task = json!({"url": url, "headers": headers, "return_content": true});
        run("uri", &task).unwrap().result["json"].clone()
    };
    let [same, other] = hosts;
    for (url, kept) in [
        (format!("{here}/to/{same}/echo"), true),
        (format!("{here}/to/{other}/echo"), false),
        (format!("{here}/to/{other}/to/{same}/echo"), false),
    ] {
        let got = echoed(url.clone());
        for name in ["x-api-key", "cookie", "authorization"] {
            assert_eq!(got.get(name).is_some(), kept, "{name} of {url}");
        }
        for name in ["accept-language", "range", "user-agent"] {
            assert!(got.get(name).is_some(), "{name} of {url}");
        }
    }
}

fn run(name: &str, given: &Json) -> Result<Outcome, Failure> {
    let args = Args::coerce(
        argspec::find(name).unwrap(),
        given.as_object().unwrap().clone(),
    )?;
    let facts = Map::new();
    let mut context = Context {
        check: false,
        diff: false,
        environment: vec![("no_proxy".to_owned(), "127.0.0.1".to_owned())],
        sources: BTreeMap::new(),
        facts: &facts,
        output: &mut |_, _| {},
    };
    modules::find(name).unwrap().run(&args, &mut context)
}

/// Serves until the test's process ends; returns its address.
fn serve() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || answer(stream));
        }
    });
    format!("http://{address}")
}

fn answer(mut stream: TcpStream) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let Some((name, value)) = line.trim().split_once(": ") else {
            break;
        };
        let twice = headers.insert(name.to_lowercase(), value.to_owned());
        let is_login = name.eq_ignore_ascii_case("authorization");
        assert!(!is_login || twice.is_none(), "{name} was sent twice");
    }
    let length = headers
        .get("content-length")
        .and_then(|l| l.parse().ok())
        .unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let onward = path.strip_prefix("/to/");
    let onward = onward.map(|to| format!("Location: http://{to}\r\n"));
    let (status, more, content) = match path.as_str() {
        _ if let Some(location) = &onward => ("302 Found", location.as_str(), String::new()),
        "/a" | "/b" => ("200 OK", "", path[1..].to_owned()),
        "/sums" => {
            let sum = "86f7e437faa5a7fce15d1ddcb9eaeaea377667b8";
            ("200 OK", "", format!("1234  other\n{sum}  a\n"))
        }
        "/packed" => ("200 OK", "Content-Encoding: gzip\r\n", String::new()),
        "/digest?a=b" | "/basic" => match logged_in(&headers) {
            true => ("200 OK", "", String::from_utf8(body).unwrap()),
            false if path == "/basic" => {
                let asks = "WWW-Authenticate: Basic realm=\"r\"\r\n";
                ("401 Unauthorized", asks, String::new())
            }
            false => {
                let asks = "WWW-Authenticate: Digest realm=\"r\", nonce=\"n\", qop=\"auth\"\r\n";
                ("401 Unauthorized", asks, String::new())
            }
        },
        "/moved" => ("302 Found", "Location: /a\r\n", String::new()),
        "/echo" => {
            headers.insert("body".to_owned(), String::from_utf8(body).unwrap());
            let content = serde_json::to_string(&headers).unwrap();
            ("200 OK", "Content-Type: application/json\r\n", content)
        }
        _ => ("404 Not Found", "", String::new()),
    };
    let content = match path.as_str() {
        "/packed" => packed(),
        _ => content.into_bytes(),
    };
    let length = content.len();
    let head =
        format!("HTTP/1.1 {status}\r\n{more}Content-Length: {length}\r\nConnection: close\r\n\r\n");
    let _ = stream
        .write_all(head.as_bytes())
        .and_then(|()| stream.write_all(&content));
}

fn packed() -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(b"plain").unwrap();
    encoder.finish().unwrap()
}

/// Whether `u` logs in with the password `p`: by what RFC 7616 says, or openly.
fn logged_in(headers: &BTreeMap<String, String>) -> bool {
    let said = headers.get("authorization").cloned().unwrap_or_default();
    let field = |name: &str| {
        let (_, rest) = said.split_once(&format!(" {name}="))?;
        Some(rest.split(',').next()?.trim_matches('"').to_owned())
    };
    let md5 = |text: String| {
        use md5::Digest;
        hex::encode(md5::Md5::digest(text))
    };
    let digest = || {
        let (count, ours) = (field("nc")?, field("cnonce")?);
        let (secret, what) = (md5("u:r:p".to_owned()), md5("POST:/digest?a=b".to_owned()));
        let expected = md5(format!("{secret}:n:{count}:{ours}:auth:{what}"));
        Some(field("response")? == expected && field("uri")? == "/digest?a=b")
    };
    said == "Basic dTpw" || digest().unwrap_or_default()
}
