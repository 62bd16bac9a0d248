//! Deregistering one image, with the snapshots that no other image has.

use aws_sdk_ec2::types::Image;

use crate::targets::TargetError;
use crate::targets::ec2::Ec2;
use crate::targets::ec2::error::Ec2Error;
use crate::targets::ec2::image::snapshots_of;
use crate::targets::ec2::tags;

impl Ec2 {
    /// Removes an image, and then its snapshots.
    pub(super) async fn remove(&self, image_id: &str, all: &[Image]) -> Result<(), TargetError> {
        let image = all.iter().find(|image| image.image_id() == Some(image_id));
        let snapshots = image.map(snapshots_of).unwrap_or_default();
        // Somebody may have launched it since it was looked at.
        let of_image = tags::filter("image-id", [image_id]);
        let alive = ["pending", "running", "stopping", "stopped"];
        let alive = tags::filter("instance-state-name", alive);
        if let Some(by) = self.instances(vec![of_image, alive]).await?.first() {
            let by = by.instance_id().unwrap_or_default();
            return Err(TargetError::new(format!(
                "{image_id} in {} was launched as {by} meanwhile, and stays",
                self.region
            )));
        }
        self.patiently("deregister", || self.deregister(image_id))
            .await?;
        for id in &snapshots {
            self.patiently("delete", || self.drop_snapshot(id))
                .await
                .map_err(|error| self.left(image_id, id, error))?;
        }
        Ok(())
    }

    /// One that another image has too is that image's.
    async fn drop_snapshot(&self, id: &str) -> Result<bool, Ec2Error> {
        let users = vec![tags::filter("block-device-mapping.snapshot-id", [id])];
        if !self.images(users).await?.is_empty() {
            return Ok(true);
        }
        let answer = self.ec2.delete_snapshot().snapshot_id(id).send().await;
        match answer.map_err(|e| self.refused("DeleteSnapshot", e)) {
            Err(error) if error.is_in_use() => Ok(false),
            Err(error) if error.is_not_found() => Ok(true),
            answer => answer.map(|_| true),
        }
    }

    fn left(&self, image_id: &str, id: &str, error: TargetError) -> TargetError {
        let region = &self.region;
        let message = format!("{image_id} is gone, and its snapshot {id} in {region} is not");
        TargetError::new(message).because(error).with_hint(format!(
            "aws ec2 delete-snapshot --region {region} --snapshot-id {id}"
        ))
    }
}
