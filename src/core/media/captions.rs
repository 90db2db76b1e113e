//! Captions in pictures (CEA-608 and CEA-708): whether there are any.
//!
//! H.264 and H.265 carry them in SEI, AV1 in metadata OBUs, and all of them as the same bytes: a message registered by
//! ITU-T T.35 (ATSC A/53 part 4, 6.2.3). No byte of its head can be escaped, so it stands there as it is. What they say is
//! not read.

use crate::limits;

/// `itu_t_t35_country_code` of the USA, `itu_t_t35_provider_code` of ATSC, `user_identifier`, `user_data_type_code` of
/// `cc_data`.
const HEAD: &[u8] = b"\xb5\x00\x31GA94\x03";

/// Whether an access unit has captions in front of its pictures.
pub fn are_in(unit: &[u8]) -> bool {
    let front = &unit[..unit.len().min(limits::CAPTIONS_FRONT_BYTES)];
    front.windows(HEAD.len()).any(|window| window == HEAD)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn captions_are_found_in_front_of_pictures() {
        let said = [
            &b"\0\0\0\x10\x06\x04\x0e"[..],
            HEAD,
            b"\xc1\xff\xfc\x94\x20\xff\x80",
        ]
        .concat();
        assert!(are_in(&[&said[..], &[0x65; 40]].concat()));
        assert!(!are_in(&said[..10]) && !are_in(&[0x65; 40]) && !are_in(b""));
        let far = vec![0; limits::CAPTIONS_FRONT_BYTES];
        assert!(!are_in(&[&far[..], &said].concat()));
    }
}
