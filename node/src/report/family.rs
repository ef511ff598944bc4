//! Families of Prometheus' exposition, built by hand.
//!
//! In: counts and levels, read when somebody asks. Out: what the registry encodes. The collectors of
//! [`super::metrics`] and [`super::cluster`] are made of these; their values live elsewhere, so that counting
//! costs what they decide and not what a metrics library does.

use prometheus::{
    core::Desc,
    proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType},
};

use super::series::Durations;

pub(super) fn description(name: &str, help: &str, labels: &[&str]) -> Desc {
    Desc::new(
        name.to_owned(),
        help.to_owned(),
        labels.iter().map(|&label| label.to_owned()).collect(),
        std::collections::HashMap::new(),
    )
    .expect("names and labels are constants of ours, and valid")
}

pub(super) fn family(
    name: &str,
    help: &str,
    kind: MetricType,
    metrics: Vec<Metric>,
) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(kind);
    family.set_metric(metrics);
    family
}

fn labelled(labels: &[(&str, &str)]) -> Metric {
    let pairs = labels.iter().map(|(name, value)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value((*value).to_owned());
        pair
    });
    Metric::from_label(pairs.collect())
}

#[allow(
    clippy::cast_precision_loss,
    reason = "Prometheus counts in floats; above 2^53 its last digits are lost everywhere"
)]
pub(super) fn counter(labels: &[(&str, &str)], count: u64) -> Metric {
    let mut metric = labelled(labels);
    let mut counter = Counter::default();
    counter.set_value(count as f64);
    metric.set_counter(counter);
    metric
}

pub(super) fn gauge(labels: &[(&str, &str)], level: f64) -> Metric {
    let mut metric = labelled(labels);
    let mut gauge = Gauge::default();
    gauge.set_value(level);
    metric.set_gauge(gauge);
    metric
}

pub(super) fn histogram(labels: &[(&str, &str)], durations: &Durations) -> Metric {
    let sum = durations.sum();
    let mut histogram = Histogram::default();
    histogram.set_sample_count(sum.count);
    histogram.set_sample_sum(sum.seconds);
    histogram.set_bucket(
        sum.cumulative
            .into_iter()
            .map(|(bound, count)| {
                let mut bucket = Bucket::default();
                bucket.set_upper_bound(bound);
                bucket.set_cumulative_count(count);
                bucket
            })
            .collect(),
    );
    let mut metric = labelled(labels);
    metric.set_histogram(histogram);
    metric
}

#[allow(
    clippy::cast_precision_loss,
    reason = "Prometheus measures in floats; levels here stay far below 2^53"
)]
pub(super) fn level(count: u64) -> f64 {
    count as f64
}
