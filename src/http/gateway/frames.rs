//! Where WebSocket frames (RFC 6455) end: only there may we say something of our own between a service's.

/// What says that we go away (1001): a close frame without a reason.
pub(super) const GOING_AWAY: &[u8] = &[0x88, 2, 0x03, 0xe9];

/// The opcode of a close frame.
const CLOSE: u8 = 8;

/// The longest head: two bytes, and a length of eight. A mask counts as payload here.
const HEAD_MAX: usize = 10;

/// How far a stream of frames has come. Nothing of their payloads is kept.
#[derive(Debug, Default)]
pub(super) struct Frames {
    head: [u8; HEAD_MAX],
    /// Bytes of `head` that came.
    came: usize,
    /// Bytes of the payload that are still to come.
    left: u64,
    closed: bool,
}

impl Frames {
    /// Follows the next bytes of the stream.
    pub(super) fn follow(&mut self, mut bytes: &[u8]) {
        while let Some((first, rest)) = bytes.split_first() {
            if self.left > 0 {
                let here = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
                self.left -= here as u64;
                bytes = bytes.get(here..).unwrap_or_default();
                continue;
            }
            if let Some(place) = self.head.get_mut(self.came) {
                *place = *first;
            }
            self.came += 1;
            bytes = rest;
            if let Some(length) = self.length() {
                self.closed |= self.head[0] & 0x0f == CLOSE;
                self.left = length;
                self.came = 0;
            }
        }
    }

    /// Whether a frame may begin here, and the stream's own close frame has not been.
    pub(super) fn may_say(&self) -> bool {
        self.left == 0 && self.came == 0 && !self.closed
    }

    /// How many bytes follow this head, once it is whole.
    fn length(&self) -> Option<u64> {
        let head = self.head.get(..self.came)?;
        let second = *head.get(1)?;
        let mask = if second & 0x80 == 0 { 0 } else { 4 };
        let length = match second & 0x7f {
            126 => u64::from(u16::from_be_bytes(head.get(2..4)?.try_into().ok()?)),
            127 => u64::from_be_bytes(head.get(2..10)?.try_into().ok()?),
            short => u64::from(short),
        };
        Some(length.saturating_add(mask))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(opcode: u8, length: usize, masked: bool) -> Vec<u8> {
        let mask: u8 = if masked { 0x80 } else { 0 };
        let mut frame = vec![0x80 | opcode];
        match length {
            0..=125 => frame.push(mask | length as u8),
            126..=0xffff => {
                frame.push(mask | 126);
                frame.extend_from_slice(&(length as u16).to_be_bytes());
            }
            _ => {
                frame.push(mask | 127);
                frame.extend_from_slice(&(length as u64).to_be_bytes());
            }
        }
        frame.extend(std::iter::repeat_n(0x88, length + if masked { 4 } else { 0 }));
        frame
    }

    #[test]
    fn a_frame_ends_where_its_length_says_however_it_is_cut() {
        for length in [0, 1, 125, 126, 127, 65_535, 65_536] {
            for masked in [false, true] {
                let stream = [frame(2, length, masked), frame(1, 3, masked)].concat();
                let first = stream.len() - frame(1, 3, masked).len();
                for cut in [1, 2, 3, 7, 4096, stream.len()] {
                    let mut frames = Frames::default();
                    assert!(frames.may_say());
                    let mut came = 0;
                    for piece in stream.chunks(cut) {
                        frames.follow(piece);
                        came += piece.len();
                        let ends = came == first || came == stream.len();
                        assert_eq!(frames.may_say(), ends, "{length} {masked} {cut} {came}");
                    }
                }
            }
        }
    }

    #[test]
    fn nothing_is_said_after_a_close_frame_nor_within_a_length_that_cannot_be() {
        let mut frames = Frames::default();
        frames.follow(GOING_AWAY);
        assert!(!frames.may_say());
        let mut frames = Frames::default();
        frames.follow(&[0x82, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0]);
        assert!(!frames.may_say());
    }
}
