//! What stands in a JSON string as it is: eight bytes at a look.
//!
//! Most of a webhook is text within quotes. Whether one of eight bytes is a quote, a backslash or a control
//! character is a handful of operations on them as one number (S. E. Anderson, Bit Twiddling Hacks,
//! "Determine if a word has a zero byte").

/// A byte of each of the eight.
const ONES: u64 = u64::from_ne_bytes([0x01; 8]);
const HIGHS: u64 = u64::from_ne_bytes([0x80; 8]);

/// How many bytes stand before the first quote, backslash or control character; all of them, if there is none.
pub(super) fn len(bytes: &[u8]) -> usize {
    let (words, rest) = bytes.as_chunks::<8>();
    let mut before = 0;
    for word in words {
        let ends = ends(u64::from_le_bytes(*word));
        if ends != 0 {
            // The first byte is the lowest.
            return before + (ends.trailing_zeros() / 8) as usize;
        }
        before += 8;
    }
    before + rest.iter().position(|byte| is_end(*byte)).unwrap_or(rest.len())
}

fn is_end(byte: u8) -> bool {
    matches!(byte, b'"' | b'\\' | 0..=0x1f)
}

/// Not zero if one of the bytes ends the plain text. The lowest bit that is set lies in the first that does;
/// above it, others may be set that don't.
fn ends(word: u64) -> u64 {
    let quotes = zeros(word ^ (ONES * u64::from(b'"')));
    let backslashes = zeros(word ^ (ONES * u64::from(b'\\')));
    // Below 0x20, the three highest bits are clear.
    let controls = zeros(word & (ONES * 0xe0));
    quotes | backslashes | controls
}

/// The high bit of the first byte that is zero; above it, others may be set that aren't.
fn zeros(word: u64) -> u64 {
    word.wrapping_sub(ONES) & !word & HIGHS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slowly(bytes: &[u8]) -> usize {
        bytes.iter().position(|byte| is_end(*byte)).unwrap_or(bytes.len())
    }

    #[test]
    fn each_byte_ends_it_or_not_at_each_place() {
        for byte in 0..=u8::MAX {
            for place in 0..20 {
                for filling in [b'a', b' ', b'!', b'#', b'[', b']', 0x7f, 0x80, 0xff] {
                    let mut bytes = [filling; 20];
                    bytes[place] = byte;
                    assert_eq!(len(&bytes), slowly(&bytes), "{byte:#x} at {place} in {filling:#x}");
                }
            }
        }
    }

    #[test]
    fn the_first_of_two_ends_it() {
        for (first, second) in
            [(b'"', 0x21), (0x00, 0x01), (b'\\', b']'), (0x1f, 0x20), (0x21, b'"')]
        {
            for place in 0..15 {
                let mut bytes = [b'x'; 16];
                bytes[place] = first;
                bytes[place + 1] = second;
                assert_eq!(len(&bytes), slowly(&bytes), "{first:#x} {second:#x} at {place}");
            }
        }
        assert_eq!(len(b""), 0);
    }
}
