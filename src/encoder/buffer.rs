//! Buffers for secrets and personal data. What they release is overwritten, also when they grow.

use zeroize::Zeroize;

/// The smallest capacity.
const CAPACITY_MIN: usize = 64;

/// Makes room for `more` bytes. A vector that grows by itself leaves a copy of its bytes in freed memory.
#[inline]
pub(super) fn reserve(bytes: &mut Vec<u8>, more: usize) {
    if bytes.capacity() - bytes.len() < more {
        grow(bytes, more);
    }
}

#[cold]
fn grow(bytes: &mut Vec<u8>, more: usize) {
    let mut larger = Vec::with_capacity((bytes.len() + more).max(2 * bytes.capacity()).max(CAPACITY_MIN));
    larger.extend_from_slice(bytes);
    std::mem::swap(bytes, &mut larger);
    // With its spare room, in which bytes may lie that were removed.
    larger.zeroize();
}

/// Makes room for `more` bytes in a text, as [`reserve`] does.
pub(super) fn reserve_text(text: &mut String, more: usize) {
    if text.capacity() - text.len() < more {
        let mut bytes = std::mem::take(text).into_bytes();
        reserve(&mut bytes, more);
        *text = String::from_utf8(bytes).expect("these are the bytes of a text");
    }
}

/// Removes the content of a text.
pub(super) fn clear_text(text: &mut String) {
    text.as_mut_str().zeroize();
    text.clear();
}

/// The size of the stack that is overwritten, which is more than encoding uses.
const STACK_BYTES: usize = 128 << 10;

/// Overwrites the unused stack of this thread, in which earlier calls left values, also those that were in registers.
#[expect(clippy::large_stack_arrays, reason = "the array is the stack that is overwritten")]
#[inline(never)]
pub fn wipe_stack() {
    let mut stack = [0_u8; STACK_BYTES];
    stack.zeroize();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_grow_and_keep_their_content() {
        let (mut bytes, mut text) = (Vec::new(), String::new());
        for length in 0..1000_usize {
            let more = "x".repeat(length % 7);
            reserve(&mut bytes, more.len());
            reserve_text(&mut text, more.len());
            let (room, place) = (text.capacity(), text.as_ptr());
            bytes.extend_from_slice(more.as_bytes());
            text.push_str(&more);
            assert_eq!((text.capacity(), text.as_ptr()), (room, place));
        }
        assert_eq!(bytes, text.as_bytes());
        clear_text(&mut text);
        assert!(text.is_empty());
    }
}
