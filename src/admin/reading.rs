//! The metrics as numbers at one moment, and what lies between two moments. The console shows the same counters
//! that Prometheus scrapes; nothing is counted twice for it.

use std::collections::BTreeMap;
use std::time::Instant;

use prometheus::core::Collector;
use prometheus::proto::{Histogram, Metric};
use serde::Serialize;

use crate::metrics::Metrics;

/// Counts by a label's value.
pub(super) type Counts = BTreeMap<String, u64>;

/// All that the console's charts are made of.
#[derive(Debug, Clone)]
pub(super) struct Reading {
    at: Instant,
    /// Asks by category, then by route. Requests that are no asks are not among them.
    pub(super) asks: BTreeMap<String, Counts>,
    /// Decisions of the classifier by outcome.
    pub(super) outcomes: Counts,
    first_byte: BTreeMap<String, Buckets>,
    classifier: Buckets,
}

/// A histogram's counts up to each bound.
#[derive(Debug, Clone, Default, PartialEq)]
struct Buckets {
    upto: Vec<(f64, u64)>,
    count: u64,
}

/// What happened between two readings.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Point {
    /// Milliseconds since 1970.
    at: i64,
    /// Asks a second by category.
    categories: BTreeMap<String, f64>,
    /// Asks a second by route.
    routes: BTreeMap<String, f64>,
    /// Milliseconds to the first byte by route, half and 99 of 100 of the last seconds' asks.
    first_byte: BTreeMap<String, [f64; 2]>,
    /// Questions to the classifier a second, by outcome.
    outcomes: BTreeMap<String, f64>,
    /// Milliseconds that asks waited for it, half and 99 of 100.
    classifier: Option<[f64; 2]>,
}

impl Reading {
    pub(super) fn of(metrics: &Metrics) -> Self {
        let mut asks: BTreeMap<String, Counts> = BTreeMap::new();
        for metric in samples(&metrics.requests) {
            let (category, route) = (label(&metric, "category"), label(&metric, "route"));
            if label(&metric, "dialect") != "none" && category != "none" {
                *asks.entry(category.into()).or_default().entry(route.into()).or_default() += count(&metric);
            }
        }
        let mut first_byte: BTreeMap<String, Buckets> = BTreeMap::new();
        for metric in samples(&metrics.first_byte_seconds) {
            first_byte.entry(label(&metric, "route").into()).or_default().add(metric.get_histogram());
        }
        let mut classifier = Buckets::default();
        samples(&metrics.classifier_seconds).iter().for_each(|m| classifier.add(m.get_histogram()));
        let outcomes = counts(&metrics.classifier_requests, "outcome");
        Self { at: Instant::now(), asks, outcomes, first_byte, classifier }
    }

    /// Asks by route.
    pub(super) fn routes(&self) -> Counts {
        let mut routes = Counts::new();
        for (route, n) in self.asks.values().flatten() {
            *routes.entry(route.clone()).or_default() += n;
        }
        routes
    }

    /// What happened since the reading `before`, and since the reading `earlier` for what needs more asks to be
    /// told at all.
    pub(super) fn since(&self, before: &Self, earlier: &Self) -> Point {
        let seconds = self.at.duration_since(before.at).as_secs_f64().max(0.001);
        let rate = |n: u64| (n as f64 / seconds * 100.0).round() / 100.0;
        let total = |counts: &Counts| counts.values().sum::<u64>();
        let categories = self.asks.iter().map(|(category, counts)| {
            let then = before.asks.get(category).map_or(0, total);
            (category.clone(), rate(total(counts).saturating_sub(then)))
        });
        let rates = |now: &Counts, then: &Counts| {
            let since = |(name, n): (&String, &u64)| {
                (name.clone(), rate(n.saturating_sub(then.get(name).copied().unwrap_or(0))))
            };
            now.iter().map(since).collect()
        };
        let nothing = Buckets::default();
        let first_byte = self.first_byte.iter().filter_map(|(route, now)| {
            Some((route.clone(), now.quantiles(earlier.first_byte.get(route).unwrap_or(&nothing))?))
        });
        Point {
            at: jiff::Timestamp::now().as_millisecond(),
            categories: categories.collect(),
            routes: rates(&self.routes(), &before.routes()),
            first_byte: first_byte.collect(),
            outcomes: rates(&self.outcomes, &before.outcomes),
            classifier: self.classifier.quantiles(&earlier.classifier),
        }
    }
}

