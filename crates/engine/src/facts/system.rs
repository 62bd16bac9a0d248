//! The small facts: security modules, init and package managers, clock, user, Python, systemd.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use jiff::Zoned;
use jiff::tz::TimeZone;
use serde_json::{Map, Value as Json, json};

use super::collector::Collector;
use super::read;

/// Interpreters as Ansible looks for them, newest first.
const PYTHONS: &[&str] = &[
    "python3.13",
    "python3.12",
    "python3.11",
    "python3.10",
    "python3.9",
    "python3.8",
    "/usr/bin/python3",
    "python3",
];

/// Package managers by the program that shows them; the last one found counts.
const PACKAGE_MANAGERS: &[(&str, &str)] = &[
    ("/usr/bin/rpm-ostree", "atomic_container"),
    ("/usr/bin/yum", "dnf"),
    ("/usr/bin/dnf-3", "dnf"),
    ("/usr/bin/dnf5", "dnf5"),
    ("/usr/bin/apt-get", "apt"),
    ("/usr/bin/zypper", "zypper"),
    ("/usr/bin/pacman", "pacman"),
    ("/bin/opkg", "opkg"),
    ("/usr/local/bin/brew", "homebrew"),
    ("/sbin/apk", "apk"),
    ("/usr/bin/emerge", "portage"),
    ("/usr/bin/xbps-install", "xbps"),
    ("/usr/bin/swupd", "swupd"),
];

/// Programs that are asked while everything else is read.
pub(super) struct Children {
    python: Option<(PathBuf, Child)>,
    systemctl: Option<Child>,
}

impl Children {
    /// Starts those that `wanted` needs.
    pub(super) fn start(wanted: &BTreeSet<Collector>, interpreter: Option<&str>) -> Self {
        let python = wanted.contains(&Collector::Python) || wanted.contains(&Collector::Platform);
        let systemd = wanted.contains(&Collector::Systemd) && systemd_runs();
        Self {
            python: python.then(|| start_python(interpreter)).flatten(),
            systemctl: systemd
                .then(|| quiet("systemctl", &["--version"]))
                .flatten(),
        }
    }

    /// Waits for their answers and adds what they say.
    pub(super) fn finish(self, facts: &mut Map<String, Json>) {
        if let Some((path, child)) = self.python
            && let Some(answer) = answer(child)
        {
            facts.extend(python(&path, &answer));
        }
        if let Some(answer) = self.systemctl.and_then(answer) {
            facts.extend(systemd(&answer));
        }
    }
}

/// Asks the interpreter that is given, or the first that Ansible would find.
fn start_python(interpreter: Option<&str>) -> Option<(PathBuf, Child)> {
    let known = interpreter.as_ref().map_or(PYTHONS, std::slice::from_ref);
    let path = known.iter().find_map(|name| {
        if name.starts_with('/') {
            return Some(PathBuf::from(name)).filter(|path| path.exists());
        }
        read::program(name)
    })?;
    let script = "import sys;v=sys.version_info;\
        print(v[0],v[1],v[2],v[3],v[4],sys.implementation.name,'_ssl' in sys.builtin_module_names or \
        __import__('importlib.machinery').machinery.PathFinder.find_spec('_ssl') is not None)";
    let child = quiet(path.to_str()?, &["-I", "-S", "-c", script])?;
    Some((path, child))
}

fn quiet(program: &str, args: &[&str]) -> Option<Child> {
    Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()
}

fn answer(child: Child) -> Option<String> {
    let output = child.wait_with_output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    output.status.success().then_some(text)
}

/// Reads `3 11 2 final 0 cpython True`.
fn python(path: &Path, answer: &str) -> Map<String, Json> {
    let words: Vec<&str> = answer.split_whitespace().collect();
    let [major, minor, micro, level, serial, kind, ssl] = words.as_slice() else {
        return Map::new();
    };
    let n = |text: &str| json!(text.parse::<u32>().unwrap_or(0));
    let mut facts = Map::new();
    let version = format!("{major}.{minor}.{micro}");
    facts.insert("python_version".to_owned(), json!(version));
    let detail = json!({
        "version": {
            "major": n(major), "minor": n(minor), "micro": n(micro),
            "releaselevel": level, "serial": n(serial),
        },
        "version_info": [n(major), n(minor), n(micro), level, n(serial)],
        "executable": path,
        "has_sslcontext": *ssl == "True",
        "type": kind,
    });
    facts.insert("python".to_owned(), detail);
    facts
}

