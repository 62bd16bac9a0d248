//! Several hosts at the same time, from the inventories that Ansible reads.

use std::path::Path;
use std::process::Command;

use crate::support::{Plain, amibake, text};

const PLAY: &str = r#"
- hosts: web:db:nowhere
  gather_facts: false
  tasks:
    - name: Names
      ansible.builtin.copy:
        content: "{{ inventory_hostname }} {{ group_names | join(',') }} {{ color }} {{ size }} {{ only | default('-') }}\n"
        dest: /tmp/names
        mode: "0644"
    - name: Data and templates of the inventory
      ansible.builtin.copy:
        content: "{{ raw }} {{ raws[0] }} {{ ports[80] }}\n"
        dest: /tmp/marks
        mode: "0644"
    - name: Only one of them
      ansible.builtin.command: "false"
      when: inventory_hostname in fails
      changed_when: false
    - name: Last
      ansible.builtin.debug: {msg: "{{ hostvars[inventory_hostname].color }}"}
"#;

const ALL: &str = r#"
color: none
size: 1
fails: []
raw: !unsafe "{% endraw %}{{ 1 + 1 }}"
raws: !unsafe ["{{ 1 + 1 }}"]
ports: {80: "{{ size }}"}
"#;

/// An inventory folder as people keep it; `name` is the file.
fn inventory(folder: &Path, name: &str, one: &Plain, two: &Plain) {
    let write = |path: &str, text: &str| {
        let path = folder.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("play.yml", PLAY);
    write("group_vars/all.yml", ALL);
    write("group_vars/web/main.yml", "color: green\n");
    write("group_vars/servers.yml", "size: 2\ncolor: blue\n");
    write("host_vars/two", "only: here\n");
    // 192.0.2.0/24 is nobody's; the loopback port is closed, so that the answer comes at once.
    let (one, two) = (&one.address, &two.address);
    let ini = format!(
        "[web]\none ansible_host={one}\n[db]\ntwo ansible_host={two} size=9\n[nowhere]\n\
         three ansible_host=127.0.0.1 ansible_port=9\n[servers:children]\nweb\ndb\n[servers:vars]\nansible_user=ubuntu\n"
    );
    let yaml = format!(
        "all:\n  children:\n    servers:\n      vars: {{ansible_user: ubuntu}}\n      children:\n        web: {{hosts: {{one: {{ansible_host: {one}}}}}}}\n        \
         db: {{hosts: {{two: {{ansible_host: {two}, size: 9}}}}}}\n    nowhere: {{hosts: {{three: {{ansible_host: 127.0.0.1, ansible_port: 9}}}}}}\n"
    );
    write(name, if name.ends_with("yml") { &yaml } else { &ini });
}

fn known_hosts(folder: &Path, plains: &[&Plain]) {
    let lines: Vec<String> = plains
        .iter()
        .map(|plain| format!("{} {}\n", plain.address, plain.host_key()))
        .collect();
    std::fs::write(folder.join("known"), lines.concat()).unwrap();
}

/// Returns the recap's figures by host, as both print them.
fn recap(said: &str) -> Vec<String> {
    let lines = said
        .lines()
        .skip_while(|line| !line.starts_with("PLAY RECAP"));
    let mut lines: Vec<String> = lines
        .skip(1)
        .filter(|line| line.contains(" : ok="))
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    lines.sort();
    lines
}

#[test]
fn hosts_run_at_the_same_time_and_one_that_is_not_there_holds_nobody_up() {
    let (one, two) = (Plain::start(), Plain::start());
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    known_hosts(at, &[&one, &two]);
    // Both machines accept the first one's key.
    let public = std::fs::read_to_string(one.folder().join("key.pub")).unwrap();
    let added = two.ssh(&format!("echo '{}' >> .ssh/authorized_keys", public.trim()));
    assert!(added.status.success());
    for (name, fails, code) in [("hosts", "[]", 1), ("hosts.yml", "['two']", 1)] {
        inventory(at, name, &one, &two);
        let ours = |more: &[&str]| {
            let mut command = amibake(
                at,
                ["apply", "play.yml", "-i", name, "--known-hosts", "known"],
            );
            command.arg("--identity").arg(one.folder().join("key"));
            command
                .args(["-e", &format!("{{\"fails\": {fails}}}")])
                .args(more);
            command.output().unwrap()
        };
        let said = ours(&[]);
        let text_of = text(&said.stdout);
        assert_eq!(
            said.status.code(),
            Some(code),
            "{text_of}{}",
            text(&said.stderr)
        );
        assert_eq!(one.read("tmp/names"), "one servers,web green 2 -\n");
        assert_eq!(two.read("tmp/names"), "two db,servers blue 9 here\n");
        let marks = |size: u8| format!("{{% endraw %}}{{{{ 1 + 1 }}}} {{{{ 1 + 1 }}}} {size}\n");
        assert_eq!(one.read("tmp/marks"), marks(2));
        assert_eq!(two.read("tmp/marks"), marks(9));
        let again = ours(&[]); // what Ansible meets as well: everything is in place
        let mut ansible = Command::new("ansible-playbook");
        ansible
            .current_dir(at)
            .args(["-i", name, "play.yml", "--private-key"])
            .arg(one.folder().join("key"))
            .args(["-e", &format!("{{\"fails\": {fails}}}")])
            .env(
                "ANSIBLE_SSH_ARGS",
                format!("-o UserKnownHostsFile={}", at.join("known").display()),
            )
            .env("ANSIBLE_STRATEGY", "free");
        let theirs = ansible.output().unwrap();
        // Which of its two codes it is, of an unreachable and a failed host, depends on who was last.
        assert!(
            matches!(theirs.status.code(), Some(2 | 4)),
            "{}",
            text(&theirs.stdout)
        );
        assert_eq!(
            recap(&text(&again.stdout)),
            recap(&text(&theirs.stdout)),
            "{}\n{}",
            text(&again.stdout),
            text(&theirs.stdout)
        );
        assert_eq!(recap(&text(&again.stdout)).len(), 3);

        // Patterns; with the host that is not there left out, all is well unless one fails.
        for (limit, hosts) in [
            ("web", 1),
            ("all:!nowhere", 2),
            ("servers:&db", 1),
            ("t*o", 1),
            ("~t.o", 1),
            ("servers[0]", 1),
        ] {
            let said = ours(&["-l", limit, "-e", "{\"fails\": []}"]);
            assert_eq!(
                said.status.code(),
                Some(0),
                "{limit}: {}",
                text(&said.stdout)
            );
            assert_eq!(recap(&text(&said.stdout)).len(), hosts, "{limit}");
        }
    }
}
