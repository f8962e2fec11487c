//! Formats queues and jobs as tables.

use serde_json::Value;

use crate::cli::columns::{age, aligned};
use crate::runtime::clock::Timestamp;

/// The members of a job that are times, in microseconds since 1970.
const MOMENTS: [&str; 3] = ["enqueued", "until", "died"];

/// Formats the queues, a line for each.
pub(super) fn stats(answer: &Value) -> String {
    let head = ["queue", "ready", "delayed", "held", "dead", "oldest", "in/s", "done/s", "failed/s", "state"];
    let queues = answer["queues"].as_object().into_iter().flatten();
    let row = |(name, queue): (&String, &Value)| {
        let rate = |key: &str| format!("{:.1}", queue[key].as_f64().unwrap_or(0.0));
        vec![
            name.clone(),
            text(&queue["ready"]),
            text(&queue["delayed"]),
            text(&queue["leased"]),
            text(&queue["dead"]),
            queue["oldest_ms"].as_u64().map_or_else(|| "-".to_owned(), age),
            rate("enqueued_per_second"),
            rate("acked_per_second"),
            rate("failed_per_second"),
            if queue["paused"] == true { "paused" } else { "open" }.to_owned(),
        ]
    };
    aligned(&head, queues.map(row).collect())
}

/// Formats jobs, a line for each.
pub(super) fn jobs(answer: &Value) -> String {
    let jobs = answer["jobs"].as_array().map_or(&[][..], Vec::as_slice);
    let dead = jobs.first().is_some_and(|job| job.get("reason").is_some());
    let last = if dead { "reason" } else { "progress" };
    let head = ["sequence", "job", "queue", "state", "attempts", last];
    let row = |job: &Value| {
        let state = job["state"].as_str().unwrap_or("dead");
        let said = if dead { text(&job["reason"]) } else { progress(&job["progress"]) };
        vec![
            text(&job["sequence"]),
            text(&job["job"]),
            text(&job["queue"]),
            state.to_owned(),
            text(&job["attempts"]),
            said,
        ]
    };
    aligned(&head, jobs.iter().map(row).collect())
}

/// Formats one job, a line for each of its members.
pub(super) fn job(answer: &Value) -> String {
    let members = answer.as_object().into_iter().flatten();
    let moment = |value: &Value| Some(Timestamp::from_micros(value.as_i64()?).to_string());
    let row = |(key, value): (&String, &Value)| {
        let moment = MOMENTS.contains(&key.as_str()).then(|| moment(value)).flatten();
        vec![key.clone(), moment.unwrap_or_else(|| text(value))]
    };
    aligned(&[], members.map(row).collect())
}

fn progress(progress: &Value) -> String {
    match (progress["done"].as_u64(), progress["total"].as_u64()) {
        (Some(done), Some(total)) if total > 0 => format!("{:.0} %", done as f64 / total as f64 * 100.0),
        _ => "-".to_owned(),
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn queues_and_jobs_are_tables() {
        let queue = json!({"ready": 12, "delayed": 0, "leased": 3, "dead": 0, "paused": true, "oldest_ms": 61_000,
                           "enqueued_per_second": 1.25, "acked_per_second": 20.0, "failed_per_second": 0.0});
        insta::assert_snapshot!(stats(&json!({"queues": {"compute": queue}})), @r"
        queue    ready  delayed  held  dead  oldest  in/s  done/s  failed/s  state
        compute  12     0        3     0     61 s    1.2   20.0    0.0       paused
        ");
        let job = json!({"sequence": 7, "job": "p/r/compare/0", "queue": "compute", "state": "leased", "attempts": 1,
                         "progress": {"done": 1, "total": 4}});
        insta::assert_snapshot!(jobs(&json!({"jobs": [job]})), @r"
        sequence  job            queue    state   attempts  progress
        7         p/r/compare/0  compute  leased  1         25 %
        ");
        insta::assert_snapshot!(super::job(&json!({"enqueued": 1_500_000, "attempts": 1})), @r"
        attempts  1
        enqueued  1970-01-01T00:00:01.500000
        ");
        let dead =
            json!({"sequence": 9, "job": "p/purge", "queue": "maintenance", "attempts": 50, "reason": "why"});
        insta::assert_snapshot!(jobs(&json!({"jobs": [dead]})), @r"
        sequence  job      queue        state  attempts  reason
        9         p/purge  maintenance  dead   50        why
        ");
    }
}
