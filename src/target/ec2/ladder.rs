//! The capacity ladder: what is asked for in turn while EC2 has no machine to give.

use super::error::Ec2Error;
use super::network::Network;
use crate::manifest::Arch;
use crate::plan::BakePlan;
use crate::target::Role;

/// One rung of the capacity ladder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rung {
    pub(super) instance_type: String,
    pub(super) subnet_id: String,
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

/// Returns all types in all subnets, types first; for a candidate the smallest of them comes first.
pub(super) fn ladder(plan: &BakePlan, role: Role, network: &Network) -> Vec<Rung> {
    let usual: &[&str] = match plan.arch {
        Arch::Amd64 => &["t3.small", "t3a.small"],
        Arch::Arm64 => &["t4g.small"],
    };
    let mut types = plan.builder.instance_types.clone();
    if types.is_empty() {
        types.extend(usual.iter().map(|t| (*t).to_owned()));
    }
    if role == Role::Candidate {
        types.sort_by_key(|t| size(t)); // stable: among equals the manifest's order stays
    }
    let rung = |t: &String, s: &String| Rung {
        instance_type: t.clone(),
        subnet_id: s.clone(),
    };
    types
        .iter()
        .flat_map(|t| network.subnet_ids.iter().map(move |s| rung(t, s)))
        .collect()
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
