//! Which versions of collections go together: the newest of each that all who ask for it can do with.
//!
//! A search that tries and goes back. What servers know is behind [`Index`], so that it is tested without one.

use std::collections::BTreeMap;

use super::version::{Range, Version};

/// What is asked while it is searched.
pub(super) trait Index {
    type Error;

    /// Returns the versions of a collection.
    fn versions(&self, name: &str) -> Result<Vec<Version>, Self::Error>;

    /// Returns what a version needs.
    fn needs(&self, name: &str, version: &Version) -> Result<Vec<(String, Range)>, Self::Error>;
}

/// Who asks for a collection, and for which of its versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wish {
    pub(super) range: Range,
    /// `the requirements`, or a collection with its version.
    pub(super) by: String,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unresolved<E> {
    #[error(transparent)]
    Index(E),
    #[error("no version of {name} will do: {wishes}; there is {there}")]
    NoVersion {
        name: String,
        wishes: String,
        there: String,
    },
    #[error(
        "no versions that go together were found in {STEPS} steps; the last to fail was {name}"
    )]
    TooHard { name: String },
}

/// As many versions are tried at most.
const STEPS: usize = 20_000;

/// What is known before the search.
#[derive(Debug, Default)]
pub(super) struct Given {
    /// Those that are asked for, in the order in which they are.
    pub(super) wishes: Vec<(String, Wish)>,
    /// Those that come from elsewhere and are what they are; `None` says no version, and will do for all.
    pub(super) fixed: BTreeMap<String, Option<Version>>,
    /// Those that are taken if they will do, rather than the newest.
    pub(super) preferred: BTreeMap<String, Version>,
    /// Whether a prerelease may be taken that nobody names.
    pub(super) prereleases: bool,
}

/// Returns the version of each collection that an index has.
pub(super) fn resolve<I: Index>(
    given: &Given,
    index: &I,
) -> Result<BTreeMap<String, Version>, Unresolved<I::Error>> {
    let mut search = Search {
        given,
        index,
        wishes: Vec::new(),
        chosen: BTreeMap::new(),
        steps: 0,
        failed: None,
    };
    for (name, wish) in &given.wishes {
        if !search.wish(name, wish.clone()) {
            return Err(search.why_not());
        }
    }
    match search.settle()? {
        true => Ok(search.chosen),
        false => Err(search.why_not()),
    }
}

struct Search<'a, I> {
    given: &'a Given,
    index: &'a I,
    wishes: Vec<(String, Wish)>,
    chosen: BTreeMap<String, Version>,
    steps: usize,
    /// The first collection that could not be had, its wishes, its versions.
    failed: Option<(String, String, String)>,
}

