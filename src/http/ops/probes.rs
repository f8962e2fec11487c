//! Checks whether each dependency of the server answers.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::gauges;
use super::inquiry::Inquiry;
use super::readiness::Phase;
use crate::buckets::Buckets;
use crate::coordinator::Coordinator;
use crate::objects::{Objects, PartialUploads};
use crate::queue::Broker;
use crate::runtime::clock::Clock;
use crate::system::disk;
use crate::system::place::{self, Place};
use crate::telemetry::metrics;
use crate::worker::remote::Nodes;

/// The longest silence of the API nodes that is normal for a worker.
const SILENCE_MAX: Duration = Duration::from_mins(1);

/// The names of the checks of the stores.
const METADATA: &str = "metadata";
const QUEUE: &str = "queue";
const OBJECTS: &str = "objects";
/// The time limit for the description of a dependency.
const DETAIL: Duration = Duration::from_secs(1);

/// The dependencies of the server that the probes check.
#[derive(Clone)]
pub struct HealthDependencies {
    /// The coordinator, for the metadata.
    pub coordinator: Coordinator,
    /// The queue.
    pub broker: Arc<dyn Broker>,
    /// The object store.
    pub objects: Objects,
    /// The buckets of this server's own S3 endpoint, if there are any.
    pub buckets: Option<Buckets>,
    /// The clock for calls of the queue.
    pub clock: Clock,
    /// The data directory.
    pub data_dir: PathBuf,
    /// The uploads that arrive in several requests.
    pub partial: PartialUploads,
    /// Free bytes on the disk of the data directory below which uploads are rejected.
    pub disk_free_min: u64,
}

/// The result of one check.
pub(in crate::http) struct Finding {
    pub(in crate::http) name: &'static str,
    /// The fault, if there is one.
    pub(in crate::http) fault: Option<String>,
    /// The description of the checked server, if it has one.
    pub(in crate::http) detail: Option<String>,
}

impl Finding {
    fn new(name: &'static str, fault: Option<String>) -> Self {
        Self { name, fault, detail: None }
    }
}

/// All findings, one line for each.
pub(super) struct Findings(Vec<Finding>);

impl Findings {
    /// Checks the phase and, once the stores are open, the dependencies. If `closely` is set, also describes their
    /// engines.
    pub(super) async fn gather(phase: Phase, probes: Option<&Probes>, closely: bool) -> Self {
        let mut findings = of_phase(phase);
        match probes {
            Some(probes) if closely => findings.extend(probes.look_closely().await),
            Some(probes) => findings.extend(probes.look().await),
            None => {}
        }
        Self(findings)
    }

    /// Returns whether no dependency has a fault.
    pub(super) fn are_good(&self) -> bool {
        self.0.iter().all(|finding| finding.fault.is_none())
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Finding { name, fault, detail } in &self.0 {
            match (fault, detail) {
                (None, None) => writeln!(f, "[+] {name}: ok")?,
                (None, Some(detail)) => writeln!(f, "[+] {name}: ok ({detail})")?,
                (Some(fault), _) => writeln!(f, "[-] {name}: {fault}")?,
            }
        }
        Ok(())
    }
}

fn of_phase(phase: Phase) -> Vec<Finding> {
    let fault = |at: Phase, text: &str| (phase == at).then(|| text.to_owned());
    vec![
        Finding::new("started", fault(Phase::Starting, "the stores are being opened")),
        Finding::new(
            "migrated",
            fault(
                Phase::Migrating,
                "the database is being upgraded, or the database or the queue does not answer: see the log",
            ),
        ),
        Finding::new(
            "not-draining",
            fault(Phase::Draining, "the server is stopping and accepts no new work"),
        ),
    ]
}

/// The checks of all dependencies.
pub struct Probes {
    probes: Vec<Probe>,
    /// The stores; `None` on a node without stores.
    stores: Option<HealthDependencies>,
}

/// The check of a dependency, and whether its last result was a fault.
struct Probe {
    name: &'static str,
    inquiry: Inquiry,
    is_failing: AtomicBool,
}

impl Probes {
    /// Returns the checks of a node with stores.
    pub fn of(dependencies: &HealthDependencies) -> Self {
        let probes = [
            (METADATA, Some(dependencies.metadata())),
            (QUEUE, Some(dependencies.queue())),
            (OBJECTS, Some(dependencies.objects())),
            ("buckets", dependencies.buckets()),
            ("disk", Some(dependencies.disk())),
        ];
        let probe = |(name, inquiry): (_, Option<Inquiry>)| {
            Some(Probe { name, inquiry: inquiry?, is_failing: AtomicBool::new(false) })
        };
        let probes = probes.into_iter().filter_map(probe).collect();
        Self { probes, stores: Some(dependencies.clone()) }
    }

    /// Returns the check of a worker, which succeeds if an API node has answered recently.
    pub(super) fn of_worker(nodes: &Nodes) -> Self {
        let nodes = nodes.clone();
        let inquiry = Inquiry::new(move || {
            let silence = nodes.silence();
            async move {
                match silence {
                    Some(silence) if silence < SILENCE_MAX => Ok(()),
                    Some(silence) => {
                        let why = format!("no API node has answered for {} s", silence.as_secs());
                        Err(io::Error::other(why))
                    }
                    None => Err(io::Error::other("no API node has answered yet")),
                }
            }
        });
        let joined = Probe { name: "joined", inquiry, is_failing: AtomicBool::new(false) };
        Self { probes: vec![joined], stores: None }
    }

