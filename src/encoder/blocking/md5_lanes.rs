//! MD5 of several blocks at once. Each operation of one block waits for the one before it, so that a processor has time for
//! others, which the compiler also puts into one vector.
//!
//! Source: RFC 1321.

/// The number of blocks that are hashed at once.
pub(super) const LANES: usize = 8;

const INITIAL: [u32; 4] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];

/// The whole part of 2 to the power of 32 times the sine of the step's number, from 1.
const SINES: [u32; 64] = [
    0xd76a_a478,
    0xe8c7_b756,
    0x2420_70db,
    0xc1bd_ceee,
    0xf57c_0faf,
    0x4787_c62a,
    0xa830_4613,
    0xfd46_9501,
    0x6980_98d8,
    0x8b44_f7af,
    0xffff_5bb1,
    0x895c_d7be,
    0x6b90_1122,
    0xfd98_7193,
    0xa679_438e,
    0x49b4_0821,
    0xf61e_2562,
    0xc040_b340,
    0x265e_5a51,
    0xe9b6_c7aa,
    0xd62f_105d,
    0x0244_1453,
    0xd8a1_e681,
    0xe7d3_fbc8,
    0x21e1_cde6,
    0xc337_07d6,
    0xf4d5_0d87,
    0x455a_14ed,
    0xa9e3_e905,
    0xfcef_a3f8,
    0x676f_02d9,
    0x8d2a_4c8a,
    0xfffa_3942,
    0x8771_f681,
    0x6d9d_6122,
    0xfde5_380c,
    0xa4be_ea44,
    0x4bde_cfa9,
    0xf6bb_4b60,
    0xbebf_bc70,
    0x289b_7ec6,
    0xeaa1_27fa,
    0xd4ef_3085,
    0x0488_1d05,
    0xd9d4_d039,
    0xe6db_99e5,
    0x1fa2_7cf8,
    0xc4ac_5665,
    0xf429_2244,
    0x432a_ff97,
    0xab94_23a7,
    0xfc93_a039,
    0x655b_59c3,
    0x8f0c_cc92,
    0xffef_f47d,
    0x8584_5dd1,
    0x6fa8_7e4f,
    0xfe2c_e6e0,
    0xa301_4314,
    0x4e08_11a1,
    0xf753_7e82,
    0xbd3a_f235,
    0x2ad7_d2bb,
    0xeb86_d391,
];

/// Returns the digests of blocks that are whole messages with their padding, as little-endian words.
pub(super) fn digests(blocks: &[[u8; 64]; LANES]) -> [[u32; 4]; LANES] {
    let mut words = [[0; LANES]; 16];
    for (lane, block) in blocks.iter().enumerate() {
        let (bytes, _) = block.as_chunks::<4>();
        words.iter_mut().zip(bytes).for_each(|(word, bytes)| word[lane] = u32::from_le_bytes(*bytes));
    }
    let [mut a, mut b, mut c, mut d] = [[0; LANES]; 4];
    // The compiler makes vectors of this loop, which has no branch and no loop in it.
    for lane in 0..LANES {
        [a[lane], b[lane], c[lane], d[lane]] = digest(&words, lane);
    }
    std::array::from_fn(|lane| [a[lane], b[lane], c[lane], d[lane]])
}

/// Returns the digest of one block.
#[expect(clippy::inline_always, reason = "a loop that calls a function does not become vectors")]
#[inline(always)]
fn digest(words: &[[u32; LANES]; 16], lane: usize) -> [u32; 4] {
    let mut state = INITIAL;
    macro_rules! round {
        ($number:expr, $shifts:expr, $word:expr, $mix:expr) => {
            round!(@ $number, $shifts, $word, $mix, 0 4 8 12)
        };
        (@ $number:expr, $shifts:expr, $word:expr, $mix:expr, $($start:literal)*) => {$(
            let at = $number * 16 + $start;
            let [a, b, c, d] = state;
            let input = |at: usize| SINES[at].wrapping_add(words[$word(at) % 16][lane]);
            let a = step(a, [b, c, d], input(at), $shifts[0], $mix);
            let d = step(d, [a, b, c], input(at + 1), $shifts[1], $mix);
            let c = step(c, [d, a, b], input(at + 2), $shifts[2], $mix);
            let b = step(b, [c, d, a], input(at + 3), $shifts[3], $mix);
            state = [a, b, c, d];
        )*};
    }
    round!(0, [7, 12, 17, 22], |at| at, |b: u32, c: u32, d: u32| d ^ (b & (c ^ d)));
    round!(1, [5, 9, 14, 20], |at| 5 * at + 1, |b: u32, c: u32, d: u32| c ^ (d & (b ^ c)));
    round!(2, [4, 11, 16, 23], |at| 3 * at + 5, |b: u32, c: u32, d: u32| b ^ c ^ d);
    round!(3, [6, 10, 15, 21], |at| 7 * at, |b: u32, c: u32, d: u32| c ^ (b | !d));
    std::array::from_fn(|word| state[word].wrapping_add(INITIAL[word]))
}

#[expect(clippy::inline_always, reason = "a loop that calls a function does not become vectors")]
#[inline(always)]
fn step(a: u32, [b, c, d]: [u32; 3], input: u32, shift: u32, mix: impl Fn(u32, u32, u32) -> u32) -> u32 {
    a.wrapping_add(mix(b, c, d)).wrapping_add(input).rotate_left(shift).wrapping_add(b)
}
