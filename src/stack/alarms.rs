//! The alarms of a stack, by which a deploy is judged.

use std::collections::BTreeMap;

use aws_sdk_cloudwatch::types::{AlarmType, StateValue};

use super::Stack;
use crate::targets::ec2::Ec2Error;

/// As many DescribeAlarms takes.
const ALARMS: usize = 100;

/// Returns the alarms that a stack's outputs name.
pub(super) fn alarms_of(outputs: &BTreeMap<String, String>) -> Vec<String> {
    let alarms = outputs.get("Alarms").map_or("", String::as_str).split(',');
    let alarms = alarms.map(str::trim).filter(|name| !name.is_empty());
    alarms.map(str::to_owned).collect()
}

impl Stack {
    /// Returns which of these fire.
    pub(super) async fn firing(&self, alarms: &[String]) -> Result<Vec<String>, Ec2Error> {
        let mut firing = Vec::new();
        for some in alarms.chunks(ALARMS) {
            let asked = self.watch.describe_alarms();
            let asked = asked
                .set_alarm_names(Some(some.to_vec()))
                .alarm_types(AlarmType::MetricAlarm)
                .alarm_types(AlarmType::CompositeAlarm);
            let answer = asked.send().await;
            let answer = answer.map_err(|e| self.refused("DescribeAlarms", e))?;
            let metric = answer.metric_alarms.unwrap_or_default().into_iter();
            let composite = answer.composite_alarms.unwrap_or_default().into_iter();
            let fires = |state: &Option<StateValue>| *state == Some(StateValue::Alarm);
            let metric = metric.filter(|alarm| fires(&alarm.state_value));
            let composite = composite.filter(|alarm| fires(&alarm.state_value));
            firing.extend(metric.filter_map(|alarm| alarm.alarm_name));
            firing.extend(composite.filter_map(|alarm| alarm.alarm_name));
        }
        Ok(firing)
    }
}
