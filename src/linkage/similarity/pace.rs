//! The expected speed of comparisons, before any measurement.

use super::Kernel;

/// The share of the speed of the loops that remains after sorting, deciding and writing.
const SHARE: f64 = 0.6;
/// A threshold slightly above the highest one: the work of sifting grows with the distance from it.
const TOP: f64 = 1.02;
/// The parts of a signature that sift encodings of people, for each unit below [`TOP`].
const PARTS: f64 = 350.0;
/// The steps of a projection that sift encodings of people, for each unit below [`TOP`].
const STEPS: f64 = 20.0;
/// The threshold at which every pair of people survives sifting. The share falls to a tenth for each 0.1 above it.
const ALL_SURVIVE: f64 = 0.57;

/// Returns the estimated number of comparisons per second of one thread over encodings of people: by the loops that are
/// the fastest on this processor, with as fine a sifting as the threshold usually needs. The estimate is accurate enough
/// to cut work into pieces of about the same time.
///
/// Measures the costs of the loops at the first call, which takes a few milliseconds.
pub fn expected_per_second(kernel: Kernel, encoding_bytes: usize, threshold: f64) -> f64 {
    let (below, survival) = (TOP - threshold, 10_f64.powf(10.0 * (ALL_SURVIVE - threshold)).min(1.0));
    let (parts, steps) = ((PARTS * below).ceil() as usize, (STEPS * below).ceil() as usize);
    let sifting = kernel.cost_of_parts(parts, survival, encoding_bytes);
    let sifting = sifting.min(kernel.cost_of_steps(steps, survival, encoding_bytes));
    SHARE * 64e9 / sifting.min(kernel.cost_of_counting(encoding_bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_with_the_threshold_and_falls_with_the_size() {
        for kernel in Kernel::available() {
            let expected = |bytes, threshold| expected_per_second(kernel, bytes, threshold);
            assert!(expected(128, 0.95) > expected(128, 0.8), "{kernel:?}");
            assert!(expected(64, 0.9) > expected(256, 0.9), "{kernel:?}");
            assert!((1e6..1e12).contains(&expected(128, 1.0)), "{kernel:?}");
        }
    }
}
