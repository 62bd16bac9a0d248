//! Finding the image a bake starts from, and what must be known of it.

use std::collections::BTreeSet;

use aws_sdk_ec2::types::{ArchitectureValues, Image, PlatformValues};

use super::{Ec2, tags};
use crate::clock;
use crate::manifest::{Arch, ImageFilter, Source};
use crate::targets::{Fault, TargetError};

/// Returns Canonical's account in the partition of `region`.
fn canonical(region: &str) -> &'static str {
    match () {
        () if region.starts_with("us-gov-") => "513442679011",
        () if region.starts_with("cn-") => "837727238323",
        () => "099720109477",
    }
}

/// Returns where Canonical publishes the ids of a release's images: gp3 first, then gp2, since 22.04 has
/// no gp3.
pub(super) fn canonical_parameters(release: &str, arch: Arch) -> Vec<String> {
    let path = |volume| {
        format!(
            "/aws/service/canonical/ubuntu/server/{release}/stable/current/{arch}/hvm/{volume}/ami-id"
        )
    };
    ["ebs-gp3", "ebs-gp2"].map(path).into()
}

impl Ec2 {
    /// Returns the image that `source` names now.
    pub(super) async fn source_image(
        &self,
        source: &Source,
        arch: Arch,
    ) -> Result<Image, TargetError> {
        let image = match source {
            Source::Ubuntu(release) => self.ubuntu(release, arch).await?,
            Source::Ami(id) => self.image(id).await?,
            Source::Ssm(path) => {
                let id = self.parameter(path).await?.and_then(|p| p.value);
                let id = id.ok_or_else(|| {
                    TargetError::manifest(format!(
                        "the SSM parameter {path} does not exist in {}",
                        self.region
                    ))
                })?;
                self.named_by_parameter(path, &id).await?
            }
            Source::Filter(filter) => self.newest(filter, arch).await?,
            Source::Manifest(name) => self.newest_of_manifest(name, arch).await?,
            Source::Debian(_) | Source::Image { .. } => {
                return Err(TargetError::manifest(
                    "EC2 builds start from ubuntu, ami, ssm, filter or manifest",
                )
                .with_hint("name the image by `ami:`, or build with `--target container`"));
            }
        };
        check(&image, arch)?;
        Ok(image)
    }

    /// Returns the image that a parameter names. What else it holds is nobody's to see.
    async fn named_by_parameter(&self, path: &str, id: &str) -> Result<Image, TargetError> {
        let told = |what: &str| {
            let region = &self.region;
            TargetError::manifest(format!("the SSM parameter {path} in {region} {what}"))
        };
        if !id.starts_with("ami-") {
            return Err(told("does not hold the id of an image"));
        }
        match self.image(id).await {
            Err(error) if error.fault == Fault::Manifest => {
                Err(told("names no image of use").because(error))
            }
            found => found,
        }
    }

    /// Canonical's parameters first, then the newest by name.
    async fn ubuntu(&self, release: &str, arch: Arch) -> Result<Image, TargetError> {
        for path in canonical_parameters(release, arch) {
            let found = self.parameter(&path).await?;
            if let Some(id) = found.and_then(|p| p.value) {
                return self.image(&id).await;
            }
        }
        let name = format!("ubuntu/images/hvm-ssd*/ubuntu-*-{release}-{arch}-server-*");
        let filter = ImageFilter {
            owners: vec![canonical(&self.region).to_owned()],
            filters: [("name".to_owned(), vec![name])].into(),
            most_recent: true,
        };
        match self.newest(&filter, arch).await {
            Err(error) if error.fault == Fault::Manifest => {
                Err(self.no_release(release, arch).await.unwrap_or(error))
            }
            found => found,
        }
    }

    /// Returns that a release is not there, and which are; `None` where that cannot be told.
    async fn no_release(&self, release: &str, arch: Arch) -> Option<TargetError> {
        let name = format!("ubuntu/images/hvm-ssd*/ubuntu-*-{arch}-server-*");
        let owner = canonical(&self.region).to_owned();
        let named = vec![tags::filter("name", [name.as_str()])];
        let found = self.images_of(vec![owner], named).await.ok()?;
        let there: BTreeSet<&str> = found.iter().filter_map(release_of).collect();
        let region = &self.region;
        let message = format!("Canonical has no Ubuntu {release} for {arch} in {region}");
        let error = TargetError::manifest(message);
        Some(match there.is_empty() {
            true => error,
            false => {
                let there: Vec<&str> = there.into_iter().collect();
                error.with_hint(format!("there are {}", there.join(", ")))
            }
        })
    }

    pub(crate) async fn image(&self, id: &str) -> Result<Image, TargetError> {
        loop {
            let found = self.images_of(Vec::new(), vec![tags::filter("image-id", [id])]);
            match found.await?.into_iter().next() {
                Some(image) => return Ok(image),
                // Not all of EC2 knows what it has just made.
                None if self.is_young(id) => clock::sleep(self.poll / 4).await,
                None => {
                    return Err(TargetError::manifest(format!(
                        "{id} does not exist in {}, or is not shared with this account",
                        self.region
                    )));
                }
            }
        }
    }

