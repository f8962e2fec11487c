//! Advice about the threshold, based only on the scores of candidate pairs.

use std::fmt::Write;

/// The number of bars of a histogram. There is one for each hundredth of the score.
const BARS: usize = 101;
/// The length of the longest bar in characters.
const WIDTH: u64 = 50;
/// The number of bars on each side with which a bar is averaged. A few empty bars among those of one kind of pairs are no
/// valley.
const REACH: usize = 3;
/// A valley suggests a threshold if the bars beside it are this many times as high.
const DEPTH: f64 = 2.0;

/// The scores of candidate pairs.
pub(super) struct Histogram([u64; BARS]);

impl Default for Histogram {
    fn default() -> Self {
        Self([0; BARS])
    }
}

impl Histogram {
    /// Counts a score.
    pub(super) fn add(&mut self, score: f64) {
        self.0[((score * 100.0).floor() as usize).min(BARS - 1)] += 1;
    }

    /// Finds the threshold in the valley between the low scores, of pairs of different people, and the high scores, of
    /// pairs of the same person. There is none if the bars do not fall and rise again.
    pub(super) fn valley(&self) -> Option<f64> {
        let first = self.0.iter().position(|count| *count > 0)?;
        let smooth = |at: usize| {
            let (low, high) = (at.saturating_sub(REACH).max(first), (at + REACH).min(BARS - 1));
            self.0[low..=high].iter().sum::<u64>() as f64 / (high - low + 1) as f64
        };
        let highest = |range: std::ops::RangeInclusive<usize>| range.map(smooth).fold(0.0, f64::max);
        let depth = |at: usize| highest(first..=at).min(highest(at..=BARS - 1)) / (smooth(at) + 1.0);
        let deepest = (first..BARS).max_by(|a, b| depth(*a).total_cmp(&depth(*b)))?;
        (depth(deepest) >= DEPTH).then_some(deepest as f64 / 100.0)
    }

    /// Draws a bar for each hundredth, starting with the first that has a pair, and adds the advice.
    pub(super) fn advice(&self) -> String {
        let mut text = String::from("candidate pairs by score\n");
        let most = self.0.iter().copied().max().unwrap_or(0).max(1);
        let first = self.0.iter().position(|count| *count > 0).unwrap_or(BARS);
        for (at, count) in self.0.iter().enumerate().skip(first) {
            let bar = "#".repeat((count * WIDTH).div_ceil(most) as usize);
            // Writing to a string does not fail.
            let _ = writeln!(text, "{}", format!("{:.2} {count:>9} {bar}", at as f64 / 100.0).trim_end());
        }
        let advice = match self.valley() {
            Some(threshold) => format!(
                "--threshold {threshold:.2}, where the scores of different people and those of the same person overlap least"
            ),
            None => "none; the scores of different people and those of the same person are not separate. A lower threshold \
                     shows more pairs, and --truth measures how good a threshold is"
                .to_owned(),
        };
        let _ = write!(text, "advice: {advice}");
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn valley(counts: &[(usize, u64)]) -> Option<f64> {
        let mut histogram = Histogram::default();
        for (at, count) in counts {
            (0..*count).for_each(|_| histogram.add(*at as f64 / 100.0 + 0.005));
        }
        histogram.valley()
    }

    #[test]
    fn the_threshold_is_in_the_valley() {
        let rising = (60..75).map(|at| (at, 4_u64.pow((75 - at) as u32 / 2)));
        let matches = (85..100).map(|at| (at, 50));
        let both: Vec<_> = rising.clone().chain(matches.clone()).collect();
        assert!((0.74..=0.86).contains(&valley(&both).unwrap()));
        // Few pairs, with empty bars among those of the same person. Precision is 1 from 0.74 on.
        let few = [
            187, 140, 134, 93, 61, 55, 23, 16, 13, 3, 5, 1, 7, 4, 4, 0, 1, 2, 1, 0, 1, 0, 1, 0, 1, 1, 1, 4,
            6, 2, 0, 4, 4,
        ];
        let few = few.into_iter().chain([1, 0, 0, 6, 6, 7, 0]).zip(60..).map(|(count, at)| (at, count));
        let few: Vec<_> = few.chain([(100, 105)]).collect();
        assert!((0.74..=0.86).contains(&valley(&few).unwrap()));
        assert_eq!(valley(&rising.collect::<Vec<_>>()), None);
        assert_eq!(valley(&matches.collect::<Vec<_>>()), None);
        assert_eq!(valley(&[]), None);
    }
}
