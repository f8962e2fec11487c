//! For x86-64 with AMX-INT8: one instruction adds the inner products of sixteen rows with sixteen lanes, over 64 bytes.
//!
//! A *tile* is a register of 1 KiB, which holds a group in one step. Four tiles hold the sums of 32 rows and 32 lanes.
//! A thread must configure tiles before it uses them, and Linux must have permitted the process to use them. Every call
//! releases the tiles at its end, so that Linux need not save them when it switches threads.

use std::arch::asm;
use std::arch::x86_64::{
    __cpuid, __cpuid_count, _mm512_cmpge_epi32_mask, _mm512_load_si512, _mm512_set_epi32, _mm512_set1_epi32,
};
use std::ops::Range;
use std::sync::OnceLock;

use super::avx512::Avx512;
use super::products::{
    BIT_LINES, BITS_READ_AHEAD, BitProducts, BitRows, GROUP, PRODUCT_ROWS, ProductLanes, ProductRows,
    Products,
};
use super::sift::{AT_ONCE, Block, Candidate, RowSignatures, write_all};
use super::unpack::{check_multiplied, check_sifted, unpack_lanes};
use super::vnni::Vnni;
use super::{Bytes, Loops, Name, Words};

/// Exists only where the processor has AMX-INT8 and the instructions of [`Avx512`] and [`Vnni`], and where Linux
/// permits the process to use tiles.
pub(super) struct Amx {
    avx512: &'static Avx512,
    vnni: &'static Vnni,
}

impl Amx {
    /// Returns the kernel, if this process can use it. Asks Linux for permission once in a process.
    pub(super) fn detect() -> Option<&'static Self> {
        static DETECTED: OnceLock<Option<Amx>> = OnceLock::new();
        let detect = || {
            let (avx512, vnni) = (Avx512::detect()?, Vnni::detect()?);
            (has_tiles() && may_use_tiles()).then_some(Self { avx512, vnni })
        };
        DETECTED.get_or_init(detect).as_ref()
    }
}

/// Returns true if the processor has AMX-TILE and AMX-INT8, with the palette that [`Config`] uses.
pub(super) fn has_tiles() -> bool {
    const BOTH: u32 = 1 << 24 | 1 << 25;
    let leaves = __cpuid(0).eax;
    if leaves < 0x1d || __cpuid_count(7, 0).edx & BOTH != BOTH {
        return false;
    }
    // `eax` has the bytes of a tile, `ebx` the number of tiles and the bytes of a row, `ecx` the rows of a tile.
    let palette = __cpuid_count(0x1d, 1);
    palette.eax >> 16 == 1024 && palette.ebx == 64 | 8 << 16 && palette.ecx & 0xffff == 16
}

/// Asks Linux for permission to use tiles in all threads of the process; returns true if Linux grants it.
#[cfg(target_os = "linux")]
fn may_use_tiles() -> bool {
    const ARCH_REQ_XCOMP_PERM: i64 = 0x1023;
    const XFEATURE_XTILEDATA: i64 = 18;
    const SYS_ARCH_PRCTL: i64 = 158;
    let refused: i64;
    // SAFETY: the call reads and writes no memory of the process. A Linux that does not know it returns an error.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") SYS_ARCH_PRCTL => refused,
            in("rdi") ARCH_REQ_XCOMP_PERM,
            in("rsi") XFEATURE_XTILEDATA,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    refused == 0
}

#[cfg(not(target_os = "linux"))]
fn may_use_tiles() -> bool {
    false
}

impl Loops for Amx {
    fn name(&self) -> Name {
        Name::Amx
    }

    fn common_bytes(&self, a: &[u8], b: &[u8]) -> u32 {
        self.avx512.common_bytes(a, b)
    }

    fn count(&self, left: &Words, right: &Words, pairs: &[Candidate], counts: &mut Vec<u32>) {
        self.avx512.count(left, right, pairs, counts);
    }

    fn sift(&self, rows: RowSignatures<'_>, block: &Block<'_>, survivors: &mut Vec<Candidate>) {
        self.avx512.sift(rows, block, survivors);
    }

    fn products(&self) -> Option<&dyn Products> {
        Some(self)
    }

    fn bit_products(&self) -> Option<&dyn BitProducts> {
        Some(self)
    }
}

