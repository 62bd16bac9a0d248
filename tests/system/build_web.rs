//! The example application, baked on EC2 as its own manifest says, and launched again from the
//! account by somebody else.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value as Json;

use crate::support::account::assert_one_image_more;
use crate::support::{Cloud, sealed, text, wait_for};

/// The repository that the builder clones: the example, and two routes more: one fails, one takes its time.
struct Repository {
    server: Child,
    port: u16,
    /// The commit that is checked out.
    commit: String,
    folder: tempfile::TempDir,
}

const ROUTE: &str = r#"
    @app.get("/boom")
    def boom():
        raise RuntimeError("as wanted")

    @app.get("/slow")
    def slow():
        import time
        time.sleep(8)
        return "all of it"

    return app
"#;

impl Repository {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("source/examples/hello-web");
        std::fs::create_dir_all(&source).unwrap();
        let example =
            Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap()).join("examples/hello-web");
        for file in ["app.py", "requirements.txt"] {
            std::fs::copy(example.join(file), source.join(file)).unwrap();
        }
        let app = std::fs::read_to_string(source.join("app.py")).unwrap();
        let app = app
            .trim_end()
            .strip_suffix("    return app")
            .unwrap()
            .to_owned();
        std::fs::write(source.join("app.py"), app + ROUTE.trim_start_matches('\n')).unwrap();
        let git = r"
            set -e
            cd source
            git -c init.defaultBranch=main init -q
            git add .
            git -c user.name=t -c user.email=t@example.com commit -q -m example
            git clone -q --bare . ../source.git
            git -C ../source.git update-server-info
            git rev-parse HEAD
        ";
        let made = Command::new("sh")
            .args(["-c", git])
            .current_dir(folder.path())
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", text(&made.stderr));
        let commit = text(&made.stdout).trim().to_owned();
        let free = TcpListener::bind("0.0.0.0:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let server = Command::new("python3")
            .args(["-m", "http.server", &port.to_string()])
            .current_dir(folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self {
            server,
            port,
            commit,
            folder,
        }
    }

    /// A new key of somebody who launches the image.
    fn key(&self) -> PathBuf {
        let key = self.folder.path().join("key");
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-f"])
            .arg(&key)
            .status();
        assert!(made.unwrap().success());
        key
    }
}

impl Drop for Repository {
    fn drop(&mut self) {
        let _ended = self.server.kill();
        let _ended = self.server.wait();
    }
}

/// What the machines of the build had that nobody may have after it.
#[derive(Default)]
struct Traces {
    host_keys: BTreeSet<String>,
    login_keys: BTreeSet<String>,
    agent: Option<u64>,
}

impl Traces {
    fn collect(&mut self, cloud: &Cloud) {
        for machine in cloud.machines().into_values() {
            let root = PathBuf::from(&machine["root"]);
            let key = |path: &str| {
                let text = std::fs::read_to_string(root.join(path)).unwrap_or_default();
                text.split_whitespace().nth(1).map(str::to_owned)
            };
            self.host_keys
                .extend(key("etc/ssh/ssh_host_ed25519_key.pub"));
            self.login_keys
                .extend(key("home/ubuntu/.ssh/authorized_keys"));
            let agents = std::fs::read_dir(root.join("var/lib/amibake"));
            for file in agents.into_iter().flatten().flatten() {
                self.agent = file.metadata().ok().map(|m| m.len()).or(self.agent);
            }
        }
    }
}

#[test]
fn the_example_becomes_an_image_that_serves_and_tells_nothing_of_its_builder() {
    let cloud = Cloud::start();
    let before = cloud.inventory();
    let repository = Repository::start();
    let (image, traces) = build(&cloud, &repository);

    let after = cloud.inventory();
    assert_one_image_more(&before, &after);
    assert_eq!(after["images"], [image.as_str()]);
    let root = cloud.root_of(&after["snapshots"][0]);
    assert_eq!(sealed::residue(&root), [""; 0]);
    assert_untraced(&root, &traces);

    let mut host_keys = traces.host_keys;
    let key = repository.key();
    let public = std::fs::read_to_string(key.with_extension("pub")).unwrap();
    let user_data = format!(
        "#cloud-config\nssh_authorized_keys: ['{}']\nruncmd: [[touch, /etc/fresh]]\n",
        public.trim()
    );
    cloud.open_ssh();
    for boot in ["first", "second"] {
        let instance = cloud.launch(&image, &user_data);
        let site = WebServer::of(&cloud, &instance);
        site.assert_serves(&instance, &repository.commit);
        assert_hardened(&cloud, &instance, &key);
        let disk = PathBuf::from(&cloud.machines()[&instance]["root"]);
        wait_for("its own user data", Duration::from_mins(2), || {
            disk.join("etc/fresh").exists()
        });
        let key = std::fs::read_to_string(disk.join("etc/ssh/ssh_host_ed25519_key.pub")).unwrap();
        let key = key.split_whitespace().nth(1).unwrap().to_owned();
        assert!(
            host_keys.insert(key),
            "the {boot} boot has a host key that was there before"
        );
        assert_ne!(
            std::fs::read_to_string(disk.join("etc/machine-id")).unwrap(),
            ""
        );
        if boot == "second" {
            site.assert_drains(&cloud, &instance);
        }
    }
}

