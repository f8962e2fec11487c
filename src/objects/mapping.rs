//! A mapped file that may be truncated or become unreadable while it is mapped.
//!
//! An access to a byte that cannot be read raises SIGBUS, which would end the process. The signal handler of this
//! module replaces such bytes with zeros and marks the mapping, so that [`Mapping::is_whole`] returns false. It passes
//! a SIGBUS outside of the mappings to the previous handler. Successful accesses cost nothing; a new mapping costs the
//! search for a free [`Watch`].

use std::ffi::{c_int, c_long, c_void};
use std::fs::File;
use std::io;
use std::num::NonZeroUsize;
use std::ops::{Deref, Range};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Once, OnceLock};

use memmap2::{Mmap, MmapOptions};
use nix::libc::siginfo_t;
use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::unistd::{SysconfVar, sysconf};

/// The first bytes of a file as one slice.
pub(super) struct Mapping {
    bytes: Mmap,
    watch: &'static Watch,
}

impl Mapping {
    /// Maps the first `size` bytes of `file`, which must exist.
    pub(super) fn of(file: &File, size: u64) -> io::Result<Self> {
        static HANDLED: Once = Once::new();
        HANDLED.call_once(handle_faults);
        let bytes = map(file, usize::try_from(size).map_err(io::Error::other)?)?;
        let Range { start, end } = bytes.as_ptr_range();
        Ok(Self { watch: Watch::take(start.addr()..end.addr()), bytes })
    }

    /// Returns true if every byte that was read so far is from the file. Call after the last read.
    pub(super) fn is_whole(&self) -> bool {
        !self.watch.faulted.load(SeqCst)
    }
}

impl Deref for Mapping {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        self.watch.give_back();
    }
}

#[expect(
    unsafe_code,
    reason = "mapping a file is unsafe, because another process may write to it or shorten it"
)]
fn map(file: &File, size: usize) -> io::Result<Mmap> {
    // SAFETY: the file is an object, a cached copy, or a private temporary file, and `size` is at most its size. This
    // program never writes to such a file again, and unlinks it without truncating it. If another process truncates
    // it, the handler below keeps the mapping readable, and the mark on the mapping invalidates all results that were
    // computed from it.
    unsafe { MmapOptions::new().len(size).map(file) }
}

/// The addresses of a mapping, for the signal handler. It takes no lock to read them, and they are never freed.
struct Watch {
    taken: AtomicBool,
    /// A counter that is odd while the addresses change.
    version: AtomicUsize,
    start: AtomicUsize,
    end: AtomicUsize,
    faulted: AtomicBool,
    next: OnceLock<&'static Self>,
}

static WATCHES: Watch = Watch::new();

impl Watch {
    const fn new() -> Self {
        Self {
            taken: AtomicBool::new(false),
            version: AtomicUsize::new(0),
            start: AtomicUsize::new(0),
            end: AtomicUsize::new(0),
            faulted: AtomicBool::new(false),
            next: OnceLock::new(),
        }
    }

    /// Registers these addresses in the first free watch, or in a new one if all are in use.
    fn take(addresses: Range<usize>) -> &'static Self {
        let mut watch = &WATCHES;
        while watch.taken.swap(true, SeqCst) {
            watch = watch.next.get_or_init(|| Box::leak(Box::new(Self::new())));
        }
        watch.faulted.store(false, SeqCst);
        watch.set(addresses);
        watch
    }

    fn give_back(&self) {
        self.set(0..0);
        self.taken.store(false, SeqCst);
    }

    fn set(&self, addresses: Range<usize>) {
        self.version.fetch_add(1, SeqCst);
        self.start.store(addresses.start, SeqCst);
        self.end.store(addresses.end, SeqCst);
        self.version.fetch_add(1, SeqCst);
    }

    /// Returns the addresses, unless they are changing, which those of a mapping in use never are.
    fn addresses(&self) -> Option<Range<usize>> {
        let version = self.version.load(SeqCst);
        let addresses = self.start.load(SeqCst)..self.end.load(SeqCst);
        (version.is_multiple_of(2) && self.version.load(SeqCst) == version).then_some(addresses)
    }

    /// Returns the watch whose mapping contains `address`, and the end of that mapping.
    fn over(address: usize) -> Option<(&'static Self, usize)> {
        let mut watches = std::iter::successors(Some(&WATCHES), |watch| watch.next.get().copied());
        watches.find_map(|watch| {
            let addresses = watch.addresses()?;
            addresses.contains(&address).then_some((watch, addresses.end))
        })
    }
}