impl BitProducts for Amx {
    fn sift_bits(
        &self,
        rows: BitRows<'_>,
        needed: &[i32],
        lanes: ProductLanes<'_>,
        survivors: &mut Vec<Candidate>,
    ) {
        assert!(lanes.starts.len().is_multiple_of(SQUARE), "whole bundles of lanes");
        assert_eq!(lanes.lines.len(), lanes.starts.len() * rows.steps, "as many steps on both sides");
        let tiles = Tiles::configure(self);
        let (mut square, mut ring) = (Square::default(), Ring::default());
        for lane in (0..lanes.starts.len()).step_by(SQUARE) {
            for (at, needed) in needed.as_chunks::<SQUARE>().0.iter().enumerate() {
                // SAFETY: `self` exists, so the features were detected.
                unsafe { tiles.multiply_bits(rows, at, lanes, lane, &mut ring, &mut square) }
                let (row, lane) = (rows.first + (at * SQUARE) as u32, lanes.first + lane as u32);
                // SAFETY: `self` exists, so the features were detected.
                unsafe { compare(&square, needed, row, lane, survivors) }
            }
        }
    }

    fn unpack_lanes(&self, lines: &[Bytes], lanes: &mut Vec<Bytes>) {
        // SAFETY: `self` exists, so the features were detected.
        unsafe { unpack_lanes_avx512(lines, lanes) }
    }
}

#[target_feature(enable = "avx512f,avx512bw,popcnt")]
fn unpack_lanes_avx512(lines: &[Bytes], lanes: &mut Vec<Bytes>) {
    unpack_lanes(lines, lanes);
}

impl Products for Amx {
    fn sift_products(
        &self,
        rows: ProductRows<'_>,
        needed: &[i32],
        lanes: ProductLanes<'_>,
        survivors: &mut Vec<Candidate>,
    ) {
        check_sifted(rows, needed, lanes);
        let tiles = Tiles::configure(self);
        let mut square = Square::default();
        for lane in (0..lanes.starts.len()).step_by(SQUARE) {
            for (at, needed) in needed.as_chunks::<SQUARE>().0.iter().enumerate() {
                tiles.multiply(rows, at * SQUARE, lanes, lane, &mut square);
                let (row, lane) = (rows.first + (at * SQUARE) as u32, lanes.first + lane as u32);
                // SAFETY: `self` exists, so the features were detected.
                unsafe { compare(&square, needed, row, lane, survivors) }
            }
        }
    }

    fn multiply(&self, rows: ProductRows<'_>, lanes: ProductLanes<'_>, sums: &mut [i32]) {
        check_multiplied(rows, lanes, sums);
        let (row_count, width) = (rows.lines.len() / rows.steps, lanes.starts.len());
        let tiles = Tiles::configure(self);
        let mut square = Square::default();
        for row in (0..row_count).step_by(SQUARE) {
            for lane in (0..width).step_by(SQUARE) {
                tiles.multiply(rows, row, lanes, lane, &mut square);
                for (at, from) in square.0.iter().enumerate() {
                    sums[(row + at) * width + lane..][..SQUARE].copy_from_slice(from);
                }
            }
        }
    }

    fn unpack_rows(&self, words: &Words, rows: Range<usize>, lines: &mut Vec<Bytes>) {
        self.vnni.unpack_rows(words, rows, lines);
    }

    fn combine(&self, factors: [&[f32]; 4], rows: &[[f32; 64]], sums: &mut [[f32; 64]; 4]) {
        self.vnni.combine(factors, rows, sums);
    }
}

/// The number of rows and of lanes of a square of sums.
const SQUARE: usize = PRODUCT_ROWS;

/// The sums of 32 rows and 32 lanes, row by row.
#[repr(C, align(64))]
struct Square([[i32; SQUARE]; SQUARE]);

impl Default for Square {
    fn default() -> Self {
        Self([[0; SQUARE]; SQUARE])
    }
}

/// The bytes of a bundle of rows in four steps: the bits of a step become bytes while earlier steps are multiplied. A
/// tile load cannot read stores that are still pending, so bytes are written two steps before they are read.
#[repr(C, align(16384))]
struct Ring([[u8; 2048]; 4]);

impl Default for Ring {
    fn default() -> Self {
        Self([[0; 2048]; 4])
    }
}

/// The operand that configures tiles.
#[repr(C, align(64))]
struct Config([u8; 64]);

/// Eight tiles of sixteen rows of 64 bytes.
static CONFIG: Config = {
    let mut bytes = [0; 64];
    // The palette; then, for each tile, the bytes of a row (u16) and the number of rows (u8).
    bytes[0] = 1;
    let mut tile = 0;
    while tile < 8 {
        bytes[16 + 2 * tile] = 64;
        bytes[48 + tile] = 16;
        tile += 1;
    }
    Config(bytes)
};

