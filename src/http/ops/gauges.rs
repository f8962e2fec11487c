//! Metrics that are updated at each scrape.

use std::collections::BTreeMap;

use crate::http::workers::NodeReport;
use crate::queue::{QueueStats, Stats};
use crate::system::disk::Room;
use crate::telemetry::metrics;

pub(super) fn projects(count: u64) {
    ::metrics::gauge!(metrics::PROJECTS).set(count as f64);
}

pub(super) fn disk(room: &Room) {
    ::metrics::gauge!(metrics::DISK_FREE_BYTES).set(room.free_bytes as f64);
    ::metrics::gauge!(metrics::DISK_BYTES).set(room.total_bytes as f64);
}

pub(super) fn queues(stats: &Stats) {
    for (name, figures) in &stats.queues {
        queue(name.as_str(), figures);
    }
}

/// The minimum reported backlog of a queue that has work and has done none in the last minute.
const STUCK_SECONDS: f64 = 60.0;

/// Returns the time that the waiting jobs take at the rate of the last minute, in seconds.
fn backlog_seconds(figures: &QueueStats) -> f64 {
    let waiting = (figures.ready + figures.delayed) as f64;
    if waiting > 0.0 && figures.acked_per_second > 0.0 {
        waiting / figures.acked_per_second
    } else if waiting > 0.0 {
        (figures.oldest_ms.unwrap_or(0) as f64 / 1_000.0).max(STUCK_SECONDS)
    } else {
        0.0
    }
}

/// Sets the gauges of the nodes that have joined.
pub(super) fn nodes(nodes: &[NodeReport]) {
    let mut states: BTreeMap<(&str, &str), u32> =
        ["joined", "draining", "drained", "silent"].into_iter().map(|state| (("worker", state), 0)).collect();
    let mut jobs: BTreeMap<&str, usize> = BTreeMap::new();
    for node in nodes {
        *states.entry((&node.role, node.state)).or_default() += 1;
        if node.role == "worker" {
            *jobs.entry(&node.name).or_default() += node.jobs;
        }
    }
    for ((role, state), count) in states {
        ::metrics::gauge!(metrics::NODES, "role" => role.to_owned(), "state" => state.to_owned())
            .set(f64::from(count));
    }
    for (name, jobs) in jobs {
        ::metrics::gauge!(metrics::NODE_JOBS, "node" => name.to_owned()).set(jobs as f64);
    }
}

fn queue(name: &str, figures: &QueueStats) {
    let gauge = |family: &'static str, value: f64| {
        ::metrics::gauge!(family, "queue" => name.to_owned()).set(value);
    };
    for (state, count) in [
        ("ready", figures.ready),
        ("delayed", figures.delayed),
        ("leased", figures.leased),
        ("dead", figures.dead),
    ] {
        ::metrics::gauge!(metrics::JOBS, "queue" => name.to_owned(), "state" => state).set(count as f64);
    }
    for (event, rate) in [
        ("enqueued", figures.enqueued_per_second),
        ("acknowledged", figures.acked_per_second),
        ("failed", figures.failed_per_second),
    ] {
        ::metrics::gauge!(metrics::QUEUE_RATE, "queue" => name.to_owned(), "event" => event).set(rate);
    }
    gauge(metrics::QUEUE_PAUSED, f64::from(u8::from(figures.paused)));
    gauge(metrics::QUEUE_BACKLOG_SECONDS, backlog_seconds(figures));
    gauge(metrics::QUEUE_OLDEST_SECONDS, figures.oldest_ms.unwrap_or(0) as f64 / 1_000.0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_backlog_is_the_work_over_the_rate() {
        let figures = |ready, acked_per_second, oldest_ms| QueueStats {
            ready,
            oldest_ms,
            acked_per_second,
            ..QueueStats::default()
        };
        for (figures, expected) in [
            (figures(0, 5.0, None), 0.0),
            (figures(100, 5.0, Some(1)), 20.0),
            (figures(1, 0.0, Some(5_000)), 60.0),
            (figures(1, 0.0, Some(90_000)), 90.0),
        ] {
            assert!((backlog_seconds(&figures) - expected).abs() < 1e-9, "{figures:?}");
        }
    }
}