/// Builds the example's own manifest, from where it lies; watches the machines meanwhile.
fn build(cloud: &Cloud, repository: &Repository) -> (String, Traces) {
    let gateway = cloud.control("gateway", None);
    let gateway = gateway.as_str().unwrap();
    let url = format!("http://{gateway}:{}/source.git", repository.port);
    let manifest = Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap())
        .join("examples/hello-web/manifest.yaml");
    let mut command = cloud.amibake(["build"]);
    command
        .arg(manifest)
        .args(["--var", &format!("repository={url}")])
        .env("AMIBAKE_CHECKIP_URL", echo(gateway));
    let mut running = cloud.run(&mut command);
    let mut traces = Traces::default();
    while running.runs() {
        traces.collect(cloud);
        std::thread::sleep(Duration::from_millis(200));
    }
    let built = running.wait().ended(0);
    let image = built.stdout.trim_end_matches('\n');
    assert!(
        image.starts_with("ami-") && !image.contains('\n'),
        "stdout: {:?}",
        built.stdout
    );
    (image.to_owned(), traces)
}

/// Says that this host is seen as `address`.
fn echo(address: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{address}",
        address.len()
    );
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _request = stream.read(&mut [0; 4096]);
            let _gone = stream.write_all(answer.as_bytes());
        }
    });
    url
}

fn assert_untraced(root: &Path, traces: &Traces) {
    assert!(
        traces.host_keys.len() >= 2,
        "the user data's, the guest's own: {:?}",
        traces.host_keys
    );
    assert!(!traces.login_keys.is_empty());
    let size = traces.agent.expect("the agent was seen");
    for trace in traces.host_keys.iter().chain(&traces.login_keys) {
        assert_eq!(grep(root, trace), "", "{trace}");
    }
    // The bundle's text: the playbook's own words.
    assert_eq!(
        grep(root, "Create the account that runs the application"),
        ""
    );
    let find = Command::new("find")
        .arg(root)
        .args(["-type", "f", "-size", &format!("{size}c")])
        .output();
    assert_eq!(
        text(&find.unwrap().stdout),
        "",
        "a file as long as the agent"
    );
    let link = root.join("var/lib/dbus/machine-id");
    assert_eq!(
        std::fs::read_link(link).unwrap(),
        Path::new("/etc/machine-id")
    );
}

fn grep(root: &Path, what: &str) -> String {
    let output = Command::new("grep")
        .args(["-rlaF", "--devices=skip", "-e", what])
        .arg(root)
        .output();
    text(&output.unwrap().stdout)
}

/// The application on an instance, as its clients have it.
struct WebServer {
    address: String,
}

/// What it answered.
#[derive(Debug)]
struct Page {
    status: u16,
    /// In lower case.
    headers: String,
    body: String,
}

impl WebServer {
    fn of(cloud: &Cloud, instance: &str) -> Self {
        let address = cloud.machines()[instance]["address"].clone();
        Self { address }
    }

    /// Returns the answer; that of status 0 is none.
    fn get(&self, path: &str, accept: &str) -> Page {
        let url = format!("http://{}:8080{path}", self.address);
        let output = Command::new("curl")
            .args([
                "--silent",
                "--include",
                "--max-time",
                "40",
                "--noproxy",
                "*",
            ])
            .args(["--header", &format!("Accept: {accept}"), &url])
            .output()
            .unwrap();
        let answer = text(&output.stdout);
        let (headers, body) = answer.split_once("\r\n\r\n").unwrap_or(("", ""));
        let status = headers.split(' ').nth(1);
        Page {
            status: status.map_or(0, |status| status.parse().unwrap()),
            headers: headers.to_lowercase(),
            body: body.to_owned(),
        }
    }