    /// Checks all dependencies, and updates the metrics. Waits for no dependency longer than the limit of a check.
    pub(super) async fn look(&self) -> Vec<Finding> {
        futures::future::join_all(self.probes.iter().map(Probe::ask)).await
    }

    /// Checks all dependencies, and describes those without a fault.
    pub(in crate::http) async fn look_closely(&self) -> Vec<Finding> {
        let findings = self.look().await.into_iter().map(async |mut finding| {
            if let (Some(stores), None) = (&self.stores, &finding.fault) {
                finding.detail = timeout(DETAIL, stores.describe(finding.name)).await.ok().flatten();
            }
            finding
        });
        futures::future::join_all(findings).await
    }
}

impl Probe {
    async fn ask(&self) -> Finding {
        let fault = self.inquiry.answer().await;
        metrics::up(self.name, fault.is_none());
        let was_failing = self.is_failing.swap(fault.is_some(), Ordering::Relaxed);
        match &fault {
            Some(fault) if !was_failing => tracing::warn!(dependency = self.name, "not ready: {fault}"),
            None if was_failing => tracing::info!(dependency = self.name, "ready again"),
            _ => {}
        }
        Finding::new(self.name, fault)
    }
}

impl HealthDependencies {
    /// Describes the engine of a dependency in a few words; `None` if it is in the data directory.
    async fn describe(&self, name: &str) -> Option<String> {
        match name {
            METADATA => self.coordinator.describe_metadata().await,
            QUEUE => self.broker.describe().await,
            OBJECTS => self.objects.describe(),
            _ => None,
        }
    }

    fn metadata(&self) -> Inquiry {
        let coordinator = self.coordinator.clone();
        Inquiry::new(move || {
            let coordinator = coordinator.clone();
            async move {
                coordinator.check().await?;
                coordinator.status().await.map(|status| gauges::projects(status.projects))
            }
        })
        .of(self.coordinator.metadata_server())
    }

    /// Returns the check of the queue. It runs on a blocking thread, because the queue may be locked while it waits
    /// for the disk.
    fn queue(&self) -> Inquiry {
        let (broker, clock) = (Arc::clone(&self.broker), self.clock.clone());
        Inquiry::new(move || {
            let (broker, clock) = (Arc::clone(&broker), clock.clone());
            blocking(move || {
                let checked = Handle::current().block_on(async {
                    gauges::queues(&broker.stats(clock.steady()).await?);
                    broker.accepts().await
                });
                checked.map_err(io::Error::other)
            })
        })
    }

    fn objects(&self) -> Inquiry {
        let objects = self.objects.clone();
        Inquiry::new(move || {
            let objects = objects.clone();
            async move { objects.probe().await }
        })
    }

    /// Returns the check of the index of the buckets, which all S3 requests need.
    fn buckets(&self) -> Option<Inquiry> {
        let buckets = self.buckets.clone()?;
        Some(Inquiry::new(move || {
            let buckets = buckets.clone();
            async move { buckets.check().await }
        }))
    }

    fn disk(&self) -> Inquiry {
        let mut folders = vec![self.data_dir.clone()];
        folders.extend(self.objects.directories());
        let free_min = self.disk_free_min;
        // If a path cannot be read now, the check of the free space reports that.
        let places: Vec<Place> = [self.data_dir.clone(), self.data_dir.join("lock")]
            .iter()
            .flat_map(|path| Place::of(path))
            .collect();
        Inquiry::new(move || {
            let (folders, places) = (folders.clone(), places.clone());
            blocking(move || place::check_all(&places).and_then(|()| has_room(&folders, free_min)))
        })
    }
}

/// Checks the free space in each folder; the first is the one in the metrics.
fn has_room(folders: &[PathBuf], free_min: u64) -> io::Result<()> {
    for (number, folder) in folders.iter().enumerate() {
        let room = disk::room(folder).map_err(|error| unseen(folder, &error))?;
        if number == 0 {
            gauges::disk(&room);
        }
        if room.free_bytes < free_min {
            return Err(io::Error::other(format!(
                "{} bytes are free in {}, below the {free_min} at which uploads are rejected (--disk-free-min)",
                room.free_bytes,
                folder.display()
            )));
        }
    }
    Ok(())
}

fn unseen(folder: &Path, error: &io::Error) -> io::Error {
    io::Error::other(format!("cannot check {}: {error}", folder.display()))
}

/// Runs a check on a blocking thread.
async fn blocking(ask: impl FnOnce() -> io::Result<()> + Send + 'static) -> io::Result<()> {
    spawn_blocking(ask).await.map_err(io::Error::from)?
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
            let findings = Findings::gather(phase, None, true).await;
            assert_eq!(findings.are_good(), good, "{findings}");
        }
        let text = Findings::gather(Phase::Draining, None, true).await.to_string();
        insta::assert_snapshot!(text, @r"
        [+] started: ok
        [+] migrated: ok
        [-] not-draining: the server is stopping and accepts no new work
        ");
    }
}
