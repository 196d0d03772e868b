//! The text of an event's id. Lives here too because a source may not depend on the core crate.

use serde::{Serialize, Serializer};

const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// 128 bits that serialize as a ULID: 26 characters of Crockford's base 32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ulid(pub(crate) u128);

impl Serialize for Ulid {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text: [u8; 26] = std::array::from_fn(|at| {
            let shift = 5 * (25 - at);
            ALPHABET[((self.0 >> shift) & 31) as usize]
        });
        serializer.serialize_str(std::str::from_utf8(&text).map_err(serde::ser::Error::custom)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_a_ulid() {
        // From the ULID specification.
        let id = Ulid(0x0156_3E3A_B5D3_D676_4C61_EFB9_9302_BD5B);

        assert_eq!(serde_json::to_string(&id).unwrap(), r#""01ARZ3NDEKTSV4RRFFQ69G5FAV""#);
        assert_eq!(serde_json::to_string(&Ulid(0)).unwrap(), r#""00000000000000000000000000""#);
        assert_eq!(serde_json::to_string(&Ulid(u128::MAX)).unwrap(), r#""7ZZZZZZZZZZZZZZZZZZZZZZZZZ""#);
    }
}
