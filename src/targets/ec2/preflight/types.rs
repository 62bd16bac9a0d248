//! Whether the instance types fit the image, its release, and the account's quota.

use aws_sdk_ec2::types::{
    ArchitectureType, ArchitectureValues, BootModeValues, EnaSupport, Image, Instance,
    InstanceLifecycleType, InstanceType, InstanceTypeInfo, NitroTpmSupport, VCpuInfo,
};

use super::{Check, Preflight};
use crate::exit::chain;
use crate::manifest::Source;
use crate::targets::ec2::error::Ec2Error;
use crate::targets::ec2::{ladder, tags};

/// Where Service Quotas has a quota for a family of types, by its first letters. The vCPUs of all that
/// run on demand count together.
const QUOTAS: [(&[&str], &str); 9] = [
    (&["a", "c", "d", "h", "i", "m", "r", "t", "z"], "L-1216C47A"),
    (&["f"], "L-74FC7D96"),
    (&["g", "vt"], "L-DB2E81BA"),
    (&["hpc"], "L-F7808C92"),
    (&["inf"], "L-1945791B"),
    (&["p"], "L-417A185B"),
    (&["trn"], "L-2C3B7624"),
    (&["u"], "L-43DA4232"),
    (&["x"], "L-7295265B"),
];

/// Families that Ubuntu's releases from 26.04 on do not boot on, by its release notes.
const BEFORE_26_04: [&str; 13] = [
    "m1", "m2", "m3", "m4", "c1", "c3", "c4", "r3", "r4", "i2", "g3", "p2", "p3",
];

impl Preflight<'_> {
    /// Returns what can be said of each type of the ladder, and of the first that fits.
    pub(super) async fn instance_types(&self) -> Vec<Check> {
        let about = "instance type";
        let names = ladder::types(self.plan);
        let mut checks = Vec::new();
        let known = match self.ec2.instance_types(&names).await {
            Ok(known) => known,
            Err(error) if error.code() == Some("InvalidInstanceType") => {
                let told = format!("{}: look at builder.instance_type", chain(&error));
                return vec![Check::wrong(about, told)];
            }
            Err(error) => return vec![Check::unasked(about, &error)],
        };
        let mut fitting = Vec::new();
        for name in &names {
            let of_name =
                |info: &&InstanceTypeInfo| info.instance_type().is_some_and(|t| t.as_str() == name);
            let Some(info) = known.iter().find(of_name) else {
                let told = format!("{name} is not known in {}", self.ec2.region);
                checks.push(Check::wrong(about, told));
                continue;
            };
            match self.misfit(name, info) {
                Some(why) => checks.push(Check::wrong(about, why)),
                None => fitting.push((name, info)),
            }
        }
        if let Some((name, info)) = fitting.first() {
            let vcpus = vcpus_of(info);
            let all: Vec<&str> = fitting.iter().map(|(name, _)| name.as_str()).collect();
            checks.push(Check::ok(about, all.join(", ")));
            checks.push(self.quota(name, vcpus).await);
        }
        checks
    }

    /// Returns why a machine of this type could not be the builder.
    fn misfit(&self, name: &str, info: &InstanceTypeInfo) -> Option<String> {
        if let Some(why) = misfit(info, self.source) {
            return Some(why);
        }
        let family = family(name);
        if is_from_26_04(&self.plan.source, self.source.name()) && BEFORE_26_04.contains(&family) {
            return Some(format!(
                "Ubuntu 26.04 does not boot on {family}, the family of {name}"
            ));
        }
        None
    }

    /// Returns whether the account has room for another machine of this type.
    async fn quota(&self, instance_type: &str, vcpus: i32) -> Check {
        let about = "quota";
        let Some(code) = quota_of(family(instance_type)) else {
            let told = format!("which quota {instance_type} counts for is not known here");
            return Check::not_checked(about, told);
        };
        let limit = match self.ec2.quota_value(code).await {
            Ok(limit) => limit,
            Err(error) => return Check::unasked(about, &error),
        };
        let used = match self.vcpus_in_use(code).await {
            Ok(used) => used,
            Err(error) => return Check::unasked(about, &error),
        };
        judge_quota(instance_type, vcpus, limit, used, code)
    }

    /// Returns how many vCPUs run that count for a quota.
    async fn vcpus_in_use(&self, code: &str) -> Result<i32, Ec2Error> {
        let alive = tags::filter("instance-state-name", ["pending", "running"]);
        let instances = self.ec2.instances(vec![alive]).await?;
        let counts = |instance: &&Instance| {
            let is_spot = instance.instance_lifecycle() == Some(&InstanceLifecycleType::Spot);
            let name = instance.instance_type().map(InstanceType::as_str);
            !is_spot && name.is_some_and(|name| quota_of(family(name)) == Some(code))
        };
        let of = |instance: &Instance| {
            let cpu = instance.cpu_options();
            let cpu = cpu.and_then(|cpu| Some(cpu.core_count()? * cpu.threads_per_core()?));
            cpu.unwrap_or(1)
        };
        Ok(instances.iter().filter(counts).map(of).sum())
    }
}

