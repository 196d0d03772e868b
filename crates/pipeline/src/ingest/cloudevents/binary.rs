//! Binary mode: attributes in headers, data in the body.

use std::borrow::Cow;

use longshore_source::Message;

use super::CONTENT_TYPE;
use super::attributes::{Attributes, carried, fault};
use crate::ingest::fields::Undecodable;
use crate::ingest::mapped::header;

/// The attributes of an event, `datacontenttype` from the content type of its message.
pub(super) fn read(message: &Message) -> Result<Attributes<'_>, Undecodable> {
    // Only HTTP sources know the path of a request; only HTTP encodes values.
    let is_encoded = message.route.is_some();
    let mut attributes = Attributes::default();
    let content_type = header(message, CONTENT_TYPE);
    if let Some(content_type) = content_type {
        attributes.text("datacontenttype", content_type.trim().into())?;
    }
    for (header, value) in &message.headers {
        let Some(name) = carried(header) else { continue };
        let is_said = content_type.is_some() && name.eq_ignore_ascii_case("datacontenttype");
        // No attributes by the specification, and they would be taken for data when the event is written again.
        let is_data = name.eq_ignore_ascii_case("data") || name.eq_ignore_ascii_case("data_base64");
        if is_said || is_data || value.is_empty() {
            continue;
        }
        let value = if is_encoded { decoded(name, value)? } else { Cow::from(value) };
        attributes.text(name, value)?;
    }
    Ok(attributes)
}

/// The value of an HTTP header: unquoted as earlier versions wrote it, and percent-decoded once.
fn decoded<'m>(name: &str, value: &'m str) -> Result<Cow<'m, str>, Undecodable> {
    let quoted = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let value = quoted.map_or(Cow::from(value), unescaped);
    if !value.contains('%') {
        return Ok(value);
    }
    let bytes = value.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        match bytes.get(at + 1..at + 3).filter(|_| byte == b'%').and_then(byte_of) {
            Some(decoded) => {
                plain.push(decoded);
                at += 3;
            }
            None => {
                plain.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8(plain).map(Cow::from).map_err(|_| fault(name, "is not UTF-8 after percent-decoding"))
}

fn unescaped(text: &str) -> Cow<'_, str> {
    if !text.contains('\\') {
        return text.into();
    }
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        plain.extend(if char == '\\' { chars.next() } else { Some(char) });
    }
    plain.into()
}

fn byte_of(digits: &[u8]) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    u8::try_from(digit(digits[0])? << 4 | digit(digits[1])?).ok()
}