/// Reads `systemd 252 (252.36-1)` and the line of features after it.
fn systemd(answer: &str) -> Map<String, Json> {
    let mut lines = answer.lines();
    let version = lines
        .next()
        .and_then(|l| l.split(' ').nth(1)?.parse::<u32>().ok());
    let mut facts = Map::new();
    let detail = json!({"version": version, "features": lines.next()});
    facts.insert("systemd".to_owned(), detail);
    facts
}

fn systemd_runs() -> bool {
    read::program("systemctl").is_some()
        && [
            "/run/systemd/system/",
            "/dev/.run/systemd/",
            "/dev/.systemd/",
        ]
        .iter()
        .any(read::exists)
}

/// Collects `selinux`. Debian's `libselinux` is always there, so Ansible finds its library.
pub(super) fn selinux(facts: &mut Map<String, Json>) {
    let mut selinux = json!({"status": "disabled"});
    if read::exists("/sys/fs/selinux/enforce") {
        let mode = |text: Option<String>| match text.as_deref() {
            Some("1" | "enforcing") => "enforcing",
            Some("0" | "permissive") => "permissive",
            Some("disabled") => "disabled",
            _ => "unknown",
        };
        let config = read::lines("/etc/selinux/config");
        let set = |key: &str| {
            config
                .iter()
                .find_map(|l| l.strip_prefix(key))
                .map(str::to_owned)
        };
        selinux = json!({
            "status": "enabled",
            "policyvers": read::number::<u32>("/sys/fs/selinux/policyvers"),
            "config_mode": mode(set("SELINUX=")),
            "mode": mode(read::text("/sys/fs/selinux/enforce")),
            "type": set("SELINUXTYPE=").unwrap_or_else(|| "unknown".to_owned()),
        });
    }
    facts.insert("selinux".to_owned(), selinux);
    facts.insert("selinux_python_present".to_owned(), json!(true));
}

/// Collects `apparmor`.
pub(super) fn apparmor(facts: &mut Map<String, Json>) {
    let enabled = read::exists("/sys/kernel/security/apparmor");
    let status = if enabled { "enabled" } else { "disabled" };
    facts.insert("apparmor".to_owned(), json!({"status": status}));
}

/// Collects `is_chroot`: whether our root is another than that of process 1.
pub(super) fn chroot(facts: &mut Map<String, Json>) {
    let named = std::env::var("debian_chroot").is_ok_and(|name| !name.is_empty());
    let id = |path: &str| std::fs::metadata(path).map(|m| (m.dev(), m.ino()));
    let differs = match (id("/"), id("/proc/1/root/.")) {
        (Ok(ours), Ok(theirs)) => ours != theirs,
        (Ok((_, inode)), Err(_)) => ![2, 128, 256].contains(&inode),
        (Err(_), _) => false,
    };
    facts.insert("is_chroot".to_owned(), json!(named || differs));
}

/// Collects `fips`.
pub(super) fn fips(facts: &mut Map<String, Json>) {
    let enabled = read::text("/proc/sys/crypto/fips_enabled").as_deref() == Some("1");
    facts.insert("fips".to_owned(), json!(enabled));
}

/// Collects `system_capabilities*` as they read in `capsh --print`, where that is installed.
pub(super) fn capabilities(facts: &mut Map<String, Json>) {
    let (mut enforced, mut capabilities) = (json!("N/A"), json!("N/A"));
    if let Some(capsh) = read::program("capsh") {
        let (is, which) = if holds_everything() {
            (json!("False"), json!([]))
        } else {
            let printed = capsh
                .to_str()
                .and_then(|p| quiet(p, &["--print"]))
                .and_then(answer);
            current_capabilities(&printed.unwrap_or_default())
        };
        (enforced, capabilities) = (is, which);
    }
    facts.insert("system_capabilities_enforced".to_owned(), enforced);
    facts.insert("system_capabilities".to_owned(), capabilities);
}

/// Whether all capabilities of this kernel are permitted and effective, and none inherited.
fn holds_everything() -> bool {
    let status = read::lines("/proc/self/status");
    let set = |key: &str| {
        let line = status.iter().find_map(|l| l.strip_prefix(key))?;
        u64::from_str_radix(line.trim(), 16).ok()
    };
    let last: u32 = read::number("/proc/sys/kernel/cap_last_cap").unwrap_or(40);
    let all = u64::MAX >> 63_u32.saturating_sub(last);
    set("CapInh:") == Some(0) && set("CapPrm:") == Some(all) && set("CapEff:") == Some(all)
}