    /// Each answer says which instance gave it and what that runs, and each error is one of its own.
    fn assert_serves(&self, instance: &str, commit: &str) {
        wait_for("the application", Duration::from_mins(5), || {
            self.get("/healthz", "*/*").status == 200
        });
        for (path, status, field, value) in [
            ("/", 200, "instance", instance),
            ("/healthz", 200, "status", "ok"),
            ("/nowhere", 404, "error", "Not Found"),
            ("/boom", 500, "error", "Internal Server Error"),
        ] {
            let page = self.get(path, "*/*");
            page.assert_is(status, "application/json", instance, commit);
            let json: Json = serde_json::from_str(&page.body).unwrap();
            assert_eq!(json[field], value, "{path}: {page:?}");
        }
        for (path, status, title) in [
            ("/", 200, "Hello from amibake"),
            ("/nowhere", 404, "Not Found"),
            ("/boom", 500, "Internal Server Error"),
        ] {
            let page = self.get(path, "text/html,*/*;q=0.8");
            page.assert_is(status, "text/html", instance, commit);
            let title = format!("<h1>{title}</h1>");
            let who = format!("<small>{instance}, {commit}</small>");
            assert!(
                page.body.contains(&title) && page.body.contains(&who),
                "{page:?}"
            );
        }
    }

    /// What is under way when the service is told to end is answered, and the end comes within the time that the
    /// stack's load balancer gives an instance that leaves.
    fn assert_drains(&self, cloud: &Cloud, instance: &str) {
        std::thread::scope(|scope| {
            let slow = scope.spawn(|| self.get("/slow", "*/*"));
            wait_for("a request under way", Duration::from_secs(20), || {
                let asked = "ss -Htn state established 'sport = :8080'";
                !cloud.inside(instance, asked).stdout.is_empty()
            });
            let began = Instant::now();
            let stopped = cloud.inside(instance, "systemctl stop supervisor");
            let took = began.elapsed();
            assert!(stopped.status.success(), "{}", text(&stopped.stderr));
            let page = slow.join().unwrap();
            assert_eq!((page.status, page.body.as_str()), (200, "all of it"));
            assert!(took > Duration::from_secs(2), "it was under way: {took:?}");
            assert!(took < deregistration_delay(), "{took:?}");
        });
        assert_eq!(self.get("/healthz", "*/*").status, 0, "it has ended");
    }
}

impl Page {
    fn assert_is(&self, status: u16, kind: &str, instance: &str, commit: &str) {
        assert_eq!(self.status, status, "{self:?}");
        for wanted in [
            format!("content-type: {kind}"),
            format!("x-instance: {instance}\r"),
            format!("x-version: {commit}\r"),
        ] {
            assert!(format!("{}\r", self.headers).contains(&wanted), "{self:?}");
        }
    }
}

/// Returns how long the stack that ships lets requests to an instance go on when it leaves.
fn deregistration_delay() -> Duration {
    let here = std::env::var("CARGO_MANIFEST_DIR").unwrap();
    let template = std::fs::read_to_string(Path::new(&here).join("stack/web.yaml")).unwrap();
    let (_, parameter) = template.split_once("\n  DeregistrationDelay:\n").unwrap();
    let default = parameter
        .lines()
        .find_map(|line| line.trim().strip_prefix("Default: "));
    Duration::from_secs(default.unwrap().parse().unwrap())
}

/// Whoever launched the instance comes in and is root by sudo; sshd and the application's service are as the
/// hardening left them.
fn assert_hardened(cloud: &Cloud, instance: &str, key: &Path) {
    let address = cloud.machines()[instance]["address"].clone();
    let mut login = Command::new("ssh");
    login
        .args(["-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes"])
        .args([
            "-o",
            "StrictHostKeyChecking=no",
            "-o",
            "UserKnownHostsFile=/dev/null",
            "-i",
        ])
        .arg(key)
        .args([format!("ubuntu@{address}").as_str(), "sudo -n id -un"]);
    // sshd starts once the host's keys are made, which the application does not wait for.
    wait_for("a login that becomes root", Duration::from_mins(2), || {
        text(&login.output().unwrap().stdout) == "root\n"
    });

    let said = |command: &str| text(&cloud.inside(instance, command).stdout);
    let sshd = said("sshd -T");
    for line in [
        "permitrootlogin no",
        "passwordauthentication no",
        "authenticationmethods publickey",
        "allowtcpforwarding no",
    ] {
        let keyword = line.split(' ').next().unwrap();
        let found: Vec<&str> = sshd
            .lines()
            .filter(|l| l.split(' ').next() == Some(keyword))
            .collect();
        assert_eq!(found, [line]);
    }
    let rsa = said("ssh-keygen -l -f /etc/ssh/ssh_host_rsa_key.pub");
    assert!(rsa.starts_with("4096 "), "{rsa}");
    assert_eq!(
        said("systemctl is-enabled ssh.service ssh.socket"),
        "enabled\nmasked\n"
    );
    let exposure = said("systemd-analyze security --no-pager supervisor.service | tail -n 1");
    let level = exposure
        .split_whitespace()
        .find_map(|word| word.parse::<f32>().ok());
    assert!(level.is_some_and(|level| level < 2.0), "{exposure}");
}
