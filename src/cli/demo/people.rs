//! Synthetic people, and the records that different parties have of them.
//!
//! Half of each party's records are people in the data of every party; the others are only in its own data. Each
//! party has its own typing errors and its own order. The same seed yields the same records.

use super::names::{FAMILY, GIVEN, PLACES};
use super::rng::SeededRng;
use super::typos::mistype;

/// A person's record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) struct Person {
    pub(in crate::cli) given: String,
    pub(in crate::cli) family: String,
    /// The date of birth in eight digits: year, month, day.
    pub(in crate::cli) born: String,
    pub(in crate::cli) place: String,
}

/// The records of a party, with the ground truth: the real person of each record.
pub(in crate::cli) struct Register {
    /// The records.
    pub(in crate::cli) people: Vec<Person>,
    /// The number of the real person of each record. People with numbers below [`shared`] are in the records of every party.
    pub(in crate::cli) truth: Vec<usize>,
}

/// Returns the number of people that are in the data of every party, if each party has `records` records.
pub(super) const fn shared(records: usize) -> usize {
    records.div_ceil(2)
}

/// Returns the records of `parties` parties, `records` for each.
pub(in crate::cli) fn registers(parties: usize, records: usize, seed: u64) -> Vec<Register> {
    let (mut rng, names) = (SeededRng::seeded(seed), Names::new());
    let own = records - shared(records);
    let population: Vec<Person> =
        (0..shared(records) + parties * own).map(|_| names.person(&mut rng)).collect();
    let register = |party| {
        let first = shared(records) + party * own;
        let mut truth: Vec<usize> = (0..shared(records)).chain(first..first + own).collect();
        rng.shuffle(&mut truth);
        let people = truth.iter().map(|&person| names.write_down(&population[person], &mut rng)).collect();
        Register { people, truth }
    };
    (0..parties).map(register).collect()
}

/// The names and places, the most common first.
struct Names {
    given: Vec<&'static str>,
    family: Vec<&'static str>,
    places: Vec<&'static str>,
}

impl Names {
    fn new() -> Self {
        let words = |text: &'static str| text.split_whitespace().collect();
        Self { given: words(GIVEN), family: words(FAMILY), places: words(PLACES) }
    }

    /// Generates a person.
    fn person(&self, rng: &mut SeededRng) -> Person {
        let mut family = rng.pick_ranked(&self.family).to_owned();
        if rng.happens(0.04) {
            family = format!("{family} {}", rng.pick_ranked(&self.family));
        }
        let mut given = rng.pick_ranked(&self.given).to_owned();
        if rng.happens(0.15) {
            given = format!("{given} {}", rng.pick_ranked(&self.given));
        }
        Person { given, family, born: birthday(rng), place: rng.pick_ranked(&self.places).to_owned() }
    }

    /// Returns a record of the person, in which some fields may be wrong.
    fn write_down(&self, person: &Person, rng: &mut SeededRng) -> Person {
        let mut copy = person.clone();
        for field in [&mut copy.given, &mut copy.family, &mut copy.place] {
            if rng.happens(0.06) {
                *field = mistype(field, rng);
            }
        }
        if rng.happens(0.03) {
            copy.born = misread_date(&copy.born, rng);
        }
        if rng.happens(0.04) {
            rng.pick_ranked(&self.places).clone_into(&mut copy.place);
        }
        copy
    }
}

fn birthday(rng: &mut SeededRng) -> String {
    let (year, month) = (1930 + rng.below(85), 1 + rng.below(12));
    let days = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31][month - 1];
    format!("{year:04}{month:02}{:02}", 1 + rng.below(days))
}

/// Swaps day and month, or changes one digit.
fn misread_date(born: &str, rng: &mut SeededRng) -> String {
    if rng.happens(0.4) {
        return format!("{}{}{}", &born[..4], &born[6..], &born[4..6]);
    }
    let wrong = 2 + rng.below(6);
    let digit = char::from(b'0' + rng.below(10) as u8);
    born.char_indices().map(|(at, old)| if at == wrong { digit } else { old }).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_same_seed_makes_the_same_people() {
        let (a, b) = (registers(2, 50, 7), registers(2, 50, 7));
        assert_eq!(a[1].people, b[1].people);
        assert_ne!(a[1].people, registers(2, 50, 8)[1].people);
        let first = &a[0].people[0];
        insta::assert_snapshot!(format!("{first:?}"), @r#"Person { given: "oscar", family: "choi", born: "19760711", place: "sydney" }"#);
    }

    #[test]
    fn half_of_the_people_are_known_to_every_party() {
        for (parties, records) in [(2, 101), (3, 10), (2, 1)] {
            let registers = registers(parties, records, 1);
            let known = |register: &Register| register.truth.iter().copied().collect::<HashSet<_>>();
            let by_all = registers.iter().map(known).reduce(|a, b| &a & &b).unwrap();
            assert_eq!(by_all, (0..shared(records)).collect());
            for register in &registers {
                assert_eq!((register.people.len(), known(register).len()), (records, records));
            }
        }
    }

    #[test]
    fn most_fields_are_typed_right_and_some_are_not() {
        let registers = registers(2, 2000, 3);
        let find = |register: &Register, person| {
            let at = register.truth.iter().position(|&known| known == person).unwrap();
            register.people[at].clone()
        };
        let same = (0..shared(2000)).filter(|&p| find(&registers[0], p) == find(&registers[1], p)).count();
        assert!((450..700).contains(&same), "{same} of 1000 written down alike");
    }
}
