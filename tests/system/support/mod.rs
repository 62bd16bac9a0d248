//! What the whole-program tests share: a test EC2 of their own, and runs of the real binary.

#[cfg(feature = "ec2")]
pub(crate) mod account;
mod changes;
pub(crate) mod here;
pub(crate) mod inventory;
#[cfg(feature = "stack")]
pub(crate) mod load;
pub(crate) mod recording;
#[cfg(feature = "ec2")]
pub(crate) mod running;
pub(crate) mod runs;
pub(crate) mod sealed;
#[cfg(feature = "stack")]
pub(crate) mod site;
#[cfg(feature = "stack")]
pub(crate) mod turns;
pub(crate) mod twins;
pub(crate) mod volatile;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};

/// An EC2 whose instances are real machines (`tests/cloud`), for one test alone.
pub(crate) struct Cloud {
    server: Child,
    url: String,
    folder: tempfile::TempDir,
}

impl Cloud {
    /// Starts it. Needs root and what `./test` installs.
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let script =
            Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap()).join("tests/cloud/cloud.py");
        let mut server = Command::new(needed("AMIBAKE_TEST_PYTHON"))
            .arg(script)
            .args(["--base", &needed("AMIBAKE_TEST_ROOT")])
            .arg("--state")
            .arg(folder.path().join("cloud"))
            // Its end is ours: the server stops when this pipe closes.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(folder.path().join("cloud.log")).unwrap())
            .spawn()
            .unwrap();
        let mut url = String::new();
        let stdout = server.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut url).unwrap();
        let log = std::fs::read_to_string(folder.path().join("cloud.log")).unwrap_or_default();
        assert!(
            url.starts_with("http"),
            "the test EC2 did not start:\n{log}"
        );
        Self {
            server,
            url: url.trim().to_owned(),
            folder,
        }
    }

    /// Returns where it answers.
    #[cfg(feature = "stack")]
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Returns a folder that goes with the cloud.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a manifest into the cloud's folder.
    pub(crate) fn manifest(&self, text: &str) -> PathBuf {
        let path = self.folder.path().join("manifest.yaml");
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Returns a command that runs amibake against this cloud, in a clean environment.
    pub(crate) fn amibake<S: AsRef<std::ffi::OsStr>>(
        &self,
        args: impl IntoIterator<Item = S>,
    ) -> Command {
        let mut command = amibake(self.folder.path(), args);
        command
            .env("AWS_ENDPOINT_URL", &self.url)
            .env("AWS_REGION", "eu-west-1")
            .env("AWS_ACCESS_KEY_ID", "AKIATEST")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .env("AWS_EC2_METADATA_DISABLED", "true");
        command
    }

    /// Asks the cloud's control interface.
    pub(crate) fn control(&self, what: &str, value: Option<Json>) -> Json {
        let url = format!("{}/_cloud/{what}", self.url);
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--fail", &url]);
        if let Some(value) = value {
            curl.args(["--data-binary", &value.to_string()]);
        }
        let output = curl.output().unwrap();
        assert!(output.status.success(), "{what}: {}", text(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Returns what the account holds, by kind.
    pub(crate) fn inventory(&self) -> BTreeMap<String, Vec<String>> {
        serde_json::from_value(self.control("inventory", None)).unwrap()
    }

    /// Returns the names of the calls made so far, in order.
    pub(crate) fn calls(&self) -> Vec<String> {
        let calls = self.control("calls", None);
        let calls = calls.as_array().unwrap().iter();
        calls
            .map(|c| c["action"].as_str().unwrap().to_owned())
            .collect()
    }

    /// Makes something happen to a later call.
    pub(crate) fn fault(&self, action: &str, kind: &str, more: Json) {
        let mut fault = json!({"action": action, "kind": kind});
        fault
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        self.control("fault", Some(fault));
    }

    /// Waits until the fault for `action` holds a call.
    pub(crate) fn wait_until_held(&self, action: &str) {
        let what = format!("a call of {action}");
        wait_for(&what, Duration::from_mins(2), || self.is_held(action));
    }

    /// Returns whether the fault for `action` holds a call.
    pub(crate) fn is_held(&self, action: &str) -> bool {
        let faults = self.control("faults", None);
        let mut faults = faults.as_array().unwrap().iter();
        faults.any(|f| f["action"] == action && f["waiting"] == true)
    }

    /// Returns the running machines: instance id to address, root, namespace.
    pub(crate) fn machines(&self) -> BTreeMap<String, BTreeMap<String, String>> {
        serde_json::from_value(self.control("machines", None)).unwrap()
    }

    /// Runs a command on a running machine as its root, beside everything that runs there.
    pub(crate) fn inside(&self, instance: &str, command: &str) -> Output {
        let pid = &self.machines()[instance]["pid"];
        Command::new("nsenter")
            .args([
                "--target", pid, "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup",
            ])
            .args(["/bin/sh", "-c", command])
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .output()
            .unwrap()
    }

    /// Returns the one machine that runs.
    pub(crate) fn only_machine(&self) -> String {
        let machines = self.machines();
        assert_eq!(machines.len(), 1, "{machines:?}");
        machines.into_keys().next().unwrap()
    }

    /// Launches an image as any other client of EC2 does, and returns the instance's id.
    pub(crate) fn launch(&self, image: &str, user_data: &str) -> String {
        let client = r#"
import boto3, os, sys
ec2 = boto3.client("ec2", endpoint_url=sys.argv[1], region_name="eu-west-1")
answer = ec2.run_instances(ImageId=sys.argv[2], UserData=sys.argv[3], MinCount=1, MaxCount=1, InstanceType="t3.small")
print(answer["Instances"][0]["InstanceId"])
"#;
        let output = Command::new(needed("AMIBAKE_TEST_PYTHON"))
            .args(["-c", client, &self.url, image, user_data])
            .env("AWS_ACCESS_KEY_ID", "AKIATEST")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout).trim().to_owned()
    }

    /// Lets everybody reach the SSH port of what [`Self::launch`] launches: in EC2 the default group admits nobody.
    pub(crate) fn open_ssh(&self) {
        let client = r#"
import boto3, sys
ec2 = boto3.client("ec2", endpoint_url=sys.argv[1], region_name="eu-west-1")
groups = ec2.describe_security_groups(GroupNames=["default"])["SecurityGroups"]
ec2.authorize_security_group_ingress(GroupId=groups[0]["GroupId"], IpProtocol="tcp", FromPort=22, ToPort=22, CidrIp="0.0.0.0/0")
"#;
        let output = Command::new(needed("AMIBAKE_TEST_PYTHON"))
            .args(["-c", client, &self.url])
            .env("AWS_ACCESS_KEY_ID", "AKIATEST")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
    }

    /// Takes a machine's network away, or gives it back.
    pub(crate) fn cut(&self, instance: &str, cut: bool) {
        self.control("cut", Some(json!({"instance": instance, "cut": cut})));
    }

    /// Returns each instance's state and why it has it, terminated ones too.
    pub(crate) fn states(&self) -> BTreeMap<String, [String; 2]> {
        serde_json::from_value(self.control("states", None)).unwrap()
    }

    /// Returns where the disk of a snapshot lies.
    pub(crate) fn root_of(&self, snapshot: &str) -> PathBuf {
        PathBuf::from(self.control("roots", None)[snapshot].as_str().unwrap())
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        drop(self.server.stdin.take());
        let deadline = Instant::now() + Duration::from_secs(30);
        while Instant::now() < deadline {
            if matches!(self.server.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let _ = self.server.kill();
    }
}

/// Returns a command that runs the binary with an empty environment and `home` as its home.
pub(crate) fn amibake<S: AsRef<std::ffi::OsStr>>(
    home: &Path,
    args: impl IntoIterator<Item = S>,
) -> Command {
    // It honours `nohup`, under which the tests may run.
    let mut command = Command::new("/usr/bin/env");
    command
        .args(["--default-signal=HUP", env!("CARGO_BIN_EXE_amibake")])
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", home)
        .env("XDG_STATE_HOME", home.join("state"))
        .current_dir(home)
        .args(args)
        .stdin(Stdio::null());
    for kept in ["CARGO_TARGET_DIR", "SSL_CERT_FILE"] {
        command.envs(std::env::var_os(kept).map(|value| (kept, value)));
    }
    command
}

/// Returns cargo's target folder: agents and static programs lie there.
pub(crate) fn target_folder() -> &'static Path {
    let program = Path::new(env!("CARGO_BIN_EXE_amibake"));
    program.ancestors().nth(2).unwrap()
}

/// Copies a program to where it lies alone. Not by this process: what another test starts meanwhile
/// would hold the file open, and it could not be run ("text file busy").
pub(crate) fn copy_program(program: &Path, to: &Path) {
    let copied = Command::new("cp").arg(program).arg(to).status();
    assert!(copied.unwrap().success());
}

/// Runs a command and insists on its exit code.
pub(crate) fn expect_exit(command: &mut Command, code: i32) -> Output {
    let output = command.output().unwrap();
    assert_eq!(
        output.status.code(),
        Some(code),
        "{command:?}\nstdout:\n{}\nstderr:\n{}",
        text(&output.stdout),
        text(&output.stderr)
    );
    output
}

/// Returns a command as one that runs on a terminal of its own, where each question gets its answer.
pub(crate) fn on_terminal(command: &Command, answers: &[[&str; 2]]) -> Command {
    let here = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR").unwrap());
    let mut terminal = Command::new("/usr/bin/python3");
    terminal
        .arg(here.join("tests/system/support/terminal.py"))
        .args(answers.as_flattened())
        .arg("--")
        .arg(command.get_program())
        .args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => terminal.env(name, value),
            None => terminal.env_remove(name),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        terminal.current_dir(folder);
    }
    terminal
}

/// Returns bytes as text.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Waits until something is true.
pub(crate) fn wait_for(what: &str, limit: Duration, mut is_true: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !is_true() {
        assert!(Instant::now() < deadline, "waited {limit:?} for {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

pub(crate) fn needed(variable: &str) -> String {
    std::env::var(variable)
        .unwrap_or_else(|_| panic!("{variable} is not set: run ./test, which sets it"))
}

/// A machine with SSH and nothing else of a cloud, for one test alone.
pub(crate) struct Plain {
    server: Child,
    /// Where it is.
    pub(crate) address: String,
    /// Its disk.
    pub(crate) root: PathBuf,
    folder: tempfile::TempDir,
}

impl Plain {
    /// Boots one and waits until it can be logged in to.
    pub(crate) fn start() -> Self {
        Self::boot(with_key())
    }

    /// Boots two that take the same key, at once: what they hold is equal but for their names.
    pub(crate) fn start_two() -> [Self; 2] {
        let (one, two) = (with_key(), tempfile::tempdir().unwrap());
        for name in ["key", "key.pub"] {
            std::fs::copy(one.path().join(name), two.path().join(name)).unwrap();
        }
        let one = std::thread::spawn(|| Self::boot(one));
        let two = Self::boot(two);
        [one.join().unwrap(), two]
    }

    fn boot(folder: tempfile::TempDir) -> Self {
        let public = std::fs::read_to_string(folder.path().join("key.pub")).unwrap();
        let script =
            Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap()).join("tests/cloud/plain.py");
        let mut server = Command::new(needed("AMIBAKE_TEST_PYTHON"))
            .arg(script)
            .args([&needed("AMIBAKE_TEST_ROOT"), public.trim()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut answers = BufReader::new(server.stdout.take().unwrap());
        let mut line = String::new();
        answers.read_line(&mut line).unwrap();
        let (address, root) = line.trim().split_once(' ').expect("the machine starts");
        let (address, root) = (address.to_owned(), PathBuf::from(root));
        let plain = Self {
            server,
            address,
            root,
            folder,
        };
        wait_for("cloud-init", Duration::from_mins(5), || {
            plain.ssh("cloud-init status --wait").status.success()
        });
        plain
    }

    /// Runs a command on it, as its login user, by OpenSSH. After two minutes it is ended, and
    /// has failed with 124.
    pub(crate) fn ssh(&self, command: &str) -> Output {
        let mut ssh = Command::new("timeout");
        ssh.args(["120", "ssh", "-i"])
            .arg(self.folder.path().join("key"));
        for option in [
            "BatchMode=yes",
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
            "ConnectTimeout=2",
        ] {
            ssh.args(["-o", option]);
        }
        ssh.arg(format!("ubuntu@{}", self.address))
            .arg(command)
            .output()
            .unwrap()
    }

    /// Writes a playbook and returns the command that applies it.
    pub(crate) fn apply(&self, playbook: &str) -> Command {
        self.apply_as("ubuntu", playbook)
    }

    /// Does the same for another login user.
    pub(crate) fn apply_as(&self, user: &str, playbook: &str) -> Command {
        self.apply_to(&format!("{user}@{}", self.address), playbook)
    }

    /// Does the same for a host as it is written on the command line.
    pub(crate) fn apply_to(&self, host: &str, playbook: &str) -> Command {
        let path = self.folder.path().join("play.yml");
        std::fs::write(&path, playbook).unwrap();
        self.apply_path(host, &path)
    }

    /// Returns the command that applies the playbook in a file.
    pub(crate) fn apply_file(&self, playbook: &Path) -> Command {
        self.apply_path(&format!("ubuntu@{}", self.address), playbook)
    }

    fn apply_path(&self, host: &str, playbook: &Path) -> Command {
        let mut command = amibake(self.folder.path(), ["apply"]);
        command
            .arg(playbook)
            .args(["--host", host])
            .arg("--identity")
            .arg(self.key());
        command
    }

    /// Returns the private key of its login user.
    pub(crate) fn key(&self) -> PathBuf {
        self.folder.path().join("key")
    }

    /// Returns the folder of its key and of the playbook.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Reads a file of its disk, as it sees it: `/tmp` may be a file system of its own.
    pub(crate) fn read(&self, path: &str) -> String {
        let output = self.ssh(&format!("sudo cat /{path}"));
        assert!(output.status.success(), "{path}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    /// Returns its host key as the command line takes it.
    pub(crate) fn host_key(&self) -> String {
        let path = self.root.join("etc/ssh/ssh_host_ed25519_key.pub");
        std::fs::read_to_string(path).unwrap().trim().to_owned()
    }
}

/// Returns a folder with a login key in it.
fn with_key() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut keygen = Command::new("ssh-keygen");
    keygen
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "test", "-f"])
        .arg(folder.path().join("key"));
    assert!(keygen.status().unwrap().success());
    folder
}

impl Drop for Plain {
    fn drop(&mut self) {
        drop(self.server.stdin.take());
        let _ = self.server.wait();
    }
}
