//! Checks the limits of the operating system before the stores are opened, and divides them among their users.

use std::fmt;

use super::Error;
use crate::config::Settings;
use crate::system::{file_size, memory, open_files, sqlite, threads};
use crate::telemetry::process::Process;

/// The number of open files of an idle server without the databases: streams, sockets, the lock and the queue.
const FILES_IDLE: u64 = 24;
/// The number of open files of a job, without those that it merges.
const FILES_PER_JOB: u64 = 6;
/// The minimum number of open files for clients: a few connections, and an upload.
const FILES_OF_CLIENTS_MIN: u64 = 16;
/// The number of open files of an upload: two that are written or published, with two directories that are synced.
const FILES_PER_UPLOAD: u64 = 4;
/// The number of databases: the metadata, and the index of the buckets.
const DATABASES: u64 = 2;
/// The queue whose jobs merge files.
const MERGING: &str = "highmemory";

/// The number of threads of the databases, the buckets and the queue.
const THREADS_OF_STORES: usize = 16;
/// The number of uploads that always have a thread.
const THREADS_OF_UPLOADS: usize = 4;
/// The address space of the program, the caches of the stores and running jobs, without stacks.
const ADDRESS_SPACE_BYTES: u64 = 384 << 20;
/// The address space that the allocator of the C library reserves for each of its arenas.
const ARENA_BYTES: u64 = 64 << 20;
/// The number of arenas that the check assumes before any exists: that of the allocator on two cores.
const ARENAS: u64 = 16;
/// The minimum limit on file sizes, enough for the journals and databases of an idle server.
const FILE_BYTES_MIN: u64 = 64 << 20;

const MIB: u64 = 1 << 20;

/// The limits on connections and uploads, which share the open files that the stores and jobs do not need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Files {
    /// The maximum number of connections of the API and the S3 endpoint.
    pub(super) connections: usize,
    /// The maximum number of connections of the operations listener.
    pub(super) ops_connections: usize,
    /// The maximum number of concurrent uploads.
    pub(super) uploads: usize,
}

impl Files {
    /// Raises the limit on open files as far as possible, and divides them.
    ///
    /// # Errors
    /// [`Error::OpenFiles`], if there are not enough for clients and jobs.
    pub(super) fn share_out(settings: &Settings) -> Result<Self, Error> {
        open_files::raise();
        let Self { connections, ops_connections, uploads } = Self::of(open_files::max(), reserved(settings))?;
        Ok(Self {
            connections: connections.min(settings.connections_max),
            ops_connections: ops_connections.min(settings.connections_max),
            uploads: uploads.min(settings.uploads_max),
        })
    }

    /// Divides the `allowed` open files that are not `reserved` among connections and uploads.
    fn of(allowed: u64, reserved: u64) -> Result<Self, Error> {
        let needed = reserved + FILES_OF_CLIENTS_MIN;
        let rest = allowed.checked_sub(reserved).filter(|rest| *rest >= FILES_OF_CLIENTS_MIN);
        let rest = rest.ok_or(Error::OpenFiles { needed, allowed })?;
        let eighths = |count: u64| usize::try_from(rest / 8 * count).unwrap_or(usize::MAX);
        let uploads = eighths(2) / FILES_PER_UPLOAD as usize;
        Ok(Self { connections: eighths(5), ops_connections: eighths(1), uploads: uploads.max(1) })
    }
}

/// The memory that the server uses.
#[derive(Clone, Copy, Debug)]
pub(super) struct Memory {
    /// The memory for finishing runs, in bytes.
    pub(super) for_runs: u64,
    /// The available memory, if it is known.
    pub(super) available: Option<memory::Available>,
}

impl Memory {
    /// Reads the available memory, and logs the limits on memory, connections and uploads.
    pub(super) fn found(for_runs: u64, files: Files) -> Self {
        let found = Self { for_runs, available: memory::available() };
        found.log(files);
        found
    }

    fn log(self, files: Files) {
        let Files { connections, ops_connections, uploads } = files;
        tracing::info!(
            memory.mib = self.for_runs / MIB,
            memory.available_mib = self.available.map(|available| available.bytes / MIB),
            memory.bound = self.available.map(|available| available.bound.to_string()),
            files = open_files::max(),
            connections,
            ops_connections,
            uploads,
            "system limits",
        );
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} MiB for finishing runs", self.for_runs / MIB)?;
        match self.available {
            Some(available) => write!(f, ", of {} MiB ({})", available.bytes / MIB, available.bound),
            None => Ok(()),
        }
    }
}

/// Returns the number of files that the stores and the maximum number of concurrent jobs open.
fn reserved(settings: &Settings) -> u64 {
    let stores = FILES_IDLE + DATABASES * sqlite::files() as u64;
    let merged =
        (2 * open_files::merged_at_once() + open_files::opened_at_once()) * settings.queues.slots_of(MERGING);
    stores + FILES_PER_JOB * settings.queues.slots() as u64 + merged as u64
}

/// Checks the limits on file size, address space and threads.
///
/// # Errors
/// [`Error::FileSize`], [`Error::AddressSpace`] and [`Error::Threads`].
pub(super) fn check(settings: &Settings) -> Result<(), Error> {
    if let Some(allowed) = file_size::max().filter(|bytes| *bytes < FILE_BYTES_MIN) {
        return Err(Error::FileSize { needed_mib: FILE_BYTES_MIN / MIB, allowed_mib: allowed / MIB });
    }
    let count = threads_of(settings);
    let stacks = count as u64 * threads::STACK_BYTES;
    // The number of arenas depends on the number of threads that allocate concurrently.
    check_address_space(stacks + ADDRESS_SPACE_BYTES + ARENAS * ARENA_BYTES)?;
    threads::rehearse(count).map_err(|cause| Error::Threads { needed: count, cause })?;
    // Now the arenas of the allocator exist. Their number depends on that of the cores.
    check_address_space(ADDRESS_SPACE_BYTES / 2 + stacks)
}

fn check_address_space(needed: u64) -> Result<(), Error> {
    let Some(allowed) = memory::address_space() else { return Ok(()) };
    let used = Process::look().virtual_bytes.unwrap_or(0);
    if allowed.saturating_sub(used) >= needed {
        return Ok(());
    }
    Err(Error::AddressSpace { needed_mib: (used + needed).div_ceil(MIB), allowed_mib: allowed / MIB })
}

/// Returns the number of threads of a busy server: for the network, for blocking calls, and for computing.
fn threads_of(settings: &Settings) -> usize {
    let computing = if settings.worker_threads == 0 { threads::cores() } else { settings.worker_threads };
    let reading = DATABASES as usize * sqlite::readers();
    let blocking = reading + settings.queues.slots() + THREADS_OF_UPLOADS;
    threads::cores() + blocking + computing + THREADS_OF_STORES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_stores_and_jobs_come_first() {
        assert!(matches!(Files::of(115, 100), Err(Error::OpenFiles { needed: 116, allowed: 115 })));
        let least = Files::of(116, 100).unwrap();
        assert_eq!(least, Files { connections: 10, ops_connections: 2, uploads: 1 });
        let many = Files::of(1_100, 300).unwrap();
        assert_eq!(many, Files { connections: 500, ops_connections: 100, uploads: 50 });
        let shared = many.connections + many.ops_connections + many.uploads * FILES_PER_UPLOAD as usize;
        assert!(shared <= 800);
    }
}
