//! Bodies that producers encode because SQS carries only text. Pure.

use std::io::Read as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use flate2::read::MultiGzDecoder;

use crate::config::BodyEncoding;

/// What base64 makes of the first bytes of every gzip stream with deflate (RFC 1952, section 2.3.1).
const GZIP_IN_BASE64: &[u8] = b"H4sI";

/// Why a body stays as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Undecoded {
    Base64,
    Gzip,
    /// It would be larger than allowed.
    TooLarge,
}

impl Undecoded {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Base64 => "base64",
            Self::Gzip => "gzip",
            Self::TooLarge => "too_large",
        }
    }
}

/// The decoded body; `None` when there is nothing to decode.
pub(crate) fn decode(body: &[u8], encoding: BodyEncoding, most: u64) -> Result<Option<Bytes>, Undecoded> {
    match encoding {
        BodyEncoding::None => Ok(None),
        BodyEncoding::Base64 => base64(body).map(Some),
        BodyEncoding::Base64Gzip => gunzip(&base64(body)?, most).map(Some),
        BodyEncoding::Auto if body.starts_with(GZIP_IN_BASE64) => {
            // Text that only looks like it is text.
            let Ok(bytes) = base64(body) else { return Ok(None) };
            gunzip(&bytes, most).map(Some)
        }
        BodyEncoding::Auto => Ok(None),
    }
}

fn base64(body: &[u8]) -> Result<Bytes, Undecoded> {
    STANDARD.decode(body.trim_ascii()).map(Bytes::from).map_err(|_| Undecoded::Base64)
}

fn gunzip(bytes: &[u8], most: u64) -> Result<Bytes, Undecoded> {
    let mut body = Vec::new();
    // One more than allowed, to tell a body of just that size from a larger one.
    let read = MultiGzDecoder::new(bytes).take(most.saturating_add(1)).read_to_end(&mut body);
    match read {
        Ok(_) if body.len() as u64 > most => Err(Undecoded::TooLarge),
        Ok(_) => Ok(body.into()),
        Err(_) => Err(Undecoded::Gzip),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn zipped(body: &[u8]) -> String {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(body).unwrap();
        STANDARD.encode(encoder.finish().unwrap())
    }

    #[test]
    fn each_encoding_is_undone_and_nothing_else() {
        use BodyEncoding::{Auto, Base64, Base64Gzip, None as Plain};
        let (json, zip) = (r#"{"a":1}"#, zipped(br#"{"a":1}"#));
        let encoded = STANDARD.encode(json);
        let undone = || Ok(Some(Bytes::from(json)));
        for (encoding, body, expected) in [
            (Plain, zip.as_str(), Ok(None)),
            (Base64, encoded.as_str(), undone()),
            (Base64, " e30=\n", Ok(Some(Bytes::from("{}")))),
            (Base64, json, Err(Undecoded::Base64)),
            (Base64Gzip, zip.as_str(), undone()),
            (Base64Gzip, encoded.as_str(), Err(Undecoded::Gzip)),
            (Base64Gzip, json, Err(Undecoded::Base64)),
            (Base64Gzip, &zip[..zip.len() - 8], Err(Undecoded::Gzip)),
            (Auto, zip.as_str(), undone()),
            (Auto, json, Ok(None)),
            (Auto, encoded.as_str(), Ok(None)),
            (Auto, "H4sIs not base64!", Ok(None)),
        ] {
            assert_eq!(decode(body.as_bytes(), encoding, 100), expected, "{encoding:?} {body}");
        }
    }

    #[test]
    fn a_body_may_grow_to_the_limit_and_no_further() {
        let zip = zipped(&[b'a'; 1000]);
        assert_eq!(decode(zip.as_bytes(), BodyEncoding::Base64Gzip, 1000).unwrap().unwrap().len(), 1000);
        assert_eq!(decode(zip.as_bytes(), BodyEncoding::Base64Gzip, 999), Err(Undecoded::TooLarge));
    }
}