/// Loads the initial values of 32 sums into every row of the tiles.
macro_rules! load_starts {
    () => {
        "tileloadd tmm0, [{starts} + {none}]\n\
         tileloadd tmm1, [{starts} + {none} + 64]\n\
         tileloadd tmm2, [{starts} + {none}]\n\
         tileloadd tmm3, [{starts} + {none} + 64]"
    };
}

/// Stores the sums as a square, whose rows are 128 bytes apart.
macro_rules! store_sums {
    () => {
        "tilestored [{sums} + 2 * {line}], tmm0\n\
         tilestored [{sums} + 2 * {line} + 64], tmm1\n\
         tilestored [{sums} + 2 * {line} + 2048], tmm2\n\
         tilestored [{sums} + 2 * {line} + 2112], tmm3"
    };
}

/// The configured tiles of this thread. Cannot move to another thread.
struct Tiles(std::marker::PhantomData<*const ()>);

impl Tiles {
    fn configure(_: &Amx) -> Self {
        // SAFETY: an `Amx` exists, so the processor has tiles of this form and Linux saves them. The compiler does not
        // use them.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const CONFIG, options(nostack, readonly)) };
        Self(std::marker::PhantomData)
    }

    /// For 32 rows from `row` on and 32 lanes from `lane` on, writes the start of each lane plus the inner product.
    #[expect(clippy::unused_self, reason = "the tiles are configured while it exists")]
    fn multiply(
        &self,
        rows: ProductRows<'_>,
        row: usize,
        lanes: ProductLanes<'_>,
        lane: usize,
        square: &mut Square,
    ) {
        let group_lines = rows.steps * GROUP;
        let rows = &rows.lines[row / GROUP * group_lines..][..2 * group_lines];
        let lines = &lanes.lines[lane / GROUP * group_lines..][..2 * group_lines];
        let starts = &lanes.starts[lane..lane + SQUARE];
        // SAFETY: the tiles are configured while `self` exists. In each step the loop reads a KiB of either group of
        // the rows and of the lanes, which have that many steps; each row of a tile of sums is loaded from sixteen
        // initial values, of which there are twice as many; a square has room for four tiles of sums, whose rows are
        // 128 bytes apart.
        unsafe {
            asm!(
                load_starts!(),
                "2:",
                "tileloadd tmm4, [{row0} + {line}]",
                "tileloadd tmm6, [{lane0} + {line}]",
                "tdpbsud tmm0, tmm4, tmm6",
                "tileloadd tmm7, [{lane1} + {line}]",
                "tdpbsud tmm1, tmm4, tmm7",
                "tileloadd tmm5, [{row1} + {line}]",
                "tdpbsud tmm2, tmm5, tmm6",
                "tdpbsud tmm3, tmm5, tmm7",
                "add {row0}, 1024",
                "add {row1}, 1024",
                "add {lane0}, 1024",
                "add {lane1}, 1024",
                "dec {steps}",
                "jnz 2b",
                store_sums!(),
                starts = in(reg) starts.as_ptr(),
                none = in(reg) 0_usize,
                line = in(reg) 64_usize,
                row0 = inout(reg) rows.as_ptr() => _,
                row1 = inout(reg) rows[group_lines..].as_ptr() => _,
                lane0 = inout(reg) lines.as_ptr() => _,
                lane1 = inout(reg) lines[group_lines..].as_ptr() => _,
                steps = inout(reg) group_lines / GROUP => _,
                sums = in(reg) &raw mut *square,
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack),
            );
        }
    }
}

/// Writes sixteen rows of a step into the ring, from row `$row` of the bundle on. The 64 bits of a row in a step
/// become 64 bytes: they are repeated eight times, each copy is shifted by one bit more, and every eighth bit is
/// kept.
macro_rules! unpack_rows {
    ($row:literal) => {
        concat!(
            ".irp row, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15\n",
            "vpbroadcastq {bytes}, [{bits} + 8 * (",
            $row,
            " + \\row)]\n",
            "vpsrlvd {bytes}, {bytes}, {shifts}\n",
            "vpandd {bytes}, {bytes}, {eighth}\n",
            "vmovdqa64 [{to} + 64 * (",
            $row,
            " + \\row)], {bytes}\n",
            ".endr"
        )
    };
}

