//! The gate: what keeps an image from being one, and what its user is to know.
//!
//! It looks twice: at the sealed builder before there is an image (`seal`), and at the booted candidate
//! (`booted`). Both find [`Finding`]s; what these lead to is decided here, by the manifest's `gate`.

pub(crate) mod booted;

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::check::{Check, Class};
use crate::manifest::{Gate, GateLevel, Waiver};

/// As many findings of one check and outcome are told; the rest is counted.
const TOLD: usize = 20;

/// Something that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    pub(crate) check: Check,
    /// The file that it is about, if it is about one.
    pub(crate) path: Option<String>,
    pub(crate) line: Option<u32>,
    /// What is the matter: a fragment. Never a secret itself.
    pub(crate) what: String,
}

impl Finding {
    pub(super) fn new(check: Check, what: impl Into<String>) -> Self {
        Self {
            check,
            path: None,
            line: None,
            what: what.into(),
        }
    }

    #[must_use]
    pub(super) fn at(mut self, path: &str) -> Self {
        self.path = Some(path.to_owned());
        self
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.check)?;
        match (&self.path, self.line) {
            (Some(path), Some(line)) => write!(f, "{path}:{line}: ")?,
            // "/tmp/x is still there"; "/etc/x: a private key".
            (Some(path), None) if self.what.starts_with("is ") => write!(f, "{path} ")?,
            (Some(path), None) => write!(f, "{path}: ")?,
            (None, _) => {}
        }
        f.write_str(&self.what)
    }
}

/// Returns the findings among what a script said.
pub(super) fn findings(said: &str) -> impl Iterator<Item = Finding> {
    said.lines().filter_map(told)
}

/// Returns the finding that a line of a script tells: `finding`, check, line, path and what it is,
/// parted by tabs.
fn told(line: &str) -> Option<Finding> {
    let mut parts = line.strip_prefix("finding\t")?.splitn(4, '\t');
    let check = Check::named(parts.next()?)?;
    let line = parts.next()?.parse().ok();
    let path = parts.next()?;
    Some(Finding {
        check,
        path: (!path.is_empty()).then(|| path.to_owned()),
        line,
        what: parts.next()?.to_owned(),
    })
}

/// What a finding led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Outcome {
    Failed,
    Warned,
    /// The manifest accepts it.
    Waived,
}

/// A finding, and what it led to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Judged {
    #[serde(flatten)]
    pub(crate) finding: Finding,
    pub(crate) outcome: Outcome,
    /// Why the manifest accepts it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
}

/// What the gate found in a build, and what was made of it: for the result.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct GateRecord {
    pub(crate) level: GateLevel,
    /// Whether both halves were looked at, and nothing failed.
    pub(crate) passed: bool,
    pub(crate) findings: Vec<Judged>,
    /// Waivers that met nothing.
    pub(crate) unused_waivers: Vec<Waiver>,
}

impl GateRecord {
    /// Takes in what one half found, and returns what to tell the user of it: failures apart.
    pub(crate) fn take(&mut self, gate: &Gate, findings: Vec<Finding>) -> Verdict {
        self.level = gate.level;
        let judged = judge(gate, findings);
        let verdict = Verdict::of(&judged);
        self.findings.extend(judged);
        verdict
    }

    /// Says that both halves have passed; returns the waivers that met nothing.
    pub(crate) fn close(&mut self, gate: &Gate) -> &[Waiver] {
        self.passed = true;
        let met = |waiver: &&Waiver| self.findings.iter().any(|f| waiver.accepts(&f.finding));
        self.unused_waivers = gate.waive.iter().filter(|w| !met(w)).cloned().collect();
        &self.unused_waivers
    }
}

impl Waiver {
    /// One with a path accepts no finding that is about no file.
    fn accepts(&self, finding: &Finding) -> bool {
        let fits = match (&self.path, &finding.path) {
            (None, _) => true,
            (Some(glob), Some(path)) => glob.fits(path),
            (Some(_), None) => false,
        };
        self.check == finding.check && fits
    }
}

