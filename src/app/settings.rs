//! Converts the settings of the process into the settings of each module.

use std::collections::BTreeMap;
use std::time::Duration;

use linkage::encoding::entries;
use linkage::pairs;
use linkage::similarity::Kernel;

use crate::config::{Role, Settings};
use crate::coordinator::{Rules, Upkeep};
use crate::external::{ClientFiles, ExternalEndpoints, ExternalStores, UploadBucket};
use crate::http;
use crate::model::CleanupLimit;
use crate::objects::partial::Limits as PartialLimits;
use crate::objects::{Location, SpoolLimits};
use crate::system::data_dir::DataDir;
use crate::system::{memory, threads};
use crate::worker::{self, QueueSlots};

pub(super) fn rules(settings: &Settings) -> Rules {
    Rules {
        min_encoding_bytes: settings.min_encoding_bytes,
        max_encoding_bytes: settings.max_encoding_bytes,
        run_pairs_max: settings.run_pairs_max,
        solver_pairs_max: settings.solver_pairs_max,
        comparisons_per_job: settings.comparisons_per_job,
        small_work_at_once: settings.database.is_embedded(),
        upkeep: Upkeep {
            every: Duration::from_millis(settings.maintenance_every_ms),
            retention: settings.retention_days.map(|days| Duration::from_hours(24 * days)),
            lease: Duration::from_millis(settings.lease_ms),
            limit: CleanupLimit { percent: settings.cleanup_share_max },
        },
    }
}

pub(super) fn kernel(settings: &Settings) -> Kernel {
    let named = |name| Kernel::named(name).expect("the settings were checked against the processor");
    if let (None, Some(refusal)) = (settings.kernel, Kernel::refusal()) {
        tracing::warn!("{refusal}; comparing with {:?}", Kernel::best());
    }
    settings.kernel.map_or_else(Kernel::best, named)
}

/// Returns the settings of the API, which reads at most `uploads` at a time.
pub(super) fn http(settings: &Settings, uploads: usize) -> http::ApiSettings {
    http::ApiSettings {
        body_bytes_max: settings.body_bytes_max,
        uploads_max: uploads,
        entries: entries_written(settings),
        base_path: settings.base_path.clone(),
        cors_origins: settings.cors_origins.clone(),
        compress_results: settings.compress_results,
        dashboard: settings.dashboard,
        require_admin_token: settings.require_admin_token,
        log_http_header_fields: settings.log_http_header_fields.clone(),
    }
}

/// Returns the version of block entries that uploads store. Version 2 only if no other program can read them: the metadata
/// is in the data directory, so there is no other API node, and there is no listener for workers. During an upgrade,
/// other nodes may run a program that reads version 1 only.
fn entries_written(settings: &Settings) -> entries::Version {
    let listens = settings.worker_listen.address(settings.role).is_some();
    let alone = settings.role == Role::All && settings.database.is_embedded() && !listens;
    if alone { entries::Version::Numbered } else { entries::Version::Plain }
}

/// Returns the version of pair files that this process writes. Version 2 only if every reader gets them from this process:
/// there is no other API node, and workers do not read the object store directly. For a worker that reads version 1 only,
/// the API node translates them. A worker writes what its API node says.
pub(super) fn pairs_written(settings: &Settings) -> pairs::Version {
    let listens = settings.worker_listen.address(settings.role).is_some();
    let is_direct = listens && matches!(settings.objects, Location::Bucket { .. });
    let alone = settings.role != Role::Worker && settings.database.is_embedded() && !is_direct;
    if alone { pairs::Version::Dense } else { pairs::Version::Plain }
}

/// The memory for finishing runs if the available memory is unknown.
const MEMORY_UNKNOWN: u64 = 1 << 30;

pub(super) fn worker(
    settings: &Settings,
    data_dir: &DataDir,
    uploads: Option<UploadBucket>,
) -> worker::Settings {
    let three_quarters = || memory::available().map_or(MEMORY_UNKNOWN, |available| available.bytes / 4 * 3);
    worker::Settings {
        lease: Duration::from_millis(settings.lease_ms),
        drain_timeout: Duration::from_millis(settings.drain_timeout_ms),
        job_deadline: Duration::from_millis(settings.job_deadline_ms),
        objects_wait: Duration::from_millis(settings.objects_wait_ms),
        copies_every: Duration::from_millis(settings.maintenance_every_ms),
        queue_slots: queues(settings),
        memory_bytes: settings.memory_limit.unwrap_or_else(three_quarters),
        disk: data_dir.path().to_owned(),
        kernel: kernel(settings),
        pairs: pairs_written(settings),
        client_files: ClientFiles {
            bucket: uploads,
            stores: ExternalStores::new(settings.external_endpoints.clone(), settings.body_bytes_max),
        },
    }
}