fn current_capabilities(printed: &str) -> (Json, Json) {
    let Some(current) = printed.lines().find_map(|l| l.strip_prefix("Current:")) else {
        return (json!("NA"), json!([]));
    };
    if current.trim() == "=ep" {
        return (json!("False"), json!([]));
    }
    let list = current.split('=').nth(1).unwrap_or_default();
    let names: Vec<_> = list.split(',').map(str::trim).collect();
    (json!("True"), json!(names))
}

/// Collects `pkg_mgr`.
pub(super) fn package_manager(facts: &mut Map<String, Json>) {
    let found = PACKAGE_MANAGERS
        .iter()
        .rev()
        .find(|(path, _)| read::exists(path));
    let name = match facts.get("os_family").and_then(Json::as_str) {
        Some("Debian") => "apt",
        _ => found.map_or("unknown", |(_, name)| name),
    };
    facts.insert("pkg_mgr".to_owned(), json!(name));
}

/// Collects `service_mgr`.
pub(super) fn service_manager(facts: &mut Map<String, Json>) {
    facts.insert("service_mgr".to_owned(), json!(service_manager_name()));
}

/// Returns what manages services, by the name of process 1 if that is telling.
pub(crate) fn service_manager_name() -> String {
    let first = read::text("/proc/1/comm").or_else(|| read::link_name("/sbin/init"));
    let telling = first.filter(|name| name != "init" && !name.ends_with("sh"));
    match telling.as_deref() {
        Some("procd") => "openwrt_init".to_owned(),
        Some("runit-init") => "runit".to_owned(),
        Some("svscan") => "svc".to_owned(),
        Some("openrc-init") => "openrc".to_owned(),
        Some(name) => name.to_owned(),
        None => installed_service_manager().to_owned(),
    }
}

fn installed_service_manager() -> &'static str {
    let systemctl = read::program("systemctl").is_some();
    if systemd_runs() {
        "systemd"
    } else if read::program("initctl").is_some() && read::exists("/etc/init/") {
        "upstart"
    } else if read::exists("/sbin/openrc") {
        "openrc"
    } else if systemctl && read::link_name("/sbin/init").as_deref() == Some("systemd") {
        "systemd"
    } else if read::exists("/etc/init.d/") {
        "sysvinit"
    } else if read::exists("/etc/dinit.d/") {
        "dinit"
    } else {
        "service"
    }
}

/// Collects `cmdline` and `proc_cmdline`, which keeps repeated names as lists.
pub(super) fn cmdline(facts: &mut Map<String, Json>) {
    let Some(text) = read::text("/proc/cmdline") else {
        return;
    };
    let (mut last, mut every) = (Map::new(), Map::new());
    for word in words(&text) {
        let Some((name, value)) = word.split_once('=') else {
            last.insert(word.clone(), json!(true));
            every.insert(word, json!(true));
            continue;
        };
        last.insert(name.to_owned(), json!(value));
        match every.get_mut(name) {
            Some(Json::Array(list)) => list.push(json!(value)),
            Some(one) => *one = json!([one.clone(), value]),
            None => {
                every.insert(name.to_owned(), json!(value));
            }
        }
    }
    facts.insert("cmdline".to_owned(), Json::Object(last));
    facts.insert("proc_cmdline".to_owned(), Json::Object(every));
}

/// Splits as `shlex.split(posix=False)`: quotes hold words together and stay.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    for c in text.chars() {
        match quote {
            Some(open) if c == open => quote = None,
            None if c == '"' || c == '\'' => quote = Some(c),
            None if c.is_whitespace() => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                continue;
            }
            _ => {}
        }
        word.push(c);
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// Collects `date_time`.
pub(super) fn date_time(facts: &mut Map<String, Json>) {
    facts.insert("date_time".to_owned(), clock(&Zoned::now()));
}

fn clock(now: &Zoned) -> Json {
    let utc = now.with_time_zone(TimeZone::UTC);
    let show = |format: &str| now.strftime(format).to_string();
    let epoch = now.timestamp().as_second().to_string();
    json!({
        "year": show("%Y"), "month": show("%m"), "day": show("%d"),
        "hour": show("%H"), "minute": show("%M"), "second": show("%S"),
        "weekday": show("%A"), "weekday_number": show("%w"), "weeknumber": show("%W"),
        "epoch": epoch, "epoch_int": epoch,
        "date": show("%Y-%m-%d"), "time": show("%H:%M:%S"),
        "iso8601_micro": utc.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string(),
        "iso8601": utc.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        "iso8601_basic": show("%Y%m%dT%H%M%S%6f"),
        "iso8601_basic_short": show("%Y%m%dT%H%M%S"),
        "tz": show("%Z"), "tz_dst": summer_name(now), "tz_offset": show("%z"),
    })
}

