//! Root at work in a folder of somebody who swaps files and folders for links all the while.
//!
//! He wants root's file: to own it, to write it, to have it removed, or to read a copy of it.

use std::fs::{self, File, Permissions};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value as Json, json};

use super::tests::run;

const MALLORY: u32 = 65534;
const TRIES: usize = 1500;
const TREASURE: &str = "root:the treasure\n";

/// Swaps `work` for a link to the vault, `work/shadow` for a link to what lies in it, and back.
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
while True:
    tried(os.rename, work, aside)
    tried(os.symlink, vault, work)
    tried(os.unlink, work)
    tried(os.rename, aside, work)
    tried(os.symlink, os.path.join(vault, 'shadow'), mine)
    tried(os.rename, mine, shadow)
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
        for folder in ["home", "home/work"] {
            fs::create_dir(scene.at(folder)).unwrap();
            chown(scene.at(folder), Some(MALLORY), Some(MALLORY)).unwrap();
        }
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
        for _ in 0..TRIES {
            match run(module, task.clone()) {
                Ok(_) => done += 1,
                Err(_) => refused += 1,
            }
            self.assert_untouched(module);
            self.assert_no_program_of_roots();
            assert_nothing_leaked(&self.at("home"), false, module);
        }
        (done, refused)
    }

    fn assert_untouched(&self, by: &str) {
        let (vault, shadow) = (self.at("vault"), self.at("vault/shadow"));
        let meta = fs::symlink_metadata(&shadow).expect("root's file is there");
        let is = (meta.uid(), meta.mode() & 0o7777, meta.len());
        assert_eq!(is, (0, 0o600, TREASURE.len() as u64), "shadow, by {by}");
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

/// Looks whether the treasure lies in the attacker's home. He may be moving files meanwhile.
fn assert_nothing_leaked(folder: &Path, deep: bool, by: &str) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let Ok(meta) = fs::symlink_metadata(&path) else {
            continue;
        };
        if meta.is_dir() && deep {
            assert_nothing_leaked(&path, deep, by);
        } else if meta.is_file() {
            let text = fs::read_to_string(&path).unwrap_or_default();
            assert!(!text.contains("treasure"), "{}, by {by}", path.display());
        }
    }
}

fn survives(module: &str, task: impl Fn(&Scene) -> Json) {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: acting as root and as another user needs root");
        return;
    }
    let scene = Scene::set();
    let task = task(&scene);
    let (done, refused) = scene.race(module, &task);
    assert_nothing_leaked(&scene.at("home"), true, module);
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
