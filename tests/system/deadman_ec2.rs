//! The dead-man timer: a machine that nobody comes back for ends itself, one that somebody cares
//! for does not, and an image has no timer at all.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::support::{Cloud, text, wait_for};

/// The shortest period there is.
const PERIOD: Duration = Duration::from_secs(60);

fn manifest(seconds: u64) -> String {
    format!(
        r#"
name: timer
source: {{ubuntu: "24.04"}}
builder:
  region: eu-west-1
  instance_type: [t3.small]
  connect: private-ip
  timeouts: {{unattended: 60s}}
provision:
  - tasks:
      - name: Take longer than the machine may be unattended
        ansible.builtin.shell: touch /etc/started; sleep {seconds}
image: {{name: "timer-{{{{ build_time }}}}"}}
"#
    )
}

/// Waits until the task runs; returns the builder.
fn task_runs(cloud: &Cloud) -> String {
    let mut builder = None;
    wait_for("the task", Duration::from_mins(5), || {
        let mut machines = cloud.machines().into_iter();
        builder = machines.find(|(_, m)| Path::new(&m["root"]).join("etc/started").exists());
        builder.is_some()
    });
    builder.unwrap().0
}

fn timers(cloud: &Cloud, instance: &str) -> String {
    let listed = cloud.inside(
        instance,
        "systemctl list-units --plain --no-legend --all 'amibake*'",
    );
    text(&listed.stdout)
}

/// Waits until the machine has ended itself, and returns how long that took.
fn ends_itself(cloud: &Cloud, instance: &str) -> Duration {
    let since = Instant::now();
    wait_for("its own end", PERIOD + Duration::from_mins(3), || {
        cloud.states()[instance][0] == "terminated"
    });
    let [_, reason] = &cloud.states()[instance];
    assert_eq!(reason, "Client.InstanceInitiatedShutdown");
    let calls = cloud.calls();
    assert!(
        !calls.contains(&"TerminateInstances".to_owned()),
        "{calls:?}"
    );
    assert!(!cloud.inventory()["instances"].contains(&instance.to_owned()));
    since.elapsed()
}

#[test]
fn a_builder_whose_controller_was_killed_ends_itself_when_its_time_is_up() {
    let cloud = Cloud::start();
    let mut running = cloud.start_build(&manifest(600));
    let builder = task_runs(&cloud);
    assert!(timers(&cloud, &builder).contains("amibake-deadman"));
    running.kill();
    assert_eq!(cloud.states()[&builder][0], "running");
    let lived = ends_itself(&cloud, &builder);
    // It was told that it is wanted at most a sixth of the period before the kill.
    assert!(lived > PERIOD / 2, "it ended after {lived:?}");
}

#[test]
fn a_reboot_keeps_the_timer() {
    let cloud = Cloud::start();
    let mut running = cloud.start_build(&manifest(600));
    let builder = task_runs(&cloud);
    running.kill();
    let first = cloud.machines()[&builder]["pid"].clone();
    cloud.inside(&builder, "systemctl reboot");
    wait_for(
        "the timer of the second boot",
        Duration::from_mins(1),
        || {
            let machines = cloud.machines();
            machines
                .get(&builder)
                .is_some_and(|m| m["pid"] != first && m["pid"] != "None")
                && timers(&cloud, &builder).contains("amibake-deadman.timer")
        },
    );
    assert_eq!(cloud.states()[&builder][0], "running");
    ends_itself(&cloud, &builder);
}

/// The build takes longer than a machine may be unattended: it is told in time. Its image has no
/// timer, and lives on without any user data.
#[test]
fn a_long_build_is_not_cut_short_and_its_image_has_no_timer() {
    let cloud = Cloud::start();
    let mut running = cloud.start_build(&manifest(75));
    let image = running.wait().ended(0).stdout;
    let instance = cloud.launch(image.trim(), "");
    wait_for("its boot", Duration::from_mins(4), || {
        let state = cloud.inside(&instance, "systemctl is-system-running");
        ["running\n", "degraded\n"].contains(&text(&state.stdout).as_str())
    });
    let keys = cloud.inside(&instance, "ls /etc/ssh/ssh_host_ed25519_key");
    assert!(keys.status.success(), "it has made itself host keys");
    let up = Instant::now();
    while up.elapsed() < PERIOD + Duration::from_secs(15) {
        assert_eq!(cloud.states()[&instance][0], "running");
        assert_eq!(timers(&cloud, &instance), "", "a timer of the build");
        std::thread::sleep(Duration::from_secs(1));
    }
    let scheduled = cloud.inside(&instance, "ls /run/systemd/shutdown/scheduled");
    assert!(!scheduled.status.success(), "a shutdown is scheduled");
}