/// Returns why a machine of this type does not boot an image.
pub(crate) fn misfit(info: &InstanceTypeInfo, image: &Image) -> Option<String> {
    let name = info.instance_type().map_or("", InstanceType::as_str);
    let arch = image.architecture().map_or("", ArchitectureValues::as_str);
    let processor = info.processor_info();
    let supported = processor.map_or(&[][..], |p| p.supported_architectures());
    if !supported.is_empty() && !supported.iter().any(|a| a.as_str() == arch) {
        let known: Vec<&str> = supported.iter().map(ArchitectureType::as_str).collect();
        return Some(format!(
            "{name} is for {}, and the image is for {arch}",
            known.join(" and ")
        ));
    }
    let modes = info.supported_boot_modes();
    let mode = image.boot_mode().map(BootModeValues::as_str);
    if let (Some(mode @ ("uefi" | "legacy-bios")), false) = (mode, modes.is_empty())
        && !modes.iter().any(|m| m.as_str() == mode)
    {
        return Some(format!("{name} does not boot by {mode}, as the image does"));
    }
    let ena = info.network_info().and_then(|n| n.ena_support());
    if ena == Some(&EnaSupport::Required) && image.ena_support() == Some(false) {
        return Some(format!("{name} needs ENA, which the image does not have"));
    }
    let has_tpm = info.nitro_tpm_support() != Some(&NitroTpmSupport::Unsupported);
    if image.tpm_support().is_some() && !has_tpm {
        return Some(format!("{name} has no NitroTPM, which the image needs"));
    }
    None
}

fn judge_quota(instance_type: &str, vcpus: i32, limit: f64, used: i32, code: &str) -> Check {
    let about = "quota";
    let told = format!("{used} of {limit} vCPUs ({code}) run, and {instance_type} has {vcpus}");
    if f64::from(vcpus) > limit {
        return Check::failed(
            about,
            format!("{told}: ask for more in Service Quotas, or name another type"),
        );
    }
    match f64::from(used + vcpus) > limit {
        true => Check::warning(
            about,
            format!("{told}: a build waits until others have ended"),
        ),
        false => Check::ok(about, told),
    }
}

fn vcpus_of(info: &InstanceTypeInfo) -> i32 {
    let default = info.v_cpu_info().and_then(VCpuInfo::default_v_cpus);
    default.unwrap_or(1)
}

/// Returns the family of a type: `m5` of `m5.large`.
fn family(instance_type: &str) -> &str {
    instance_type
        .split_once('.')
        .map_or(instance_type, |(family, _)| family)
}

/// Returns the quota that a family counts for: by the longest name that it begins with.
fn quota_of(family: &str) -> Option<&'static str> {
    let letters: String = family
        .chars()
        .take_while(char::is_ascii_alphabetic)
        .collect();
    let of_letters = |letters: &str| {
        let mut known = QUOTAS.iter();
        known.find_map(|(names, code)| names.contains(&letters).then_some(*code))
    };
    // `im4gn` and `is4gen` count as `i`, `mac` and `dl` for quotas of their own.
    of_letters(&letters).or_else(|| match letters.as_str() {
        "im" | "is" => of_letters("i"),
        _ => None,
    })
}

/// Returns whether a source is of Ubuntu 26.04, as far as it says so.
fn is_from_26_04(source: &Source, name: Option<&str>) -> bool {
    let is_named = name.is_some_and(|name| name.contains("ubuntu-resolute-26.04"));
    is_named || matches!(source, Source::Ubuntu(release) if release.as_str() >= "26.04")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::targets::ec2::preflight::Verdict;

    #[test]
    fn a_family_counts_for_the_quota_of_its_kind() {
        for (instance_type, code) in [
            ("t3.small", Some("L-1216C47A")),
            ("im4gn.large", Some("L-1216C47A")),
            ("inf2.xlarge", Some("L-1945791B")),
            ("i4i.large", Some("L-1216C47A")),
            ("trn1.2xlarge", Some("L-2C3B7624")),
            ("x2gd.medium", Some("L-7295265B")),
            ("hpc7g.4xlarge", Some("L-F7808C92")),
            ("mac2.metal", None),
        ] {
            assert_eq!(quota_of(family(instance_type)), code, "{instance_type}");
        }
    }

    #[test]
    fn a_quota_that_is_used_up_is_waited_for_and_one_that_is_too_small_fails() {
        let of = |limit, used| judge_quota("m5.large", 2, limit, used, "L-1216C47A").verdict;
        assert_eq!(of(32.0, 0), Verdict::Ok);
        assert_eq!(of(32.0, 31), Verdict::Warning);
        assert_eq!(of(1.0, 0), Verdict::Failed);
    }

    #[test]
    fn a_release_says_what_it_no_longer_boots_on() {
        assert!(is_from_26_04(&Source::Ubuntu("26.04".into()), None));
        assert!(!is_from_26_04(&Source::Ubuntu("24.04".into()), None));
        let named = "ubuntu/images/hvm-ssd-gp3/ubuntu-resolute-26.04-amd64-server-20260701";
        assert!(is_from_26_04(&Source::Ami("ami-1".into()), Some(named)));
    }
}
