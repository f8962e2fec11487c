//! What the server depends on, and whether each of it answers.

use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::figures;
use super::readiness::Phase;
use crate::coordinator::Coordinator;
use crate::objects::Objects;
use crate::queue::Broker;
use crate::runtime::clock::Clock;
use crate::runtime::disk;
use crate::telemetry::{chain, metrics};

/// How long a dependency may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// What the server depends on.
#[derive(Clone)]
pub struct Dependencies {
    /// Speaks for the metadata.
    pub coordinator: Coordinator,
    /// The queue.
    pub broker: Arc<dyn Broker>,
    /// The object store.
    pub objects: Objects,
    /// What the queue takes for now.
    pub clock: Clock,
    /// The data directory.
    pub data_dir: PathBuf,
    /// With fewer bytes free on its disk, uploads are refused.
    pub disk_free_min: u64,
}

/// What became of one look.
pub(super) struct Finding {
    pub(super) name: &'static str,
    /// Why it is not well.
    pub(super) fault: Option<String>,
}

/// All that was found, one line for each.
pub(super) struct Findings(Vec<Finding>);

impl Findings {
    /// Looks at the phase and, where there are some yet, at the dependencies.
    pub(super) async fn gather(phase: Phase, dependencies: Option<&Dependencies>) -> Self {
        let mut findings = of_phase(phase);
        if let Some(dependencies) = dependencies {
            findings.extend(dependencies.look().await);
        }
        Self(findings)
    }

    /// Whether nothing is at fault.
    pub(super) fn are_good(&self) -> bool {
        self.0.iter().all(|finding| finding.fault.is_none())
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Finding { name, fault } in &self.0 {
            match fault {
                None => writeln!(f, "[+] {name}: ok")?,
                Some(fault) => writeln!(f, "[-] {name}: {fault}")?,
            }
        }
        Ok(())
    }
}

fn of_phase(phase: Phase) -> Vec<Finding> {
    let fault = |at: Phase, text: &str| (phase == at).then(|| text.to_owned());
    vec![
        Finding { name: "started", fault: fault(Phase::Starting, "what is stored is being opened") },
        Finding {
            name: "migrated",
            fault: fault(Phase::Migrating, "what an older version has stored is being brought up to date"),
        },
        Finding {
            name: "not-draining",
            fault: fault(Phase::Draining, "the server is stopping and takes nothing new"),
        },
    ]
}

impl Dependencies {
    /// Asks each of them, and puts into the figures what they say and which are up.
    pub(super) async fn look(&self) -> Vec<Finding> {
        let queue = async { self.broker.stats(self.clock.now()).await.map(|stats| figures::queues(&stats)) };
        let metadata =
            async { self.coordinator.status().await.map(|status| figures::projects(status.projects)) };
        let (metadata, queue, objects) = tokio::join!(
            answers("metadata", PATIENCE, metadata),
            answers("queue", PATIENCE, queue),
            answers("objects", PATIENCE, self.objects.probe()),
        );
        vec![metadata, queue, objects, self.disk()]
    }

    fn disk(&self) -> Finding {
        let fault = match disk::room(&self.data_dir).inspect(figures::disk) {
            Ok(room) if room.free_bytes >= self.disk_free_min => None,
            Ok(room) => Some(format!(
                "{} bytes are free, below the {} at which uploads are refused (--disk-free-min)",
                room.free_bytes, self.disk_free_min
            )),
            Err(error) => Some(format!("the data directory cannot be looked at: {error}")),
        };
        found("disk", fault)
    }
}

async fn answers<E: std::error::Error>(
    name: &'static str,
    patience: Duration,
    ask: impl Future<Output = Result<(), E>>,
) -> Finding {
    let fault = match timeout(patience, ask).await {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(chain(&error)),
        Err(_) => Some(format!("no answer within {} s", patience.as_secs())),
    };
    found(name, fault)
}

fn found(name: &'static str, fault: Option<String>) -> Finding {
    metrics::up(name, fault.is_none());
    Finding { name, fault }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_phase_but_serving_is_not_ready() {
        for (phase, good) in [
            (Phase::Starting, false),
            (Phase::Migrating, false),
            (Phase::Serving, true),
            (Phase::Draining, false),
        ] {
            let findings = Findings::gather(phase, None).await;
            assert_eq!(findings.are_good(), good, "{findings}");
        }
        let text = Findings::gather(Phase::Draining, None).await.to_string();
        insta::assert_snapshot!(text, @r"
        [+] started: ok
        [+] migrated: ok
        [-] not-draining: the server is stopping and takes nothing new
        ");
    }

    #[tokio::test]
    async fn who_fails_or_does_not_answer_is_at_fault() {
        let silent = answers("queue", Duration::ZERO, std::future::pending::<Result<(), fmt::Error>>()).await;
        assert_eq!(silent.fault.as_deref(), Some("no answer within 0 s"));
        let failed = answers("queue", PATIENCE, async { Err(std::io::Error::other("gone")) }).await;
        assert_eq!(failed.fault.as_deref(), Some("gone"));
    }
}
