//! Finding the image a bake starts from, and what must be known of it.

use aws_sdk_ec2::types::{ArchitectureValues, Image, PlatformValues};

use super::error::Ec2Error;
use super::{Ec2, tags};
use crate::clock;
use crate::manifest::{Arch, ImageFilter, Source};
use crate::targets::TargetError;

/// Returns Canonical's account in the partition of `region`.
fn canonical(region: &str) -> &'static str {
    match () {
        () if region.starts_with("us-gov-") => "513442679011",
        () if region.starts_with("cn-") => "837727238323",
        () => "099720109477",
    }
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
                let id = self.parameter(path).await?;
                let id = id.ok_or_else(|| {
                    TargetError::manifest(format!(
                        "the SSM parameter {path} does not exist in {}",
                        self.region
                    ))
                })?;
                self.image(&id).await?
            }
            Source::Filter(filter) => self.newest(filter, arch).await?,
            Source::Debian(_) | Source::Image { .. } => {
                return Err(TargetError::manifest(
                    "EC2 builds start from ubuntu, ami, ssm or filter",
                )
                .with_hint("name the image by `ami:`, or build with `--target container`"));
            }
        };
        check(&image, arch)?;
        Ok(image)
    }

    /// Canonical's parameters first, gp3 then gp2 (22.04 has no gp3), then the newest by name.
    async fn ubuntu(&self, release: &str, arch: Arch) -> Result<Image, TargetError> {
        for volume in ["ebs-gp3", "ebs-gp2"] {
            let path = format!(
                "/aws/service/canonical/ubuntu/server/{release}/stable/current/{arch}/hvm/{volume}/ami-id"
            );
            if let Some(id) = self.parameter(&path).await? {
                return self.image(&id).await;
            }
        }
        let name = format!("ubuntu/images/hvm-ssd*/ubuntu-*-{release}-{arch}-server-*");
        let filter = ImageFilter {
            owners: vec![canonical(&self.region).to_owned()],
            filters: [("name".to_owned(), vec![name])].into(),
            most_recent: true,
        };
        self.newest(&filter, arch).await
    }

    async fn parameter(&self, path: &str) -> Result<Option<String>, TargetError> {
        let request = self.ssm.get_parameter().name(path);
        let asking = || async {
            let answer = request.clone().send().await;
            answer.map_err(|e| Ec2Error::from_sdk("GetParameter", &self.region, e))
        };
        match self.persist(asking).await {
            Ok(answer) => Ok(answer.parameter.and_then(|p| p.value)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) async fn image(&self, id: &str) -> Result<Image, TargetError> {
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
    use crate::targets::Fault;

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
