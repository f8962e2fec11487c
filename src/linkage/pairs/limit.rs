//! A bound on the number of pairs.

use super::{Error, Pair};

/// Returns `pairs`, with [`Error::TooMany`] in place of the first pair beyond `pairs_max`.
pub fn limited(
    pairs: impl Iterator<Item = Result<Pair, Error>>,
    pairs_max: u64,
) -> impl Iterator<Item = Result<Pair, Error>> {
    let mut count = 0;
    pairs.map(move |pair| {
        count += u64::from(pair.is_ok());
        if count > pairs_max { Err(Error::TooMany { count, limit: pairs_max }) } else { pair }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_pair_beyond_the_limit_is_an_error() {
        let pair = Pair { score: 1.0, datasets: [0, 1], records: [0, 0] };
        let pairs = || std::iter::repeat_with(|| Ok(pair)).take(3);
        assert_eq!(limited(pairs(), 3).flatten().count(), 3);
        let refused = limited(pairs(), 2).collect::<Result<Vec<_>, _>>().unwrap_err();
        assert!(matches!(refused, Error::TooMany { count: 3, limit: 2 }));
    }
}
