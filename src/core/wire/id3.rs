//! ID3v2.4 tags of one user text frame (id3.org, "id3v2.4.0-structure" and "-frames"), which is how events ride in `emsg`.
//!
//! Only what is written here can be read here: [`read_user_text`] is for tests, tools and fuzzing, not for files from
//! anywhere.

/// Bytes of a tag's header, and of a frame's.
const HEADER: usize = 10;
/// Text encoding of a frame: UTF-8.
const UTF_8: u8 = 3;

/// A tag with one TXXX frame: `description` (without zero bytes) and `value`, both UTF-8. Lengths must fit 28 bits.
pub fn user_text(description: &str, value: &str) -> Vec<u8> {
    let body = 1 + description.len() + 1 + value.len();
    let mut tag = Vec::with_capacity(HEADER + HEADER + body);
    tag.extend_from_slice(b"ID3\x04\x00\x00");
    tag.extend_from_slice(&synchsafe(HEADER + body));
    tag.extend_from_slice(b"TXXX");
    tag.extend_from_slice(&synchsafe(body));
    tag.extend_from_slice(&[0, 0, UTF_8]);
    tag.extend_from_slice(description.as_bytes());
    tag.push(0);
    tag.extend_from_slice(value.as_bytes());
    tag
}

/// Description and value of a tag as [`user_text`] writes it; `None` for any other.
pub fn read_user_text(tag: &[u8]) -> Option<(&str, &str)> {
    let rest = tag.strip_prefix(b"ID3\x04\x00\x00")?;
    let (size, frame) = rest.split_first_chunk::<4>()?;
    (length(size)? == frame.len()).then_some(())?;
    let (size, body) = frame.strip_prefix(b"TXXX")?.split_first_chunk::<4>()?;
    let body = body.strip_prefix(&[0, 0])?;
    (length(size)? == body.len()).then_some(())?;
    let text = std::str::from_utf8(body.strip_prefix(&[UTF_8])?).ok()?;
    text.split_once('\0')
}

/// 28 bits in four bytes of seven (structure, 6.2).
fn synchsafe(length: usize) -> [u8; 4] {
    [21, 14, 7, 0].map(|shift| (length >> shift & 0x7F) as u8)
}

fn length(synchsafe: &[u8; 4]) -> Option<usize> {
    let bytes = synchsafe.iter();
    bytes.copied().try_fold(0, |length, byte| {
        (byte < 0x80).then_some(length << 7 | usize::from(byte))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What the `id3` crate reads in a tag.
    fn by_another(tag: &[u8]) -> (String, String) {
        let tag = id3::Tag::read_from2(std::io::Cursor::new(tag)).expect("a tag");
        assert_eq!(
            (tag.version(), tag.frames().count()),
            (id3::Version::Id3v24, 1)
        );
        let text = tag.extended_texts().next().expect("a user text frame");
        (text.description.clone(), text.value.clone())
    }

    #[test]
    fn a_frame_of_user_text_byte_by_byte() {
        let wanted = b"ID3\x04\x00\x00\x00\x00\x00\x1dTXXX\x00\x00\x00\x13\x00\x00\x03vitrine\x00{\"a\":\"\xc3\xa9\"}";
        assert_eq!(user_text("vitrine", r#"{"a":"é"}"#), wanted);
        assert_eq!(
            by_another(wanted),
            ("vitrine".to_owned(), r#"{"a":"é"}"#.to_owned())
        );
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(description in "[^\0]{0,20}", value in "\\PC{0,300}") {
            let tag = user_text(&description, &value);
            prop_assert_eq!(read_user_text(&tag), Some((&description[..], &value[..])));
            prop_assert_eq!(by_another(&tag), (description.clone(), value.clone()));
            let shorter = &tag[..tag.len() - 1];
            prop_assert_eq!(read_user_text(shorter), None);
        }

        #[test]
        fn no_bytes_are_too_strange_to_be_refused(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let mut tag = b"ID3\x04\x00\x00".to_vec();
            tag.extend(bytes);
            if let Some((description, value)) = read_user_text(&tag) {
                prop_assert_eq!(user_text(description, value), tag);
            }
        }
    }
}
