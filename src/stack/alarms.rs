//! The alarms of a stack, by which a deploy is judged.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_cloudwatch::types::{AlarmType, CompositeAlarm, Dimension, MetricAlarm, StateValue};

use super::Stack;
use crate::targets::ec2::Ec2Error;

/// As many DescribeAlarms takes.
const ALARMS: usize = 100;

/// Dimensions by which an alarm watches one colour.
const OF_COLOURS: [&str; 2] = ["TargetGroup", "AutoScalingGroupName"];

/// An alarm that fires.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Firing {
    pub(crate) name: String,
    /// The target groups and groups whose metrics it watches, as dimensions name them.
    pub(crate) watches: BTreeSet<String>,
}

/// Returns the alarms that a stack's outputs name.
pub(super) fn alarms_of(outputs: &BTreeMap<String, String>) -> Vec<String> {
    let alarms = outputs.get("Alarms").map_or("", String::as_str).split(',');
    let alarms = alarms.map(str::trim).filter(|name| !name.is_empty());
    alarms.map(str::to_owned).collect()
}

impl Stack {
    /// Returns which of these fire.
    pub(super) async fn firing(&self, alarms: &[String]) -> Result<Vec<Firing>, Ec2Error> {
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
            firing.extend(metric.map(Firing::from));
            firing.extend(composite.map(Firing::from));
        }
        Ok(firing)
    }
}

impl From<MetricAlarm> for Firing {
    fn from(alarm: MetricAlarm) -> Self {
        let of_maths = alarm.metrics.iter().flatten();
        let of_maths =
            of_maths.filter_map(|query| query.metric_stat()?.metric()?.dimensions.as_ref());
        let own = alarm.dimensions.iter();
        let is_of_colour = |d: &&Dimension| d.name().is_some_and(|name| OF_COLOURS.contains(&name));
        let watched = own.chain(of_maths).flatten().filter(is_of_colour);
        let watches = watched.filter_map(|d| d.value.clone()).collect();
        Self {
            watches,
            name: alarm.alarm_name.unwrap_or_default(),
        }
    }
}

/// What those watch of which it is made is not asked: it is for all of the stack.
impl From<CompositeAlarm> for Firing {
    fn from(alarm: CompositeAlarm) -> Self {
        Self {
            name: alarm.alarm_name.unwrap_or_default(),
            watches: BTreeSet::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_cloudwatch::types::{Metric, MetricDataQuery, MetricStat};

    use super::*;

    #[test]
    fn what_an_alarm_watches_is_in_its_dimensions_or_in_those_of_its_maths() {
        let dimension = |name: &str, value: &str| {
            let dimension = Dimension::builder().name(name);
            dimension.value(value).build()
        };
        let balancer = dimension("LoadBalancer", "app/web/1");
        let green = dimension("TargetGroup", "targetgroup/green/1");
        let plain = MetricAlarm::builder().alarm_name("a");
        let plain = plain.dimensions(balancer.clone()).dimensions(green.clone());
        let metric = Metric::builder()
            .dimensions(balancer.clone())
            .dimensions(green);
        let stat = MetricStat::builder().metric(metric.build()).build();
        let query = MetricDataQuery::builder().id("errors").metric_stat(stat);
        let maths = MetricDataQuery::builder()
            .id("percent")
            .expression("errors");
        let maths = MetricAlarm::builder()
            .alarm_name("a")
            .metrics(maths.build());
        let of_green = Firing {
            name: "a".to_owned(),
            watches: ["targetgroup/green/1".to_owned()].into(),
        };
        assert_eq!(Firing::from(plain.build()), of_green);
        assert_eq!(Firing::from(maths.metrics(query.build()).build()), of_green);
        let whole = MetricAlarm::builder().alarm_name("a").dimensions(balancer);
        assert!(Firing::from(whole.build()).watches.is_empty());
    }
}
