//! What a stack is spoken of by: its name, and the clients of the services that it is made of.

use super::StackName;
use crate::targets::TargetError;
use crate::targets::ec2::Ec2;

/// A stack by its name, which need not be there, and the services that it is made of. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Stack {
    pub(crate) name: StackName,
    pub(crate) region: String,
    /// Images, types, locks, consoles.
    pub(crate) ec2: Ec2,
    pub(super) cfn: aws_sdk_cloudformation::Client,
    pub(super) elb: aws_sdk_elasticloadbalancingv2::Client,
    pub(super) asg: aws_sdk_autoscaling::Client,
    pub(super) watch: aws_sdk_cloudwatch::Client,
}

impl Stack {
    /// Returns the stack of this name in `region`, or in the one that environment and profile name. Calls nothing.
    pub(crate) async fn open(name: StackName, region: Option<&str>) -> Result<Self, TargetError> {
        Ok(Self::by(name, &Ec2::new(region).await?))
    }

    /// Returns the stack as EC2 is reached: by the same credentials, proxies and certificates.
    pub(crate) fn by(name: StackName, ec2: &Ec2) -> Self {
        let config = ec2.sdk_config();
        Self {
            name,
            region: ec2.region_name().to_owned(),
            cfn: aws_sdk_cloudformation::Client::new(config),
            elb: aws_sdk_elasticloadbalancingv2::Client::new(config),
            asg: aws_sdk_autoscaling::Client::new(config),
            watch: aws_sdk_cloudwatch::Client::new(config),
            ec2: ec2.clone(),
        }
    }
}
