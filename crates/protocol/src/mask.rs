//! Hiding what must not be shown: values of the author's that are secret, wherever they turn up.
//!
//! Both sides do it: the target before an event leaves, the controller with all that it says itself.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use crate::event::{Diff, Event, Place};

/// What stands in place of a secret.
const HIDDEN: &str = "********";

/// Output comes by the line: so do secrets of several lines, but for lines that might be anything.
const LINE_BYTES: usize = 8;

/// Texts that must not be shown.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Mask(Vec<String>);

impl fmt::Debug for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl<'a> FromIterator<&'a str> for Mask {
    /// Hides each secret as it is, without the space around it, line by line, and as JSON writes it.
    fn from_iter<I: IntoIterator<Item = &'a str>>(secrets: I) -> Self {
        let mut texts = Vec::new();
        for secret in secrets {
            let long = |line: &&str| line.len() >= LINE_BYTES;
            let lines = secret.lines().map(str::trim).filter(long);
            for text in lines.chain([secret, secret.trim()]) {
                let json = Json::from(text).to_string();
                texts.push(json[1..json.len() - 1].to_owned());
                texts.push(text.to_owned());
            }
        }
        texts.retain(|text| !text.is_empty());
        // Longer ones first: one may hold another.
        texts.sort_by(|a, b| b.len().cmp(&a.len()).then(a.cmp(b)));
        texts.dedup();
        Self(texts)
    }
}

impl Mask {
    /// Returns whether nothing is hidden.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns whether a text holds any of them.
    #[must_use]
    pub fn is_in(&self, text: &str) -> bool {
        self.0.iter().any(|secret| text.contains(secret.as_str()))
    }

    /// Hides them in a text.
    pub fn text(&self, text: &mut String) {
        for secret in &self.0 {
            if text.contains(secret.as_str()) {
                *text = text.replace(secret.as_str(), HIDDEN);
            }
        }
    }

    /// Hides them in what happened on the target.
    pub fn event(&self, event: &mut Event) {
        if self.is_empty() {
            return;
        }
        match event {
            Event::PlayStarted { name } => self.text(name),
            Event::TaskStarted {
                name,
                module,
                place,
                ..
            } => {
                self.text(name);
                self.text(module);
                self.place(place);
            }
            Event::TaskOutput { line, .. } => self.text(line),
            Event::Included { name, label, .. } => {
                self.text(name);
                label.iter_mut().for_each(|label| self.text(label));
            }
            Event::ItemFinished {
                label,
                result,
                diff,
                ..
            } => {
                self.text(label);
                self.fields(result);
                diff.iter_mut().for_each(|diff| self.diff(diff));
            }
            Event::TaskFinished { result, diff, .. } => {
                self.fields(result);
                diff.iter_mut().for_each(|diff| self.diff(diff));
            }
            Event::Warning { message, place } => {
                self.text(message);
                place.iter_mut().for_each(|place| self.place(place));
            }
            Event::Finished { error, .. } => error.iter_mut().for_each(|error| self.text(error)),
            Event::TaskRetrying { .. } => {}
        }
    }

    fn place(&self, place: &mut Place) {
        self.text(&mut place.file);
    }

    fn diff(&self, diff: &mut Diff) {
        self.text(&mut diff.before_header);
        self.text(&mut diff.after_header);
        self.text(&mut diff.before);
        self.text(&mut diff.after);
    }

    /// Names of fields may be secrets too: a dictionary that is made of them.
    fn fields(&self, fields: &mut Map<String, Json>) {
        *fields = std::mem::take(fields)
            .into_iter()
            .map(|(mut name, mut value)| {
                self.text(&mut name);
                self.value(&mut value);
                (name, value)
            })
            .collect();
    }

    fn value(&self, value: &mut Json) {
        match value {
            Json::String(text) => self.text(text),
            Json::Number(number) => {
                if self.is_in(&number.to_string()) {
                    *value = Json::from(HIDDEN);
                }
            }
            Json::Array(items) => items.iter_mut().for_each(|item| self.value(item)),
            Json::Object(fields) => self.fields(fields),
            Json::Null | Json::Bool(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Recap, Status, Stream};
    use serde_json::json;

    fn masked(secret: &str, text: &str) -> String {
        let mut text = text.to_owned();
        Mask::from_iter([secret]).text(&mut text);
        text
    }

    #[test]
    fn a_secret_is_hidden_whole_by_its_lines_and_in_json() {
        assert_eq!(masked("hunter22", "a hunter22, b"), "a ********, b");
        assert_eq!(masked("hunter22\n", "it said hunter22"), "it said ********");
        let key = "-----BEGIN-----\nMIIEow\nMIIEowIBAAKC\n}\n";
        assert_eq!(masked(key, "MIIEowIBAAKC"), "********");
        assert_eq!(masked(key, "{}"), "{}", "a short line might be anything");
        let quoted = json!({"password": "it's \"x\\y\""}).to_string();
        assert_eq!(
            masked("it's \"x\\y\"", &quoted),
            r#"{"password":"********"}"#
        );
        assert_eq!(masked("", "a text"), "a text");
    }

    #[test]
    fn nothing_of_an_event_shows_a_secret() {
        let secret = "s3cr3t-4711";
        let texts = json!({"msg": secret, secret: [format!("x{secret}"), {"n": 1}]});
        let result = texts.as_object().unwrap().clone();
        let place = Place {
            file: format!("/{secret}.yml"),
            line: 1,
            column: 1,
        };
        let diff = Diff {
            before_header: secret.to_owned(),
            after_header: secret.to_owned(),
            before: secret.to_owned(),
            after: secret.to_owned(),
        };
        let text = || format!("of {secret}");
        let events = [
            Event::PlayStarted { name: text() },
            Event::TaskStarted {
                index: 1,
                name: text(),
                module: text(),
                handler: false,
                place: place.clone(),
            },
            Event::TaskOutput {
                index: 1,
                stream: Stream::Stdout,
                line: text(),
            },
            Event::ItemFinished {
                index: 1,
                label: text(),
                status: Status::Ok,
                result: result.clone(),
                diff: vec![diff.clone()],
            },
            Event::TaskFinished {
                index: 1,
                status: Status::Ok,
                result,
                diff: vec![diff],
                elapsed_ms: 1,
            },
            Event::Warning {
                message: text(),
                place: Some(place),
            },
            Event::Finished {
                recap: Recap::default(),
                error: Some(text()),
                elsewhere: false,
            },
        ];
        let mask = Mask::from_iter([secret]);
        for mut event in events {
            mask.event(&mut event);
            let said = serde_json::to_string(&event).unwrap();
            assert!(said.contains(HIDDEN) && !said.contains(secret), "{said}");
        }
    }

    #[test]
    fn a_number_that_is_a_secret_is_hidden() {
        let mut result = json!({"pin": 471_147, "rc": 0})
            .as_object()
            .unwrap()
            .clone();
        Mask::from_iter(["471147"]).fields(&mut result);
        assert_eq!(Json::from(result), json!({"pin": HIDDEN, "rc": 0}));
    }

    #[test]
    fn a_mask_does_not_tell_what_it_hides() {
        let mask = Mask::from_iter(["hunter22"]);
        assert_eq!(format!("{mask:?}"), "***");
    }
}
