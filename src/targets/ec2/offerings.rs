//! Which zones offer which types: where nobody named a subnet, the other zones are not tried.

use std::collections::BTreeSet;

use crate::targets::TargetError;

/// What EC2 says of the types that are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Offerings {
    /// Pairs of a type and a zone that offers it.
    Known(BTreeSet<(String, String)>),
    /// The manifest names the subnet, or asking is not permitted: launching tells.
    Unknown,
}

impl Offerings {
    /// Returns whether the zone may offer the type.
    pub(super) fn may_have(&self, instance_type: &str, zone: &str) -> bool {
        match self {
            Self::Known(pairs) => pairs.contains(&(instance_type.to_owned(), zone.to_owned())),
            Self::Unknown => true,
        }
    }

    /// Returns the error for types that no zone offers where a builder may go.
    pub(super) fn out_of_reach(&self, types: &[String], region: &str) -> TargetError {
        let places = types.iter().map(|t| self.places(t, region));
        let places = places.collect::<Vec<_>>().join(", ");
        let message = format!(
            "no subnet in {region} for the builder is in a zone that offers {}",
            types.join(" or ")
        );
        TargetError::manifest(message).with_hint(format!(
            "{places}: name another type in builder.instance_type, or a subnet in builder.subnet"
        ))
    }

    fn places(&self, instance_type: &str, region: &str) -> String {
        let zones: Vec<&str> = match self {
            Self::Known(pairs) => {
                let of_type = pairs.iter().filter(|(t, _)| t == instance_type);
                of_type.map(|(_, zone)| zone.as_str()).collect()
            }
            Self::Unknown => Vec::new(),
        };
        match zones.is_empty() {
            true => format!("no zone of {region} offers {instance_type}"),
            false => format!("{instance_type} is offered in {}", zones.join(" and ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offered(pairs: &[(&str, &str)]) -> Offerings {
        let pairs = pairs.iter();
        Offerings::Known(pairs.map(|(t, z)| ((*t).into(), (*z).into())).collect())
    }

    #[test]
    fn who_may_not_ask_tries_every_zone() {
        let known = offered(&[("t3.small", "eu-west-1c")]);
        assert!(known.may_have("t3.small", "eu-west-1c"));
        assert!(!known.may_have("t3.small", "eu-west-1a"));
        assert!(!known.may_have("t3a.small", "eu-west-1c"));
        assert!(Offerings::Unknown.may_have("t3.small", "eu-west-1a"));
    }

    #[test]
    fn types_out_of_reach_are_told_with_the_zones_that_offer_them() {
        let known = offered(&[("t3.small", "eu-west-1d"), ("t3.small", "eu-west-1e")]);
        let types = ["t3.small".to_owned(), "t3.smal".to_owned()];
        let error = known.out_of_reach(&types, "eu-west-1");
        assert_eq!(
            error.to_string(),
            "no subnet in eu-west-1 for the builder is in a zone that offers t3.small or t3.smal"
        );
        assert_eq!(
            error.hint().unwrap(),
            "t3.small is offered in eu-west-1d and eu-west-1e, no zone of eu-west-1 offers t3.smal: name another type in builder.instance_type, or a subnet in builder.subnet"
        );
    }
}
