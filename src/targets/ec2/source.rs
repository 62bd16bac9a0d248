//! Finding the image a bake starts from, and what must be known of it.

use aws_sdk_ec2::types::{ArchitectureValues, Image};

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
        check_arch(&image, arch)?;
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
        match self.ssm.get_parameter().name(path).send().await {
            Ok(answer) => Ok(answer.parameter.and_then(|p| p.value)),
            Err(error) => {
                let error = Ec2Error::from_sdk("GetParameter", &self.region, error);
                if error.is_not_found() {
                    Ok(None)
                } else {
                    Err(error.into())
                }
            }
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
        images.pop().ok_or_else(|| {
            TargetError::manifest(format!(
                "no {arch} image in {} matches the source",
                self.region
            ))
        })
    }
}

fn check_arch(image: &Image, arch: Arch) -> Result<(), TargetError> {
    let found = image.architecture().map_or("", ArchitectureValues::as_str);
    if found == ec2_arch(arch) {
        return Ok(());
    }
    let id = image.image_id().unwrap_or_default();
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
