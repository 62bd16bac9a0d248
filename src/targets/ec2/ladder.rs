//! The capacity ladder: what is asked for in turn while EC2 has no machine to give.

use std::collections::BTreeSet;

use super::error::Ec2Error;
use super::offerings::Offerings;
use crate::manifest::Arch;
use crate::plan::BakePlan;
use crate::targets::Role;

/// Where a builder may go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Network {
    pub(super) vpc_id: String,
    /// In order of preference; never empty.
    pub(super) subnets: Vec<Place>,
    /// What their zones offer, if that was asked.
    pub(super) offerings: Offerings,
}

/// A subnet, and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) id: String,
    /// `eu-west-1a`
    pub(super) zone: String,
}

/// One rung of the capacity ladder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rung {
    pub(super) instance_type: String,
    pub(super) subnet_id: String,
}

/// Where the bake has climbed: its candidate need not find out again where there is room.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Climbed {
    /// Where EC2 had no machine to give.
    pub(super) empty: BTreeSet<Rung>,
    /// Where it had one.
    pub(super) held: Option<Rung>,
}

impl Rung {
    /// Returns what is said of a rung that is passed over.
    pub(super) fn without(&self, refusal: &Ec2Error) -> String {
        format!(
            "no {} in {} ({})",
            self.instance_type,
            self.subnet_id,
            refusal.code().unwrap_or_default()
        )
    }
}

/// Returns the types that are wanted: the manifest's, or small ones of the architecture.
pub(super) fn types(plan: &BakePlan) -> Vec<String> {
    let usual: &[&str] = match plan.arch {
        Arch::Amd64 => &["t3.small", "t3a.small"],
        Arch::Arm64 => &["t4g.small"],
    };
    let mut types = plan.builder.instance_types.clone();
    if types.is_empty() {
        types.extend(usual.iter().map(|t| (*t).to_owned()));
    }
    types
}

/// Returns each type in each subnet that may have it, types first; for a candidate the smallest of
/// them comes first, in the builder's subnet, and last what had no machine for the builder.
pub(super) fn ladder(
    types: &[String],
    role: Role,
    network: &Network,
    climbed: &Climbed,
) -> Vec<Rung> {
    let places = &network.subnets;
    let all = types
        .iter()
        .flat_map(|t| places.iter().map(move |p| (t, p)));
    let offered = all.filter(|(t, p)| network.offerings.may_have(t, &p.zone));
    let rung = |(t, p): (&String, &Place)| Rung {
        instance_type: t.clone(),
        subnet_id: p.id.clone(),
    };
    let mut rungs: Vec<Rung> = offered.map(rung).collect();
    if role == Role::Candidate {
        let held = climbed.held.as_ref();
        rungs.sort_by_key(|rung| {
            let is_elsewhere = held.is_some_and(|held| held.subnet_id != rung.subnet_id);
            let is_other = held.is_some_and(|held| held.instance_type != rung.instance_type);
            let size = size(&rung.instance_type);
            (climbed.empty.contains(rung), size, is_other, is_elsewhere)
        });
    }
    rungs
}

/// Returns a type's place among the sizes of its family: `t3.micro` before `m5.2xlarge`.
fn size(instance_type: &str) -> u32 {
    let named = ["nano", "micro", "small", "medium", "large", "xlarge"];
    let size = instance_type.split_once('.').map_or("", |(_, size)| size);
    if let Some(place) = (0..).zip(named).find_map(|(n, s)| (s == size).then_some(n)) {
        return place;
    }
    let times = size.strip_suffix("xlarge").and_then(|n| n.parse().ok());
    times.map_or(u32::MAX, |n: u32| n.saturating_add(5)) // metal is the largest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_be_there_is_a_rung() {
        let place = |id: &str, zone: &str| Place {
            id: id.into(),
            zone: zone.into(),
        };
        let offered = [("m5.large", "b"), ("t3.small", "a"), ("t3.small", "b")];
        let offered = offered.map(|(t, z)| (t.to_owned(), z.to_owned()));
        let mut network = Network {
            vpc_id: "vpc-1".into(),
            subnets: vec![place("subnet-a", "a"), place("subnet-b", "b")],
            offerings: Offerings::Known(offered.into()),
        };
        let types = ["m5.large", "t3.small"].map(str::to_owned);
        let rungs = |role, network: &Network| {
            let rungs = ladder(&types, role, network, &Climbed::default()).into_iter();
            let rungs = rungs.map(|r| format!("{} {}", r.instance_type, r.subnet_id));
            rungs.collect::<Vec<_>>()
        };
        let (large, small) = (
            "m5.large subnet-b",
            ["t3.small subnet-a", "t3.small subnet-b"],
        );
        assert_eq!(rungs(Role::Builder, &network), [large, small[0], small[1]]);
        assert_eq!(
            rungs(Role::Candidate, &network),
            [small[0], small[1], large]
        );
        network.offerings = Offerings::Unknown;
        assert_eq!(rungs(Role::Builder, &network).len(), 4);
    }

    #[test]
    fn a_candidate_begins_where_the_builder_found_room() {
        let place = |id: &str| Place {
            id: id.into(),
            zone: "a".into(),
        };
        let network = Network {
            vpc_id: "vpc-1".into(),
            subnets: vec![place("subnet-a"), place("subnet-b")],
            offerings: Offerings::Unknown,
        };
        let types = ["c5.large", "m5.large", "t3.small"].map(str::to_owned);
        let all = ladder(&types, Role::Builder, &network, &Climbed::default());
        let first = |empty: usize| {
            let climbed = Climbed {
                empty: all.iter().take(empty).cloned().collect(),
                held: Some(all[empty].clone()),
            };
            let rungs = ladder(&types, Role::Candidate, &network, &climbed);
            assert_eq!(rungs.len(), all.len(), "none is given up");
            format!("{} {}", rungs[0].instance_type, rungs[0].subnet_id)
        };
        assert_eq!(
            first(0),
            "t3.small subnet-a",
            "a smaller one was not refused"
        );
        assert_eq!(first(1), "t3.small subnet-b");
        assert_eq!(first(5), "t3.small subnet-b");
        let same = ["c5.large", "m5.large"].map(str::to_owned);
        let all = ladder(&same, Role::Builder, &network, &Climbed::default());
        let climbed = Climbed {
            empty: all[..3].iter().cloned().collect(),
            held: Some(all[3].clone()),
        };
        let rungs = ladder(&same, Role::Candidate, &network, &climbed);
        assert_eq!(rungs[0], all[3]);
    }

    #[test]
    fn sizes_are_in_order() {
        let in_order = [
            "t3.nano",
            "t3.small",
            "m5.large",
            "m5.xlarge",
            "m5.2xlarge",
            "m5.12xlarge",
            "m5.metal",
        ];
        assert!(in_order.is_sorted_by_key(|t| size(t)));
    }
}
