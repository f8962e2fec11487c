//! Metrics that are read at each scrape.

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
    gauge(metrics::QUEUE_OLDEST_SECONDS, figures.oldest_ms.unwrap_or(0) as f64 / 1_000.0);
}