/// Returns the number of threads that compare.
pub(super) fn threads(settings: &Settings) -> usize {
    match (settings.role, settings.worker_threads) {
        (Role::Api, _) => 0,
        (_, 0) => threads::cores(),
        (_, count) => count,
    }
}

/// Returns the queues that a node of this role serves.
pub(super) fn queues(settings: &Settings) -> QueueSlots {
    let usual = QueueSlots::default();
    let role = settings.role;
    let served =
        settings.queues.only(|queue| role.does(queue)).or_else(|| usual.only(|queue| role.does(queue)));
    served.unwrap_or(usual)
}

/// Formats a list in the syntax of the setting.
fn listed(endpoints: &ExternalEndpoints) -> String {
    match serde_json::to_value(endpoints) {
        Ok(serde_json::Value::String(text)) => text,
        Ok(other) => other.to_string(),
        Err(_) => String::new(),
    }
}

/// Returns the settings that affect results, by name. A worker must have the same values as the API nodes.
pub(super) fn shared(settings: &Settings) -> BTreeMap<String, String> {
    let objects = match &settings.objects {
        bucket @ Location::Bucket { .. } => bucket.to_string(),
        Location::Data | Location::Directory(_) => String::new(),
    };
    BTreeMap::from([
        ("external_endpoints".to_owned(), listed(&settings.external_endpoints)),
        ("body_bytes_max".to_owned(), settings.body_bytes_max.to_string()),
        ("objects".to_owned(), objects),
    ])
}

pub(super) fn spool(settings: &Settings) -> SpoolLimits {
    SpoolLimits { bytes_max: settings.spool_bytes_max, disk_free_min: settings.disk_free_min }
}

pub(super) const fn partial(settings: &Settings) -> PartialLimits {
    PartialLimits {
        open_max: settings.partial_uploads_max,
        expiry: Duration::from_millis(settings.partial_upload_expiry_ms),
    }
}

/// Returns true if several nodes can use the database, queue and object store of the settings.
pub(super) fn is_shared(settings: &Settings) -> bool {
    !settings.database.is_embedded() && embedded(settings).is_empty()
}

/// Names those of the queue and the object store that are in the data directory.
pub(super) fn embedded(settings: &Settings) -> String {
    let objects = !matches!(settings.objects, Location::Bucket { .. });
    let parts = [(settings.queue.is_none(), "its queue"), (objects, "its objects")];
    let parts: Vec<&str> = parts.into_iter().filter(|(is, _)| *is).map(|(_, name)| name).collect();
    parts.join(" and ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Inputs};

    /// Returns the settings of a process that is started with these flags.
    fn given(flags: &[(&'static str, &str)]) -> Settings {
        let flags = flags.iter().map(|&(key, value)| (key, value.to_owned())).collect();
        config::load(&Inputs { flags, ..Inputs::default() }).unwrap().settings
    }

    #[test]
    fn pairs_that_older_programs_cannot_read_are_written_where_this_process_hands_them_out() {
        let written = |flags: &_| pairs_written(&given(flags));
        let database = ("database", "postgres://entityd@db.example.org/entityd");
        let listens = ("worker_listen", "127.0.0.1:8854");
        let bucket = ("objects", "s3://objects");
        for own in [
            &[][..],
            &[listens],
            &[("role", "api")],
            &[("objects", "file:///srv/objects"), listens],
            &[bucket],
        ] {
            assert_eq!(written(own), pairs::Version::Dense, "{own:?}");
        }
        for shared in [&[database][..], &[("role", "api"), database], &[bucket, listens]] {
            assert_eq!(written(shared), pairs::Version::Plain, "{shared:?}");
        }
    }

    #[test]
    fn only_a_process_on_its_own_writes_entries_that_older_programs_cannot_read() {
        let written = |flags: &_| entries_written(&given(flags));
        let database = ("database", "postgres://entityd@db.example.org/entityd");
        let [listens, is_silent] = [("worker_listen", "127.0.0.1:8854"), ("worker_listen", "off")];
        for alone in [&[][..], &[is_silent], &[("objects", "file:///srv/objects")]] {
            assert_eq!(written(alone), entries::Version::Numbered, "{alone:?}");
        }
        for shared in [
            &[listens][..],
            &[database],
            &[database, is_silent],
            &[("role", "api")],
            &[("role", "api"), is_silent],
            &[database, ("role", "api")],
        ] {
            assert_eq!(written(shared), entries::Version::Plain, "{shared:?}");
        }
    }
}
