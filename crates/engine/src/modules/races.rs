//! Root at work in a folder of somebody who swaps files and folders for links all the while.
//!
//! He wants root's file: to own it, to write it, to have it removed, or to read a copy of it.

use std::fs::{self, File, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};

use super::tests::run;
use crate::place::Place;

const MALLORY: u32 = 65534;
const TRIES: usize = 1500;
const LONGEST: Duration = Duration::from_secs(60);
const TREASURE: &str = "root:the treasure\n";

/// Swaps `work` for a link to the vault, `work/shadow` for a link to what lies in it, and back. His
/// own link `current` leads now to a folder of his, now to the vault.
const ATTACK: &str = "
import os, sys
home, vault = sys.argv[1:]
work, aside, mine = (os.path.join(home, n) for n in ('work', 'aside', 'mine'))
shadow = os.path.join(work, 'shadow')
def tried(act, *paths):
    try:
        act(*paths)
    except OSError:
        pass
def bait():
    with open(shadow, 'w') as file:
        file.write('bait')
def lead(to):
    tried(os.symlink, to, mine)
    tried(os.rename, mine, os.path.join(home, 'current'))
roots = 0
while True:
    if os.path.exists(aside): # root has made another `work` meanwhile
        tried(os.rename, work, os.path.join(home, 'roots%d' % roots))
        tried(os.rename, aside, work)
        roots += 1
    lead(vault)
    tried(os.rename, work, aside)
    tried(os.symlink, vault, work)
    tried(os.unlink, work)
    tried(os.rename, aside, work)
    tried(os.symlink, os.path.join(vault, 'shadow'), mine)
    tried(os.rename, mine, shadow)
    lead('own')
    tried(os.unlink, shadow)
    tried(bait)
";

/// Ends the attack, come what may.
struct Attacker(Child);

impl Drop for Attacker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Scene {
    folder: tempfile::TempDir,
}

impl Scene {
    fn set() -> Self {
        let scene = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        let open = Permissions::from_mode(0o755);
        fs::set_permissions(scene.folder.path(), open).unwrap();
        fs::create_dir(scene.at("vault")).unwrap();
        fs::write(scene.at("vault/shadow"), TREASURE).unwrap();
        fs::set_permissions(scene.at("vault/shadow"), Permissions::from_mode(0o600)).unwrap();
        for folder in ["home", "home/work", "home/own"] {
            fs::create_dir(scene.at(folder)).unwrap();
            chown(scene.at(folder), Some(MALLORY), Some(MALLORY)).unwrap();
        }
        fs::write(scene.at("home/own/shadow"), "own\n").unwrap();
        symlink("own", scene.at("home/current")).unwrap();
        scene
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn attack(&self) -> Attacker {
        let mut command = Command::new("python3");
        command.args(["-c", ATTACK]);
        command.args([self.at("home"), self.at("vault")]);
        command.uid(MALLORY).gid(MALLORY).stderr(Stdio::null());
        Attacker(command.spawn().unwrap())
    }

    /// Tries `task` again and again, and says how often it was done and how often refused.
    fn race(&self, module: &str, task: &Json) -> (usize, usize) {
        let _attacker = self.attack();
        let (mut done, mut refused) = (0, 0);
        let begun = Instant::now();
        for tries in 0.. {
            // On a busy machine the attack begins late.
            let raced = done > 0 && refused > 0;
            if tries >= TRIES && (raced || begun.elapsed() > LONGEST) {
                break;
            }
            match run(module, task.clone()) {
                Ok(_) => done += 1,
                Err(_) => refused += 1,
            }
            self.assert_untouched(module);
            self.assert_no_program_of_roots();
            self.assert_nothing_leaked(module);
        }
        (done, refused)
    }

    fn assert_nothing_leaked(&self, by: &str) {
        let home = Place::of(&self.at("home")).and_then(|home| home.enter());
        nothing_leaked(&home.unwrap(), by).unwrap();
    }

    fn assert_untouched(&self, by: &str) {
        let (vault, shadow) = (self.at("vault"), self.at("vault/shadow"));
        let meta = fs::symlink_metadata(&shadow).expect("root's file is there");
        let is = (meta.uid(), meta.mode() & 0o7777, meta.len(), meta.nlink());
        assert_eq!(is, (0, 0o600, TREASURE.len() as u64, 1), "shadow, by {by}");
        let meta = fs::symlink_metadata(&vault).unwrap();
        let is = (meta.uid(), meta.mode() & 0o7777, meta.nlink());
        assert_eq!(is, (0, 0o755, 2), "the vault, by {by}");
        assert_eq!(fs::read_dir(&vault).unwrap().count(), 1, "in it, by {by}");
    }

    /// Looks whether what the attacker wrote has become root's, to be run as root.
    fn assert_no_program_of_roots(&self) {
        let no_link = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
        let opened = File::options()
            .read(true)
            .custom_flags(no_link)
            .open(self.at("home/work/shadow"));
        let Ok(mut file) = opened else {
            return;
        };
        let meta = file.metadata().unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        let roots = meta.uid() == 0 && meta.mode() & 0o4000 != 0;
        assert!(!roots || text != "bait", "his own words, set-user-id root");
    }
}

/// Looks whether the treasure lies below. He may be moving files and folders meanwhile.
fn nothing_leaked(inside: &Place, by: &str) -> io::Result<()> {
    for name in inside.names()? {
        let place = inside.sibling(&name);
        let mut text = String::new();
        match place.enter() {
            Ok(folder) => nothing_leaked(&folder, by).unwrap_or_default(),
            Err(_) => {
                let opened = place.open_to_read();
                let _ = opened.and_then(|mut file| file.read_to_string(&mut text));
            }
        }
        assert!(
            !text.contains("treasure"),
            "{}, by {by}",
            place.real().display()
        );
    }
    Ok(())
}

fn survives(module: &str, task: impl Fn(&Scene) -> Json) {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: acting as root and as another user needs root");
        return;
    }
    let scene = Scene::set();
    let task = task(&scene);
    let (done, refused) = scene.race(module, &task);
    // There was a race: some tries found the folder as it should be, and some did not.
    assert!(done > 0 && refused > 0, "{done} done, {refused} refused");
}

