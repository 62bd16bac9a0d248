//! Any pattern, on the first line, is compiled or refused; what it finds in the text of the third
//! line and on lies in it, in order; the second line is what matches are replaced by.

#![no_main]

use amibake_playbook::pyre::{Flags, Regex};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &str| {
    let mut parts = input.splitn(3, '\n');
    let (pattern, by) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
    let text = parts.next().unwrap_or("");
    for multiline in [false, true] {
        let flags = Flags {
            multiline,
            ..Flags::default()
        };
        let Ok(regex) = Regex::new(pattern, flags) else {
            return;
        };
        let Ok(found) = regex.find_all(text.as_bytes()) else {
            continue;
        };
        let mut at = 0;
        for groups in &found {
            let whole = groups.whole();
            assert!(at <= whole.start && whole.end <= text.len(), "{whole:?}");
            assert!(text.get(whole.clone()).is_some(), "{whole:?} cuts a letter");
            at = whole.end;
        }
        let same = regex.sub(r"\g<0>", text.as_bytes(), 0);
        assert_eq!(same.ok(), Some((text.as_bytes().to_vec(), found.len())));
        let _ = regex.sub(by, text.as_bytes(), 0);
    }
});