impl Tiles {
    /// For the rows of bundle number `bundle` and 32 lanes from `lane` on, writes the start of each lane plus the
    /// number of common bits.
    #[expect(clippy::unused_self, reason = "the tiles are configured while it exists")]
    #[target_feature(enable = "avx512f")]
    fn multiply_bits(
        &self,
        rows: BitRows<'_>,
        bundle: usize,
        lanes: ProductLanes<'_>,
        lane: usize,
        ring: &mut Ring,
        square: &mut Square,
    ) {
        let bundle_lines = rows.steps * BIT_LINES;
        let bits = &rows.lines[bundle * bundle_lines..][..bundle_lines + BITS_READ_AHEAD];
        let group_lines = rows.steps * GROUP;
        let lines = &lanes.lines[lane / GROUP * group_lines..][..2 * group_lines];
        let starts = &lanes.starts[lane..lane + SQUARE];
        assert!(rows.steps > 0, "rows have bits");
        // SAFETY: the tiles are configured while `self` exists. In each step the loop reads a KiB of either group of
        // lanes, and four lines of bits, two steps ahead, for which there is room. It reads and writes one of the
        // four parts of the ring, whose size is 2^13 and whose start has that bit clear: clearing it leads from the
        // end to the start. Each row of a tile of sums is loaded from sixteen initial values, of which there are
        // twice as many; a square has room for four tiles of sums, whose rows are 128 bytes apart.
        unsafe {
            asm!(
                load_starts!(),
                unpack_rows!("0"),
                unpack_rows!("16"),
                "add {bits}, 256",
                "add {to}, 2048",
                unpack_rows!("0"),
                unpack_rows!("16"),
                "add {bits}, 256",
                "add {to}, 2048",
                "2:",
                "tileloadd tmm6, [{lane0} + {line}]",
                "tileloadd tmm7, [{lane1} + {line}]",
                "tileloadd tmm4, [{from} + {line}]",
                "tdpbsud tmm0, tmm4, tmm6",
                unpack_rows!("0"),
                "tdpbsud tmm1, tmm4, tmm7",
                "tileloadd tmm5, [{from} + {line} + 1024]",
                "tdpbsud tmm2, tmm5, tmm6",
                unpack_rows!("16"),
                "tdpbsud tmm3, tmm5, tmm7",
                "add {bits}, 256",
                "add {lane0}, 1024",
                "add {lane1}, 1024",
                "add {to}, 2048",
                "btr {to}, 13",
                "add {from}, 2048",
                "btr {from}, 13",
                "dec {steps}",
                "jnz 2b",
                store_sums!(),
                starts = in(reg) starts.as_ptr(),
                none = in(reg) 0_usize,
                line = in(reg) 64_usize,
                bits = inout(reg) bits.as_ptr() => _,
                to = inout(reg) &raw mut *ring => _,
                from = inout(reg) &raw const *ring => _,
                lane0 = inout(reg) lines.as_ptr() => _,
                lane1 = inout(reg) lines[group_lines..].as_ptr() => _,
                steps = inout(reg) rows.steps => _,
                sums = in(reg) &raw mut *square,
                shifts = in(zmm_reg) _mm512_set_epi32(7, 7, 6, 6, 5, 5, 4, 4, 3, 3, 2, 2, 1, 1, 0, 0),
                eighth = in(zmm_reg) _mm512_set1_epi32(0x0101_0101),
                bytes = out(zmm_reg) _,
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack),
            );
        }
    }
}

impl Drop for Tiles {
    fn drop(&mut self) {
        // SAFETY: the tiles were configured on this thread.
        unsafe { asm!("tilerelease", options(nostack, nomem)) };
    }
}

/// Appends the pairs of a square whose sum reaches the limit of the row.
#[target_feature(enable = "avx512f,popcnt")]
fn compare(square: &Square, needed: &[i32; SQUARE], row: u32, lane: u32, survivors: &mut Vec<Candidate>) {
    let mut kept = [0_u64; SQUARE];
    let mut any = 0;
    for r in 0..SQUARE {
        let bound = _mm512_set1_epi32(needed[r]);
        let sums = square.0[r].as_chunks::<16>().0;
        // SAFETY: both halves of a row are 64 bytes, aligned to 64.
        let (first, second) = unsafe {
            (_mm512_load_si512(sums[0].as_ptr().cast()), _mm512_load_si512(sums[1].as_ptr().cast()))
        };
        let first = u64::from(_mm512_cmpge_epi32_mask(first, bound));
        kept[r] = first | u64::from(_mm512_cmpge_epi32_mask(second, bound)) << 16;
        any |= kept[r];
    }
    if any == 0 {
        return;
    }
    survivors.reserve(SQUARE * SQUARE + AT_ONCE);
    // SAFETY: room for every pair, and AT_ONCE more, was reserved.
    unsafe {
        let mut end = survivors.as_mut_ptr().add(survivors.len());
        for r in 0..SQUARE {
            end = write_all(kept[r], row + r as u32, lane, end);
        }
        survivors.set_len(end.offset_from_unsigned(survivors.as_ptr()));
    }
}