#[test]
fn a_tree_is_given_away_and_nothing_outside_of_it() {
    survives("file", |scene| {
        json!({"path": scene.at("home"), "state": "directory", "recurse": true,
            "owner": "nobody", "mode": "u=rwX,go=rwX"})
    });
}

#[test]
fn a_file_is_given_away_and_nothing_that_a_link_leads_to() {
    survives("file", |scene| {
        json!({"path": scene.at("home/work/shadow"), "state": "touch",
            "owner": "nobody", "mode": "0666"})
    });
}

#[test]
fn what_is_removed_lies_in_that_folder() {
    survives(
        "file",
        |scene| json!({"path": scene.at("home/work/shadow"), "state": "absent"}),
    );
}

#[test]
fn a_copy_and_its_backup_stay_where_they_belong() {
    survives("copy", |scene| {
        json!({"dest": scene.at("home/work/shadow"), "content": "new\n", "backup": true,
            "owner": "nobody", "mode": "0666"})
    });
}

#[test]
fn what_becomes_roots_is_what_root_wrote() {
    survives("copy", |scene| {
        json!({"dest": scene.at("home/work/shadow"), "content": "new\n",
            "owner": "root", "mode": "4755"})
    });
}

#[test]
fn a_file_of_the_machine_is_copied_and_none_that_a_link_leads_to() {
    survives("copy", |scene| {
        json!({"src": scene.at("home/work/"), "dest": scene.at("home/copies"),
            "remote_src": true, "owner": "nobody", "mode": "0777"})
    });
}

#[test]
fn an_edited_file_is_read_and_written_in_that_folder() {
    survives("lineinfile", |scene| {
        json!({"path": scene.at("home/work/shadow"), "line": "one more", "create": true,
            "backup": true, "owner": "nobody", "mode": "0666"})
    });
}

#[test]
fn fragments_are_those_of_that_folder() {
    survives("assemble", |scene| {
        json!({"src": scene.at("home/work"), "dest": scene.at("home/all"),
            "remote_src": true, "owner": "nobody", "mode": "0666"})
    });
}

#[test]
fn what_is_judged_is_what_root_wrote() {
    survives("copy", |scene| {
        json!({"dest": scene.at("home/work/shadow"), "content": "new\n",
            "validate": "grep -qx new %s", "owner": "nobody", "mode": "0666"})
    });
}

#[test]
fn a_replaced_text_is_read_and_written_in_that_folder() {
    survives("replace", |scene| {
        json!({"path": scene.at("home/work/shadow"), "regexp": "$", "replace": "x",
            "backup": true, "owner": "nobody", "mode": "0666"})
    });
}

#[test]
fn a_block_is_put_into_a_file_of_that_folder() {
    survives("blockinfile", |scene| {
        json!({"path": scene.at("home/work/shadow"), "block": "one more", "create": true,
            "backup": true, "owner": "nobody", "mode": "0666"})
    });
}

#[test]
fn a_link_is_made_in_that_folder_and_what_it_leads_to_is_left_alone() {
    survives("file", |scene| {
        json!({"path": scene.at("home/work/shadow"), "src": "../current/shadow",
            "state": "link", "force": true, "owner": "nobody", "mode": "0666"})
    });
}

#[test]
fn a_second_name_is_made_of_no_file_that_a_link_leads_to() {
    survives("file", |scene| {
        json!({"path": scene.at("home/named"), "src": scene.at("home/work/shadow"),
            "state": "hard", "force": true, "owner": "nobody", "mode": "0666"})
    });
}

#[test]
fn by_his_own_link_a_tree_of_his_is_given_away_and_no_other() {
    survives("file", |scene| {
        json!({"path": scene.at("home/current/"), "state": "directory", "recurse": true,
            "owner": "nobody", "mode": "u=rwX,go=rwX"})
    });
}

#[test]
fn by_his_own_link_a_file_is_written_in_a_folder_of_his() {
    survives("copy", |scene| {
        json!({"dest": scene.at("home/current/shadow"), "content": "new\n", "backup": true,
            "owner": "nobody", "mode": "0666"})
    });
}

#[test]
fn by_his_own_link_a_file_of_his_is_edited() {
    survives("lineinfile", |scene| {
        json!({"path": scene.at("home/current/shadow"), "line": "one more", "create": true,
            "backup": true, "owner": "nobody", "mode": "0666"})
    });
}

#[test]
fn by_his_own_link_a_file_of_his_is_removed() {
    survives(
        "file",
        |scene| json!({"path": scene.at("home/current/shadow"), "state": "absent"}),
    );
}

#[test]
fn by_his_own_link_only_what_is_his_is_copied() {
    survives("copy", |scene| {
        json!({"src": scene.at("home/current/"), "dest": scene.at("home/copies"),
            "remote_src": true, "owner": "nobody", "mode": "0777"})
    });
}
