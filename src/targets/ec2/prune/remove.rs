//! Deregistering one image, with the snapshots that no other image has.

use aws_sdk_ec2::types::Image;

use super::Unpruned;
use crate::exit::Leftover;
use crate::targets::TargetError;
use crate::targets::ec2::Ec2;
use crate::targets::ec2::error::Ec2Error;
use crate::targets::ec2::image::snapshots_of;
use crate::targets::ec2::tags;

impl Ec2 {
    /// Removes an image, and then its snapshots: all that can be, whatever becomes of the others.
    pub(super) async fn remove(&self, image_id: &str, all: &[Image]) -> Result<(), Unpruned> {
        let image = all.iter().find(|image| image.image_id() == Some(image_id));
        let snapshots = image.map(snapshots_of).unwrap_or_default();
        // Somebody may have launched it since it was looked at.
        let of_image = tags::filter("image-id", [image_id]);
        let alive = ["pending", "running", "stopping", "stopped"];
        let alive = tags::filter("instance-state-name", alive);
        let launched = self.instances(vec![of_image, alive]).await;
        if let Some(by) = launched.map_err(TargetError::from)?.first() {
            let by = by.instance_id().unwrap_or_default();
            let message = format!(
                "{image_id} in {} was launched as {by} meanwhile, and stays",
                self.region
            );
            return Err(TargetError::new(message).into());
        }
        self.patiently("deregister", || self.deregister(image_id))
            .await?;
        let (mut first, mut left) = (None, Vec::new());
        for id in &snapshots {
            let dropped = self.patiently("delete", || self.drop_snapshot(id));
            if let Err(error) = dropped.await {
                first.get_or_insert(error);
                left.push(self.leftover_of(image_id, id));
            }
        }
        let Some(first) = first else { return Ok(()) };
        let message = format!("{image_id} is gone, and not all of its snapshots are");
        Err(Unpruned {
            error: TargetError::new(message).because(first),
            left,
        })
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

    /// It is marked as released for good, and so `reap` leaves it alone.
    fn leftover_of(&self, image_id: &str, id: &str) -> Leftover {
        let region = &self.region;
        Leftover {
            what: format!("snapshot {id} in {region}, whose image {image_id} is gone"),
            remove_with: format!("aws ec2 delete-snapshot --region {region} --snapshot-id {id}"),
        }
    }
}
