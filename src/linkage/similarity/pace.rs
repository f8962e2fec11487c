//! The expected speed of comparisons, before any measurement.

use super::Kernel;

/// The share of the speed of the loops that remains after sorting, deciding and writing.
const SHARE: f64 = 0.6;

/// Returns the estimated number of comparisons per second of one thread over encodings of people: the rate of brute
/// force, times the gain of sifting at the threshold. The estimate is accurate enough to cut work into pieces of
/// about the same time.
pub fn expected_per_second(kernel: Kernel, encoding_bytes: usize, threshold: f64) -> f64 {
    let brute_force = 64e9 / kernel.cost_of_counting(encoding_bytes);
    let sifting = 0.25 / (1.02 - threshold);
    SHARE * brute_force * sifting.max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_with_the_threshold_and_falls_with_the_size() {
        for kernel in Kernel::available() {
            let expected = |bytes, threshold| expected_per_second(kernel, bytes, threshold);
            assert!(expected(128, 0.95) > 2.0 * expected(128, 0.8), "{kernel:?}");
            assert!(expected(64, 0.9) > expected(256, 0.9), "{kernel:?}");
            assert!((1e6..1e12).contains(&expected(128, 1.0)), "{kernel:?}");
        }
    }
}