impl Buckets {
    fn add(&mut self, histogram: &Histogram) {
        let more = histogram.get_bucket();
        if self.upto.is_empty() {
            self.upto = more.iter().map(|bucket| (bucket.upper_bound(), 0)).collect();
        }
        for ((_, n), bucket) in self.upto.iter_mut().zip(more) {
            *n += bucket.cumulative_count();
        }
        self.count += histogram.get_sample_count();
    }

    /// Half and 99 of 100 of what came since, in milliseconds; `None` if nothing did.
    fn quantiles(&self, since: &Self) -> Option<[f64; 2]> {
        let then = |i: usize| since.upto.get(i).map_or(0, |(_, n)| *n);
        let new: Vec<(f64, u64)> =
            self.upto.iter().enumerate().map(|(i, (bound, n))| (*bound, n.saturating_sub(then(i)))).collect();
        let count = self.count.saturating_sub(since.count);
        let at = |share: f64| (quantile(&new, count, share) * 1e6).round() / 1e3;
        (count > 0).then(|| [at(0.5), at(0.99)])
    }
}

/// As Prometheus' `histogram_quantile`: evenly spread inside a bucket; past the last bound, that bound.
fn quantile(upto: &[(f64, u64)], count: u64, share: f64) -> f64 {
    let rank = share * count as f64;
    let (mut low, mut below) = (0.0, 0_u64);
    for (bound, n) in upto {
        if *n as f64 >= rank && *n > below {
            return low + (bound - low) * ((rank - below as f64) / (*n - below) as f64).clamp(0.0, 1.0);
        }
        (low, below) = (*bound, *n);
    }
    low
}

/// A counter's values summed up by one of its labels.
pub(super) fn counts(metric: &impl Collector, by: &str) -> Counts {
    let mut counts = Counts::new();
    for metric in samples(metric) {
        *counts.entry(label(&metric, by).into()).or_default() += count(&metric);
    }
    counts
}

/// A counter's values by two of its labels.
pub(super) fn pairs(metric: &impl Collector, (one, other): (&str, &str)) -> Vec<(String, String, u64)> {
    let pair = |metric: &Metric| (label(metric, one).into(), label(metric, other).into(), count(metric));
    samples(metric).iter().map(pair).collect()
}

fn samples(metric: &impl Collector) -> Vec<Metric> {
    metric.collect().into_iter().flat_map(|mut family| family.take_metric()).collect()
}

fn label<'m>(metric: &'m Metric, name: &str) -> &'m str {
    metric.get_label().iter().find(|pair| pair.name() == name).map_or("", |pair| pair.value())
}

/// Counters are floats on the wire; ours count whole things.
fn count(metric: &Metric) -> u64 {
    metric.get_counter().get_value() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(metrics: &Metrics, dialect: &str, category: &str, route: &str) {
        metrics.requests.with_label_values(&[dialect, category, route, "rule", "200"]).inc();
    }

    #[test]
    fn a_point_is_what_came_between_two_readings() {
        let metrics = Metrics::new().unwrap();
        ask(&metrics, "ollama", "fast", "local");
        let before = Reading::of(&metrics);
        for _ in 0..3 {
            ask(&metrics, "openai", "fast", "local");
        }
        ask(&metrics, "ollama", "coding", "upstream");
        ask(&metrics, "none", "none", "upstream");
        metrics.first_byte_seconds.with_label_values(&["local", "none"]).observe(0.000_2);
        let mut after = Reading::of(&metrics);
        after.at = before.at + std::time::Duration::from_secs(2);
        let point = after.since(&before, &before);
        assert_eq!(point.categories, BTreeMap::from([("coding".into(), 0.5), ("fast".into(), 1.5)]));
        assert_eq!(point.routes, BTreeMap::from([("local".into(), 1.5), ("upstream".into(), 0.5)]));
        assert_eq!(point.first_byte.keys().collect::<Vec<_>>(), ["local"]);
        assert_eq!(point.classifier, None);
        assert_eq!(after.routes(), Counts::from([("local".into(), 4), ("upstream".into(), 1)]));
    }

    #[test]
    fn quantiles_are_those_of_prometheus() {
        let upto = [(1.0, 10), (2.0, 30), (4.0, 40)];
        assert_eq!(quantile(&upto, 40, 0.5), 1.5);
        assert_eq!(quantile(&upto, 40, 1.0), 4.0);
        assert_eq!(quantile(&upto, 50, 0.99), 4.0, "past the last bound");
        assert_eq!(quantile(&[(1.0, 0), (2.0, 4)], 4, 0.5), 1.5, "an empty bucket is passed over");
    }
}
