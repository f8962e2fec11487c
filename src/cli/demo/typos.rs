//! Makes typing errors that are common on a keyboard.

use super::rng::SeededRng;

/// The rows of letters on a keyboard. A wrong key is usually a neighbour in the same row.
const ROWS: [&str; 3] = ["qwertyuiop", "asdfghjkl", "zxcvbnm"];

/// Returns `word` with one typing error: a neighbouring key, a letter left out, a letter typed twice, or two letters
/// in the wrong order. An empty word stays empty.
pub(super) fn mistype(word: &str, rng: &mut SeededRng) -> String {
    let mut letters: Vec<char> = word.chars().collect();
    if letters.is_empty() {
        return String::new();
    }
    let at = rng.below(letters.len());
    match rng.below(4) {
        0 => letters[at] = neighbour(letters[at], rng),
        1 if letters.len() > 1 => drop(letters.remove(at)),
        2 if at + 1 < letters.len() => letters.swap(at, at + 1),
        _ => letters.insert(at, letters[at]),
    }
    letters.into_iter().collect()
}

fn neighbour(letter: char, rng: &mut SeededRng) -> char {
    let row = ROWS.iter().find(|row| row.contains(letter));
    let Some((row, at)) = row.and_then(|row| Some((row.as_bytes(), row.find(letter)?))) else {
        return letter;
    };
    let step = if at == 0 || (at + 1 < row.len() && rng.happens(0.5)) { at + 1 } else { at - 1 };
    char::from(row[step])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_slip_changes_little() {
        let mut rng = SeededRng::seeded(5);
        for _ in 0..1000 {
            let slipped = mistype("katherine", &mut rng);
            assert!((8..=10).contains(&slipped.len()), "{slipped}");
        }
        assert_eq!(mistype("", &mut rng), "");
        assert_eq!(neighbour('q', &mut rng), 'w');
        assert_eq!(neighbour('m', &mut rng), 'n');
    }
}