impl<I: Index> Search<'_, I> {
    /// Adds a wish. Returns whether what is chosen already will do for it.
    fn wish(&mut self, name: &str, wish: Wish) -> bool {
        let chosen = match self.given.fixed.get(name) {
            Some(None) => None,
            Some(Some(fixed)) => Some(fixed),
            None => self.chosen.get(name),
        };
        let will_do = chosen.is_none_or(|version| wish.range.contains(version));
        let there = chosen.map(ToString::to_string);
        self.wishes.push((name.to_owned(), wish));
        if let (false, Some(there)) = (will_do, there) {
            self.note_failure(name, there);
        }
        will_do
    }

    fn note_failure(&mut self, name: &str, there: String) {
        let wishes = self.wishes_for(name);
        let wishes = wishes.map(|wish| format!("{} wants {}", wish.by, wish.range));
        let wishes = wishes.collect::<Vec<_>>().join(", ");
        self.failed.get_or_insert((name.to_owned(), wishes, there));
    }

    fn wishes_for(&self, name: &str) -> impl Iterator<Item = &Wish> {
        let ours = self.wishes.iter().filter(move |(of, _)| of == name);
        ours.map(|(_, wish)| wish)
    }

    fn why_not(self) -> Unresolved<I::Error> {
        let (name, wishes, there) = self.failed.unwrap_or_default();
        Unresolved::NoVersion {
            name,
            wishes,
            there,
        }
    }

    /// Chooses versions for all that are wished for. Returns whether that went well.
    fn settle(&mut self) -> Result<bool, Unresolved<I::Error>> {
        let open = self.wishes.iter().map(|(name, _)| name);
        let mut open = open.filter(|name| {
            !self.chosen.contains_key(*name) && !self.given.fixed.contains_key(*name)
        });
        let Some(name) = open.next().cloned() else {
            return Ok(true);
        };
        for version in self.candidates(&name)? {
            self.steps += 1;
            if self.steps > STEPS {
                return Err(Unresolved::TooHard { name });
            }
            let needs = self
                .index
                .needs(&name, &version)
                .map_err(Unresolved::Index)?;
            let before = self.wishes.len();
            let by = format!("{name} {version}");
            self.chosen.insert(name.clone(), version);
            let fits = needs.into_iter().all(|(needed, range)| {
                let by = by.clone();
                self.wish(&needed, Wish { range, by })
            });
            if fits && self.settle()? {
                return Ok(true);
            }
            self.chosen.remove(&name);
            self.wishes.truncate(before);
        }
        Ok(false)
    }

    /// Returns the versions that will do for all who ask for one so far, the best first.
    fn candidates(&mut self, name: &str) -> Result<Vec<Version>, Unresolved<I::Error>> {
        let all = self.index.versions(name).map_err(Unresolved::Index)?;
        let has_releases = all.iter().any(|version| !version.is_prerelease());
        let will_do = |version: &&Version| {
            let mut wishes = self.wishes_for(name);
            let named = self.wishes_for(name).any(|wish| wish.range.names(version));
            let passed_over = version.is_prerelease() && has_releases;
            wishes.all(|wish| wish.range.contains(version))
                && (!passed_over || self.given.prereleases || named)
        };
        let mut found: Vec<Version> = all.iter().filter(will_do).cloned().collect();
        found.sort_by(|one, other| other.cmp(one));
        found.dedup();
        if let Some(preferred) = self.given.preferred.get(name) {
            found.sort_by_key(|version| version != preferred);
        }
        if found.is_empty() {
            let mut there: Vec<&Version> = all.iter().collect();
            there.sort_by(|one, other| other.cmp(one));
            let first = there.iter().take(8).map(ToString::to_string);
            let mut shown: Vec<String> = first.collect();
            if there.len() > 8 {
                shown.push(format!("{} older ones", there.len() - 8));
            }
            let there = match shown.is_empty() {
                true => "none".to_owned(),
                false => shown.join(", "),
            };
            self.note_failure(name, there);
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Collections with their versions, and what each of these needs.
    struct Fixed(
        Vec<(
            &'static str,
            &'static str,
            Vec<(&'static str, &'static str)>,
        )>,
    );

    impl Index for Fixed {
        type Error = std::convert::Infallible;

        fn versions(&self, name: &str) -> Result<Vec<Version>, Self::Error> {
            let ours = self.0.iter().filter(|(of, ..)| *of == name);
            Ok(ours
                .map(|(_, version, _)| version.parse().unwrap())
                .collect())
        }

        fn needs(
            &self,
            name: &str,
            version: &Version,
        ) -> Result<Vec<(String, Range)>, Self::Error> {
            let is_it =
                |(of, text, _): &&(&str, &str, _)| *of == name && *text == version.to_string();
            let (.., needs) = self.0.iter().find(is_it).unwrap();
            let need = |(name, range): &(&str, &str)| ((*name).to_owned(), range.parse().unwrap());
            Ok(needs.iter().map(need).collect())
        }
    }

    fn asked(wishes: &[(&str, &str)]) -> Given {
        let wish = |(name, range): &(&str, &str)| {
            let by = "the requirements".to_owned();
            let range = range.parse().unwrap();
            ((*name).to_owned(), Wish { range, by })
        };
        Given {
            wishes: wishes.iter().map(wish).collect(),
            ..Given::default()
        }
    }

    fn found(given: &Given, index: &Fixed) -> Result<Vec<String>, String> {
        let found = resolve(given, index).map_err(|error| error.to_string())?;
        Ok(found
            .iter()
            .map(|(name, version)| format!("{name} {version}"))
            .collect())
    }

    #[test]
    fn the_newest_that_will_do_is_taken_with_what_it_needs() {
        let index = Fixed(vec![
            ("a.a", "1.9.0", vec![]),
            ("a.a", "1.10.0", vec![("b.b", ">=1.0.0,<2.0.0")]),
            ("a.a", "2.0.0", vec![]),
            ("b.b", "1.0.0", vec![("a.a", "*")]),
            ("b.b", "1.2.0", vec![]),
            ("b.b", "2.0.0", vec![]),
        ]);
        let given = asked(&[("a.a", "<2.0.0")]);
        assert_eq!(found(&given, &index).unwrap(), ["a.a 1.10.0", "b.b 1.2.0"]);
        let mut given = asked(&[("a.a", "*"), ("b.b", "1.0.0")]);
        assert_eq!(found(&given, &index).unwrap(), ["a.a 2.0.0", "b.b 1.0.0"]);
        given.preferred = [("a.a".to_owned(), "1.9.0".parse().unwrap())].into();
        assert_eq!(found(&given, &index).unwrap(), ["a.a 1.9.0", "b.b 1.0.0"]);
    }

    #[test]
    fn a_choice_that_leads_nowhere_is_taken_back() {
        let index = Fixed(vec![
            ("a.a", "2.0.0", vec![("c.c", ">=2.0.0")]),
            ("a.a", "1.0.0", vec![("c.c", "*")]),
            ("b.b", "1.0.0", vec![("c.c", "<2.0.0")]),
            ("c.c", "1.5.0", vec![]),
            ("c.c", "2.1.0", vec![]),
        ]);
        let given = asked(&[("a.a", "*"), ("b.b", "*")]);
        let all = ["a.a 1.0.0", "b.b 1.0.0", "c.c 1.5.0"];
        assert_eq!(found(&given, &index).unwrap(), all);
        let given = asked(&[("a.a", "2.0.0"), ("b.b", "*")]);
        let wrong = found(&given, &index).unwrap_err();
        assert!(wrong.starts_with("no version of c.c will do: "), "{wrong}");
        assert!(
            wrong.contains("a.a 2.0.0 wants >=2.0.0, b.b 1.0.0 wants <2.0.0"),
            "{wrong}"
        );
    }

    #[test]
    fn a_prerelease_is_taken_only_where_it_is_named_or_there_is_nothing_else() {
        let index = Fixed(vec![
            ("a.a", "1.0.0", vec![]),
            ("a.a", "2.0.0-rc.1", vec![]),
            ("b.b", "0.1.0-dev.1", vec![]),
        ]);
        let one = |range, pre| {
            let given = Given {
                prereleases: pre,
                ..asked(&[("a.a", range)])
            };
            found(&given, &index).map(|all| all.join(" "))
        };
        assert_eq!(one("*", false).unwrap(), "a.a 1.0.0");
        assert_eq!(one("*", true).unwrap(), "a.a 2.0.0-rc.1");
        assert_eq!(one("2.0.0-rc.1", false).unwrap(), "a.a 2.0.0-rc.1");
        assert!(one(">1.0.0", false).is_err());
        assert_eq!(
            found(&asked(&[("b.b", "*")]), &index).unwrap(),
            ["b.b 0.1.0-dev.1"]
        );
    }

    #[test]
    fn one_from_elsewhere_is_what_it_is() {
        let index = Fixed(vec![("a.a", "1.0.0", vec![("g.g", ">=2.0.0")])]);
        let mut given = asked(&[("a.a", "*")]);
        given.fixed = [("g.g".to_owned(), Some("2.1.0".parse().unwrap()))].into();
        assert_eq!(found(&given, &index).unwrap(), ["a.a 1.0.0"]);
        given.fixed = [("g.g".to_owned(), Some("1.0.0".parse().unwrap()))].into();
        let wrong = found(&given, &index).unwrap_err();
        assert!(
            wrong.ends_with("a.a 1.0.0 wants >=2.0.0; there is 1.0.0"),
            "{wrong}"
        );
        given.fixed = [("g.g".to_owned(), None)].into();
        assert_eq!(found(&given, &index).unwrap(), ["a.a 1.0.0"]);
        let wrong = found(&asked(&[("x.y", "*")]), &index).unwrap_err();
        assert_eq!(
            wrong,
            "no version of x.y will do: the requirements wants *; there is none"
        );
    }
}
