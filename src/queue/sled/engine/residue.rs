//! Removes the names and payloads of finished jobs from segments that still have living jobs.

use bytes::Bytes;

use super::layout::{Body, Head, Marks, Tag, decode, encode};
use crate::queue::{Error, Group};

/// Returns a copy of a stored head or body without the names and payloads of removed jobs; `None` for other values, or
/// if the segment has no `marks`.
pub(in crate::queue::sled) fn without(
    key: &[u8],
    value: &[u8],
    marks: Option<&Marks>,
) -> Result<Option<Bytes>, Error> {
    let Some(marks) = marks else { return Ok(None) };
    if key[0] == Tag::Body.byte() {
        let body = Body::from_stored(Bytes::copy_from_slice(value));
        Ok(Some(body.without(|slot| marks.is_gone(slot))?.as_bytes().clone()))
    } else if key[0] == Tag::Head.byte() {
        Ok(Some(encode(&unnamed(decode(value)?, marks)).into()))
    } else {
        Ok(None)
    }
}

/// Returns a head without the names of groups that have no living job. No lookup needs these names.
fn unnamed(mut head: Head, marks: &Marks) -> Head {
    let mut first = 0;
    for run in &mut head.runs {
        let end = first + run.count;
        if (first..end).all(|slot| marks.is_gone(slot)) {
            run.group = Group::from("");
        }
        first = end;
    }
    head
}

#[cfg(test)]
mod tests {
    use super::super::pack::{Incoming, pack};
    use super::*;
    use crate::queue::NewJob;
    use crate::runtime::clock::Timestamp;

    #[test]
    fn compaction_erases_name_payload_and_group() {
        let incoming = |(print, name): (u64, &'static str)| {
            let job = NewJob::new(name, "q", format!("group-{name}"), format!("payload-{name}"));
            Incoming { job, print, collides: false, now: Timestamp::default() }
        };
        let packed = pack([(1, "one"), (2, "two"), (3, "three")].into_iter().map(incoming).collect());
        let [packed] = &packed[..] else { panic!("they share a segment") };
        // The slots are sorted by group: one, three, two.
        let marks = Marks { gone: vec![0b101], ..Marks::default() };
        let body = without(b"B", packed.body.as_bytes(), Some(&marks)).unwrap().unwrap();
        let head = without(b"H", &encode(&packed.head), Some(&marks)).unwrap().unwrap();
        for name in ["one", "two"] {
            let is_in = |bytes: &[u8]| bytes.windows(3).any(|found| found == name.as_bytes());
            assert!(is_in(packed.body.as_bytes()) && !is_in(&body) && !is_in(&head), "{name}");
        }
        let body = Body::from_stored(body);
        assert_eq!((body.name(1).unwrap(), &body.payload(1).unwrap()[..]), ("three", &b"payload-three"[..]));
        let head: Head = decode(&head).unwrap();
        assert_eq!(head.runs[1], packed.head.runs[1]);
        assert_eq!(head.prints, packed.head.prints);
        assert_eq!(without(b"B", packed.body.as_bytes(), None).unwrap(), None);
    }
}