/// The previous handler of SIGBUS, and the size of a page.
static BEFORE: OnceLock<(SigAction, usize)> = OnceLock::new();

/// Installs the handler.
#[expect(unsafe_code, reason = "the mapping's other half: the handler of its faults")]
fn handle_faults() {
    let page = sysconf(SysconfVar::PAGE_SIZE).ok().flatten().map_or(1, c_long::cast_unsigned) as usize;
    let action = SigAction::new(SigHandler::SigAction(fault), SaFlags::SA_ONSTACK, SigSet::empty());
    // SAFETY: `fault` calls only functions that a signal handler may call.
    if let Ok(before) = unsafe { sigaction(Signal::SIGBUS, &action) } {
        let _ = BEFORE.set((before, page));
    }
}

/// Replaces the bytes from the fault to the end of the mapping with zeros: one fault invalidates the whole mapping.
/// Calls only functions that a signal handler may call.
#[expect(unsafe_code, reason = "the mapping's other half: the handler of its faults")]
extern "C" fn fault(_signal: c_int, info: *mut siginfo_t, _context: *mut c_void) {
    let Some((before, page)) = BEFORE.get() else { return };
    // SAFETY: the kernel passes a valid description of the signal, which has an address for SIGBUS.
    let address = unsafe { (*info).si_addr() }.addr();
    if let Some((watch, end)) = Watch::over(address) {
        watch.faulted.store(true, SeqCst);
        if fill_with_zeros(address - address % page..end) {
            return;
        }
    }
    // SAFETY: this restores the previous handler, which gets the signal when the access is repeated.
    let _ = unsafe { sigaction(Signal::SIGBUS, before) };
}

#[expect(unsafe_code, reason = "the mapping's other half: the handler of its faults")]
fn fill_with_zeros(addresses: Range<usize>) -> bool {
    let (start, length) = (NonZeroUsize::new(addresses.start), NonZeroUsize::new(addresses.len()));
    // SAFETY: the pages belong to a mapping of this module that is being read, so it exists until this returns. The
    // call replaces them with readable pages.
    length.is_some_and(|length| unsafe {
        mmap_anonymous(start, length, ProtFlags::PROT_READ, MapFlags::MAP_PRIVATE | MapFlags::MAP_FIXED)
            .is_ok()
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    /// The largest page size of any machine.
    const LARGE: usize = 64 << 10;
    const BYTES: usize = 40 * LARGE;

    fn file(byte: u8) -> (File, Mapping) {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&vec![byte; BYTES], 0).unwrap();
        let mapping = Mapping::of(&file, BYTES as u64).unwrap();
        (file, mapping)
    }

    #[test]
    fn a_file_that_is_cut_reads_as_zeros_and_is_marked() {
        let files: Vec<(File, Mapping)> = (1..=3).map(file).collect();
        files[1].0.set_len(7 * LARGE as u64).unwrap();
        let sums = files.iter().map(|(_, mapping)| mapping.iter().map(|byte| usize::from(*byte)).sum());
        assert_eq!(sums.collect::<Vec<usize>>(), [BYTES, 2 * 7 * LARGE, 3 * BYTES]);
        assert_eq!(
            files.iter().map(|(_, mapping)| mapping.is_whole()).collect::<Vec<_>>(),
            [true, false, true]
        );
        drop(files);
        let (_file, next) = file(4);
        assert!(next.is_whole() && next.iter().all(|byte| *byte == 4), "the next one starts unmarked");
    }

    #[test]
    fn many_threads_may_meet_the_same_fault() {
        let (file, mapping) = file(1);
        file.set_len(0).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| assert!(mapping.iter().all(|byte| *byte == 0)));
            }
        });
        assert!(!mapping.is_whole());
    }
}
