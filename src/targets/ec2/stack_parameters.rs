//! What CloudFormation's stacks were given as parameters: an image or a certificate that one names is used,
//! although nothing may have been made of it yet, or all of it is gone.

use super::Ec2;
use super::client::retries;
use super::describe::all_pages;
use super::error::Ec2Error;

/// A parameter of a stack that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StackParameter {
    pub(crate) stack: String,
    /// `ImageIdBlue`
    pub(crate) key: String,
    /// What was given, or what the SSM parameter was that this names.
    pub(crate) value: String,
}

impl Ec2 {
    /// Returns the parameters of all stacks in this region. To be told of all, one needs the permission for
    /// ListStacks beside that for DescribeStacks.
    pub(crate) async fn stack_parameters(&self) -> Result<Vec<StackParameter>, Ec2Error> {
        let config = aws_sdk_cloudformation::config::Builder::from(&self.config);
        let config = config.retry_partition(retries()).build();
        let formation = aws_sdk_cloudformation::Client::from_conf(config);
        let stacks: Vec<aws_sdk_cloudformation::types::Stack> =
            all_pages!(self, "DescribeStacks", formation.describe_stacks())?;
        let mut all = Vec::new();
        for stack in &stacks {
            let name = stack.stack_name().unwrap_or_default();
            for parameter in stack.parameters() {
                let values = [parameter.parameter_value(), parameter.resolved_value()];
                all.extend(values.into_iter().flatten().map(|value| StackParameter {
                    stack: name.to_owned(),
                    key: parameter.parameter_key().unwrap_or_default().to_owned(),
                    value: value.to_owned(),
                }));
            }
        }
        Ok(all)
    }
}
