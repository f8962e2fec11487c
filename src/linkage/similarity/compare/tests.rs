//! Parts with large and small tiles, compared with the definition.

use super::*;
use crate::pairs::{Reader, Writer};
use crate::scratch::Memory;
use crate::similarity::{Rows, dice};

/// Returns `count` encodings of `encoding_bytes` bytes. Adjacent ones are similar.
fn matrix(count: usize, encoding_bytes: usize, seed: u64) -> Vec<u8> {
    let byte = |at: usize| {
        let mixed = (at / 3 + at % encoding_bytes) as u64 ^ seed;
        (mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8
    };
    (0..count * encoding_bytes).map(byte).collect()
}

struct Setting {
    cancelled: AtomicBool,
    compared: AtomicU64,
    pairs_max: u64,
    pairs_buffered: usize,
}

impl Setting {
    fn new(pairs_max: u64, pairs_buffered: usize) -> Self {
        Self { cancelled: AtomicBool::new(false), compared: AtomicU64::new(0), pairs_max, pairs_buffered }
    }

    fn compare(&self, tiles: &[Tile<'_>]) -> Result<(Compared, Vec<u8>), Error> {
        self.compare_with(Kernel::best(), &TuningCell::new(), &Sides::default(), tiles)
    }

    fn compare_with(
        &self,
        kernel: Kernel,
        tuning: &TuningCell,
        sides: &Sides,
        tiles: &[Tile<'_>],
    ) -> Result<(Compared, Vec<u8>), Error> {
        let job = Job {
            threshold: Threshold::new(0.6).unwrap(),
            kernel,
            tuning,
            sides,
            pairs_max: self.pairs_max,
            cancelled: &self.cancelled,
            compared: &self.compared,
            scratch: &Memory,
            pairs_buffered: self.pairs_buffered,
            written: pairs::Version::Plain,
        };
        let mut out = Vec::new();
        Ok((compare(&job, tiles.iter().copied().map(Ok), &mut out)?, out))
    }
}

fn definition(tiles: &[Tile<'_>]) -> Vec<Pair> {
    let threshold = Threshold::new(0.6).unwrap();
    let of_tile = |tile: &Tile<'_>| -> Vec<Pair> {
        let hits = dice::by_definition(&tile.left, &tile.right, threshold);
        hits.into_iter().map(|hit| pair(tile, hit)).collect()
    };
    let mut pairs: Vec<_> = tiles.iter().flat_map(of_tile).collect();
    pairs.sort_unstable();
    pairs
}

#[test]
fn large_and_small_tiles_give_one_sorted_run_however_little_is_held() {
    let (left, right) = (matrix(700, 16, 1), matrix(600, 16, 2));
    let ids: Vec<u8> = (0..50_u32).flat_map(|id| (11 * id).to_le_bytes()).collect();
    let large =
        Tile { datasets: [0, 1], left: Rows::all(&left, 16).unwrap(), right: Rows::all(&right, 16).unwrap() };
    let listed =
        |ids| Tile { left: Rows::listed(&left, 16, ids).unwrap(), right: large.right.part(0..9), ..large };
    let tiles = [listed(&ids[..40]), large, listed(&ids[..])];

    let found = definition(&tiles);
    assert!(found.len() > 1000, "{} pairs test something", found.len());
    let mut once = found.clone();
    once.dedup();
    let mut writer = Writer::new(Vec::new());
    for pair in &once {
        writer.push(pair).unwrap();
    }
    let expected = writer.finish().unwrap().0;
    for held in [1 << 20, 1000, 7] {
        let (compared, run) = Setting::new(u64::MAX, held).compare(&tiles).unwrap();
        assert_eq!(run, expected, "{held} pairs held");
        assert_eq!(compared.comparisons, tiles.iter().map(Tile::comparisons).sum::<u64>());
        assert_eq!(compared.pairs_found, found.len() as u64);
        assert_eq!(compared.pairs_written, once.len() as u64);
    }
}

#[test]
fn a_grid_that_shares_its_sides_finds_what_one_tile_finds() {
    let (left, right) = (matrix(2200, 16, 1), matrix(2101, 16, 2));
    let whole =
        Tile { datasets: [0, 1], left: Rows::all(&left, 16).unwrap(), right: Rows::all(&right, 16).unwrap() };
    let columns = [0..1000, 1000..2101];
    let cells: Vec<_> = [0..1100, 1100..2200]
        .into_iter()
        .flat_map(|rows| columns.clone().map(|columns| (rows.clone(), columns)))
        .map(|(rows, columns)| Tile {
            left: whole.left.part(rows),
            right: whole.right.part(columns),
            ..whole
        })
        .collect();
    let setting = Setting::new(u64::MAX, 1 << 20);
    let decision = Decision::new(Threshold::new(0.6).unwrap(), 16);
    for kernel in Kernel::available() {
        let tuning = Tuning::with_parts(&whole.left, &whole.right, 8, &decision, kernel);
        let projected = Tuning::with_strips(&whole.left, &whole.right, 1, kernel);
        for tuning in [Tuning::none(), tuning].into_iter().chain(projected).map(TuningCell::holding) {
            let sides = Sides::default();
            let run = |tiles: &[Tile<'_>]| {
                let (compared, out) = setting.compare_with(kernel, &tuning, &sides, tiles).unwrap();
                (compared.comparisons, compared.pairs_written, out)
            };
            let expected = run(&[whole]);
            assert!(expected.1 > 1000, "{} pairs test something", expected.1);
            assert!(run(&cells) == expected && run(&cells) == expected, "{kernel:?}");
        }
    }
}

#[test]
fn many_small_tiles_are_one_run() {
    let rows = matrix(2000, 8, 3);
    let ids: Vec<u8> = (0..2000_u32).flat_map(u32::to_le_bytes).collect();
    let all = Rows::listed(&rows, 8, &ids).unwrap();
    let tiles: Vec<_> = (0..40_000)
        .map(|tile| tile % 999)
        .map(|at| Tile { datasets: [0, 1], left: all.part(2 * at..2 * at + 2), right: all.part(at..at + 2) })
        .collect();
    let (compared, run) = Setting::new(u64::MAX, 5000).compare(&tiles).unwrap();
    let mut expected = definition(&tiles);
    assert_eq!(compared.pairs_found, expected.len() as u64);
    expected.dedup();
    assert_eq!(Reader::open(&run[..]).unwrap().map(Result::unwrap).collect::<Vec<_>>(), expected);
}

#[test]
fn too_many_pairs_end_it_with_their_count() {
    let rows = vec![0xff; 8 * 2000];
    let rows = Rows::all(&rows, 8).unwrap();
    let tile = Tile { datasets: [0, 1], left: rows, right: rows };
    let refused = Setting::new(100_000, 1000).compare(&[tile]).unwrap_err();
    let Error::Pairs(pairs::Error::TooMany { count, limit: 100_000 }) = refused else {
        panic!("{refused}");
    };
    assert!((100_001..1_000_000).contains(&count), "{count} were found before it stopped");
    assert!(Setting::new(4_000_000, 1 << 20).compare(&[tile]).is_ok());
}

#[test]
fn a_cancelled_part_stops_and_sizes_must_agree() {
    let rows = matrix(100, 8, 5);
    let rows8 = Rows::all(&rows, 8).unwrap();
    let rows16 = Rows::all(&rows, 16).unwrap();
    let tile = |left, right| Tile { datasets: [0, 1], left, right };
    let setting = Setting::new(u64::MAX, 100);
    assert!(matches!(setting.compare(&[tile(rows8, rows16)]), Err(Error::Malformed(_))));
    let mixed = [tile(rows8, rows8), tile(rows16, rows16)];
    assert!(matches!(setting.compare(&mixed), Err(Error::Malformed(_))));
    setting.cancelled.store(true, Ordering::Relaxed);
    assert!(matches!(setting.compare(&[tile(rows8, rows8)]), Err(Error::Cancelled)));
    let (nothing, run) = setting.compare(&[]).unwrap();
    assert_eq!((nothing, &run[..]), (Compared::default(), &pairs::HEADER[..]));
}
