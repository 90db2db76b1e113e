//! Captions for the tests, in the way that television has them: CEA-608 in SEI of H.264.
//!
//! Debian's ffmpeg reads them and cannot write any, so they are put into the access units of a file that it made.

use crate::publisher::{body, flv};

/// What the captions say, one after the other.
pub(crate) const SAID: [&str; 3] = ["TWO ARE LEFT", "ONE IS LEFT", "SOLD OUT"];

/// A broadcast of H.264 whose pictures bring captions, a pair of bytes each in the order in which they are shown; all is
/// said so many times.
pub(crate) fn captioned(mut tags: Vec<flv::Tag>, times: usize) -> Vec<flv::Tag> {
    let is_picture = |tag: &flv::Tag| tag.kind == 9 && tag.body[1] == body::FRAMES;
    let shown = |tag: &flv::Tag| {
        let [high, middle, low] = [2, 3, 4].map(|at| tag.body[at]);
        i64::from(tag.timestamp) + i64::from(i32::from_be_bytes([high, middle, low, 0]) >> 8)
    };
    let mut order: Vec<i64> = tags
        .iter()
        .filter(|tag| is_picture(tag))
        .map(shown)
        .collect();
    order.sort_unstable();
    let pairs = pairs().repeat(times);
    for tag in tags.iter_mut().filter(|tag| is_picture(tag)) {
        let place = order.binary_search(&shown(tag)).expect("one of them");
        let pair = pairs.get(place).copied().unwrap_or([0x80, 0x80]);
        tag.body.splice(5..5, sei(pair));
    }
    tags
}

/// The bytes of field 1 (CTA-608-E): each text is loaded out of sight ("pop-on") and shown at once.
fn pairs() -> Vec<[u8; 2]> {
    const LOAD: [u8; 2] = [0x14, 0x20];
    const ROW_15: [u8; 2] = [0x14, 0x70];
    const SHOW: [u8; 2] = [0x14, 0x2f];
    const CLEAR: [u8; 2] = [0x14, 0x2c];
    let mut pairs = Vec::new();
    for text in SAID {
        // Commands are said twice.
        pairs.extend([LOAD, LOAD, ROW_15, ROW_15]);
        let (letters, rest) = text.as_bytes().as_chunks::<2>();
        pairs.extend(letters);
        pairs.extend(rest.first().map(|last| [*last, 0]));
        pairs.extend([SHOW, SHOW]);
        pairs.extend([[0, 0]; 20]);
    }
    pairs.extend([CLEAR, CLEAR]);
    let odd = |byte: u8| byte | u8::from(byte.count_ones().is_multiple_of(2)) << 7;
    pairs.into_iter().map(|pair| pair.map(odd)).collect()
}

/// A NAL unit of one SEI message (ITU-T T.35, ATSC A/53 part 4, 6.2.3), behind its length.
fn sei(pair: [u8; 2]) -> Vec<u8> {
    let [first, second] = pair;
    let mut said = vec![0xb5, 0, 0x31];
    said.extend(b"GA94");
    said.extend([3, 0xc1, 0xff, 0xfc, first, second, 0xff]);
    let mut unit = vec![6, 4, u8::try_from(said.len()).expect("short")];
    unit.extend(said);
    unit.push(0x80);
    let length = u32::try_from(unit.len()).expect("short");
    [&length.to_be_bytes()[..], &unit].concat()
}