fn judge(gate: &Gate, findings: Vec<Finding>) -> Vec<Judged> {
    let judged = findings.into_iter().map(|finding| {
        let check = finding.check;
        let waiver = gate.waive.iter().find(|waiver| waiver.accepts(&finding));
        let outcome = match (waiver, check.class(), gate.level) {
            (Some(_), _, _) => Outcome::Waived,
            (None, Class::Login | Class::Residue, _)
            | (None, Class::Posture, GateLevel::Strict) => Outcome::Failed,
            (None, Class::Posture, GateLevel::Default) => Outcome::Warned,
        };
        Judged {
            finding,
            outcome,
            reason: waiver.map(|waiver| waiver.reason.clone()),
        }
    });
    judged.collect()
}

/// What the user is told of one half.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Each of these keeps the image from being one.
    pub(crate) failures: Vec<String>,
    pub(crate) warnings: Vec<String>,
}

impl Verdict {
    fn of(judged: &[Judged]) -> Self {
        let mut verdict = Self::default();
        let mut seen: BTreeMap<(Check, Outcome), usize> = BTreeMap::new();
        for Judged {
            finding,
            outcome,
            reason,
        } in judged
        {
            let seen = seen.entry((finding.check, *outcome)).or_default();
            *seen += 1;
            if *seen > TOLD {
                continue;
            }
            let reason = reason.iter().map(|reason| format!(" (waived: {reason})"));
            let told = format!("{finding}{}", reason.collect::<String>());
            match outcome {
                Outcome::Failed => verdict.failures.push(told),
                Outcome::Warned | Outcome::Waived => verdict.warnings.push(told),
            }
        }
        for ((check, outcome), seen) in seen.into_iter().filter(|(_, seen)| *seen > TOLD) {
            let more = format!("{check}: and {} more", seen - TOLD);
            match outcome {
                Outcome::Failed => verdict.failures.push(more),
                Outcome::Warned => verdict.warnings.push(more),
                Outcome::Waived => verdict.warnings.push(format!("{more} (waived)")),
            }
        }
        verdict
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::PathGlob;
    use amibake_playbook::diagnostic::Span;

    fn gate(level: GateLevel, waive: &[(Check, &str)]) -> Gate {
        let waiver = |(check, reason): &(Check, &str)| Waiver {
            check: *check,
            path: None,
            reason: (*reason).to_owned(),
            span: Span::whole("/m/web.yaml"),
        };
        Gate {
            level,
            waive: waive.iter().map(waiver).collect(),
        }
    }

    fn found() -> Vec<Finding> {
        let said = "finding\tprivate-key\t1\t/root/.ssh/id_rsa\ta private key\n\
                    finding\tfailed-unit\t\t\tunit x has failed\nfinding\tno-such-check\t\t\tx\nnonsense";
        findings(said).collect()
    }

    const KEY: &str = "private-key: /root/.ssh/id_rsa:1: a private key";
    const UNIT: &str = "failed-unit: unit x has failed";

    #[test]
    fn a_secret_fails_and_posture_warns_unless_the_gate_is_strict() {
        let verdict = |level| GateRecord::default().take(&gate(level, &[]), found());
        let usual = verdict(GateLevel::Default);
        assert_eq!(
            (usual.failures, usual.warnings),
            (vec![KEY.to_owned()], vec![UNIT.to_owned()])
        );
        let strict = verdict(GateLevel::Strict);
        assert_eq!(
            (strict.failures, strict.warnings),
            (vec![KEY.to_owned(), UNIT.to_owned()], vec![])
        );
    }

    #[test]
    fn a_waiver_lets_its_check_pass_and_one_that_met_nothing_is_told() {
        let waive = [
            (Check::PrivateKey, "of the test CA"),
            (Check::Clock, "none here"),
        ];
        for level in [GateLevel::Default, GateLevel::Strict] {
            let gate = gate(level, &waive);
            let mut record = GateRecord::default();
            let verdict = record.take(&gate, found());
            assert_eq!(
                verdict.warnings[0],
                format!("{KEY} (waived: of the test CA)")
            );
            assert_eq!(verdict.failures.is_empty(), level == GateLevel::Default);
            let unused: Vec<Check> = record.close(&gate).iter().map(|w| w.check).collect();
            assert_eq!(unused, [Check::Clock]);
            let json = serde_json::to_value(&record).unwrap();
            assert_eq!(json["findings"][0]["check"], "private-key");
            assert_eq!(json["findings"][0]["outcome"], "waived");
            assert_eq!(json["findings"][0]["reason"], "of the test CA");
            assert_eq!(json["findings"][0]["line"], 1);
            assert_eq!(json["unused_waivers"][0]["check"], "clock");
        }
    }

    #[test]
    fn a_waiver_of_a_path_lets_that_path_pass_alone() {
        let said = "finding\tprivate-key\t1\t/opt/app/test.pem\ta private key\n\
                    finding\tprivate-key\t1\t/root/.ssh/id_rsa\ta private key\n\
                    finding\tfailed-unit\t\t\tunit x has failed";
        let gate = gate_of(&[
            ("private-key", "/opt/**"),
            ("private-key", "/srv/**"),
            ("failed-unit", "/**"),
        ]);
        let mut record = GateRecord::default();
        let verdict = record.take(&gate, findings(said).collect());
        assert_eq!(
            verdict.failures,
            [KEY, UNIT],
            "what is about no file has no path that could fit"
        );
        assert_eq!(
            verdict.warnings,
            ["private-key: /opt/app/test.pem:1: a private key (waived: it is known)"]
        );
        let unused = record.close(&gate).iter().map(|w| w.path.as_ref().unwrap());
        let unused: Vec<String> = unused.map(ToString::to_string).collect();
        assert_eq!(unused, ["/srv/**", "/**"]);
        let json = serde_json::to_value(&record).unwrap();
        assert_eq!(json["unused_waivers"][0]["path"], "/srv/**");
    }

    /// Were they counted together, the key at the end would be one of the "more" that are accepted.
    #[test]
    fn many_waived_findings_hide_none_that_is_not() {
        let key = |path: String| Finding::new(Check::PrivateKey, "a private key").at(&path);
        let many = (0..100).map(|n| key(format!("/opt/{n}.pem")));
        let found = many.chain([key("/root/.ssh/id_rsa".to_owned())]);
        let gate = gate_of(&[("private-key", "/opt/*")]);
        let verdict = GateRecord::default().take(&gate, found.collect());
        assert_eq!(
            verdict.failures,
            ["private-key: /root/.ssh/id_rsa: a private key"]
        );
        assert_eq!(verdict.warnings.len(), TOLD + 1);
        assert_eq!(verdict.warnings[TOLD], "private-key: and 80 more (waived)");
    }

    fn gate_of(waive: &[(&str, &str)]) -> Gate {
        let waiver = |(check, path): &(&str, &str)| Waiver {
            check: Check::named(check).unwrap(),
            path: Some(PathGlob::new(path).unwrap()),
            reason: "it is known".to_owned(),
            span: Span::whole("/m/web.yaml"),
        };
        Gate {
            level: GateLevel::Strict,
            waive: waive.iter().map(waiver).collect(),
        }
    }

    #[test]
    fn a_thousand_findings_are_counted_and_not_all_told() {
        let many = (0..1000).map(|n| Finding::new(Check::WorldWritable, format!("{n}")));
        let mut record = GateRecord::default();
        let verdict = record.take(&gate(GateLevel::Default, &[]), many.collect());
        assert_eq!(verdict.warnings.len(), TOLD + 1);
        assert_eq!(verdict.warnings[TOLD], "world-writable: and 980 more");
        assert_eq!(record.findings.len(), 1000);
    }
}