/// The zone's abbreviation in summer time, or its only one.
fn summer_name(now: &Zoned) -> String {
    let zone = now.time_zone();
    let at = |month: i8| {
        let date = jiff::civil::date(now.year(), month, 1);
        let zoned = date.to_zoned(zone.clone()).ok()?;
        let info = zone.to_offset_info(zoned.timestamp());
        Some((info.dst().is_dst(), info.abbreviation().to_owned()))
    };
    let seasons = [at(1), at(7)];
    let summer = seasons.iter().flatten().find(|(dst, _)| *dst);
    summer
        .or(seasons.iter().flatten().next())
        .map_or_else(|| "UTC".to_owned(), |(_, name)| name.clone())
}

/// Collects `loadavg`.
pub(super) fn loadavg(facts: &mut Map<String, Json>) {
    let Ok(info) = nix::sys::sysinfo::sysinfo() else {
        return;
    };
    let (one, five, fifteen) = info.load_average();
    let load = json!({"1m": one, "5m": five, "15m": fifteen});
    facts.insert("loadavg".to_owned(), load);
}

/// Collects the public host keys of sshd.
pub(super) fn ssh_host_keys(facts: &mut Map<String, Json>) {
    for folder in ["/etc/ssh", "/etc/openssh", "/etc"] {
        for kind in ["dsa", "rsa", "ecdsa", "ed25519"] {
            let name = format!("ssh_host_key_{kind}_public");
            if facts.contains_key(&name) {
                return;
            }
            let text = read::text(format!("{folder}/ssh_host_{kind}_key.pub")).unwrap_or_default();
            let mut fields = text.split_whitespace();
            if let (Some(key_type), Some(key)) = (fields.next(), fields.next()) {
                facts.insert(format!("{name}_keytype"), json!(key_type));
                facts.insert(name, json!(key));
            }
        }
    }
}

/// Collects who this process is.
pub(super) fn user(facts: &mut Map<String, Json>) {
    let (uid, gid) = (
        nix::unistd::getuid().as_raw(),
        nix::unistd::getgid().as_raw(),
    );
    let effective = nix::unistd::geteuid().as_raw();
    let passwd = read::lines("/etc/passwd");
    let entry = passwd
        .iter()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| fields.get(2).and_then(|id| id.parse().ok()) == Some(uid));
    if let Some([name, _, id, group, gecos, dir, shell, ..]) = entry.as_deref() {
        let number = |text: &str| json!(text.parse::<u32>().unwrap_or(uid));
        facts.insert("user_id".to_owned(), json!(name));
        facts.insert("user_uid".to_owned(), number(id));
        facts.insert("user_gid".to_owned(), number(group));
        facts.insert("user_gecos".to_owned(), json!(gecos));
        facts.insert("user_dir".to_owned(), json!(dir));
        facts.insert("user_shell".to_owned(), json!(shell));
    }
    facts.insert("real_user_id".to_owned(), json!(uid));
    facts.insert("effective_user_id".to_owned(), json!(effective));
    facts.insert("real_group_id".to_owned(), json!(gid));
    facts.insert("effective_group_id".to_owned(), json!(gid));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quoted_word_of_the_kernel_stays_whole() {
        assert_eq!(words("quiet a=\"b c\"  d"), ["quiet", "a=\"b c\"", "d"]);
    }

    #[test]
    fn the_clock_reads_as_strftime_writes() {
        let now: Zoned = "2024-02-29T13:04:05.000006+01:00[Europe/Berlin]"
            .parse()
            .unwrap();
        let clock = clock(&now);
        assert_eq!(clock["iso8601_micro"], "2024-02-29T12:04:05.000006Z");
        assert_eq!(clock["iso8601_basic_short"], "20240229T130405");
        assert_eq!(clock["weekday"], "Thursday");
        assert_eq!(clock["tz"], "CET");
        assert_eq!(clock["tz_dst"], "CEST");
        assert_eq!(clock["tz_offset"], "+0100");
    }

    #[test]
    fn capsh_is_read_as_ansible_reads_it() {
        let (enforced, which) = current_capabilities("Current: cap_chown,cap_kill=ep\n");
        assert_eq!((enforced, which), (json!("True"), json!(["ep"])));
    }

    #[test]
    fn a_python_is_described_by_its_answer() {
        let facts = python(
            Path::new("/usr/bin/python3"),
            "3 11 2 final 0 cpython True\n",
        );
        assert_eq!(facts["python_version"], "3.11.2");
        assert_eq!(facts["python"]["has_sslcontext"], true);
    }
}