    /// Returns the newest image of another manifest that is released, as its description says too: whoever
    /// may write tags could mark any image as one.
    async fn newest_of_manifest(&self, name: &str, arch: Arch) -> Result<Image, TargetError> {
        let filters = vec![
            tags::filter(&format!("tag:{}", tags::MANIFEST), [name]),
            tags::filter(&format!("tag:{}", tags::STATE), [tags::RELEASED]),
            tags::filter("architecture", [ec2_arch(arch)]),
            tags::filter("state", ["available"]),
        ];
        let mut images = self.images(filters).await?;
        images.retain(|image| image.description().and_then(tags::content_of).is_some());
        images.sort_by(|a, b| a.creation_date().cmp(&b.creation_date()));
        images.pop().ok_or_else(|| {
            let region = &self.region;
            let message = format!("the manifest {name} has no released {arch} image in {region}");
            TargetError::manifest(message).with_hint("build it first, in this region")
        })
    }

    async fn newest(&self, wanted: &ImageFilter, arch: Arch) -> Result<Image, TargetError> {
        let named = wanted.filters.iter();
        let mut filters: Vec<_> = named
            .map(|(name, values)| tags::filter(name, values.iter().map(String::as_str)))
            .collect();
        filters.push(tags::filter("architecture", [ec2_arch(arch)]));
        filters.push(tags::filter("state", ["available"]));
        let mut images = self.images_of(wanted.owners.clone(), filters).await?;
        if images.len() > 1 && !wanted.most_recent {
            return Err(TargetError::manifest(format!(
                "source.filter matches {} images",
                images.len()
            ))
            .with_hint("add `most_recent: true`, or narrow the filter"));
        }
        images.sort_by(|a, b| a.creation_date().cmp(&b.creation_date()));
        images
            .pop()
            .ok_or_else(|| none_matches(wanted, arch, &self.region))
    }
}

/// Returns the release of one of Canonical's images: `24.04` of
/// `ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-amd64-server-20260701`.
fn release_of(image: &Image) -> Option<&str> {
    let (_, name) = image.name()?.rsplit_once('/')?;
    let release = name.split('-').nth(2)?;
    let is_release = release.split_once('.').is_some_and(|(year, month)| {
        [year, month]
            .iter()
            .all(|part| part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit()))
    });
    is_release.then_some(release)
}

fn none_matches(wanted: &ImageFilter, arch: Arch, region: &str) -> TargetError {
    let mut filters = wanted.filters.clone();
    if !wanted.owners.is_empty() {
        filters.insert("owner".to_owned(), wanted.owners.clone());
    }
    TargetError::manifest(format!(
        "no {arch} image in {region} that is available has {}",
        tags::told(&filters)
    ))
    .with_hint("an image of another account must be public or shared with this one")
}

/// Refuses what cannot become a builder.
fn check(image: &Image, arch: Arch) -> Result<(), TargetError> {
    let id = image.image_id().unwrap_or_default();
    let platform = image
        .platform()
        .map(PlatformValues::as_str)
        .unwrap_or_default();
    if platform.eq_ignore_ascii_case("windows") {
        let message = format!("{id} is Windows, and a builder must be Linux with cloud-init");
        return Err(TargetError::manifest(message));
    }
    let found = image.architecture().map_or("", ArchitectureValues::as_str);
    if found == ec2_arch(arch) {
        return Ok(());
    }
    Err(TargetError::manifest(format!(
        "{id} is for {found}, and source.arch is {arch}"
    )))
}

/// Returns an architecture as EC2 names it.
pub(super) fn ec2_arch(arch: Arch) -> &'static str {
    match arch {
        Arch::Amd64 => "x86_64",
        Arch::Arm64 => "arm64",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_windows_image_is_the_manifest_s_fault() {
        let image = Image::builder()
            .image_id("ami-1")
            .architecture(ArchitectureValues::X8664);
        assert!(check(&image.clone().build(), Arch::Amd64).is_ok());
        let windows = image.platform(PlatformValues::Windows).build();
        let error = check(&windows, Arch::Amd64).unwrap_err();
        assert_eq!(error.fault, Fault::Manifest);
        assert!(error.to_string().starts_with("ami-1 is Windows"), "{error}");
    }

    #[test]
    fn a_release_is_read_from_canonical_s_names_alone() {
        let release = |name: &str| {
            let image = Image::builder().name(name).build();
            release_of(&image).map(str::to_owned)
        };
        let noble = "ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-amd64-server-20260701";
        assert_eq!(release(noble).as_deref(), Some("24.04"));
        assert_eq!(
            release("ubuntu/images/hvm-ssd/ubuntu-noble-daily-amd64-server-1"),
            None
        );
        assert_eq!(release("web-24.04"), None);
    }

    #[test]
    fn what_was_looked_for_is_told() {
        let wanted = ImageFilter {
            owners: vec!["099720109477".into()],
            filters: [(
                "name".to_owned(),
                vec!["web-*".to_owned(), "app-*".to_owned()],
            )]
            .into(),
            most_recent: true,
        };
        let error = none_matches(&wanted, Arch::Arm64, "eu-west-1");
        assert_eq!(error.fault, Fault::Manifest);
        assert_eq!(
            error.to_string(),
            "no arm64 image in eu-west-1 that is available has name=web-* or app-* and owner=099720109477"
        );
    }
}
