//! What is believed, and what is read.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha512;

use super::*;
use crate::ids::SourceId;
use crate::secret::Secret;
use crate::signature::{Encoding, Hash};

const SOURCE: SourceId = SourceId::from_u128(7);

fn hmac(provider: Option<Provider>, hash: Hash, encoding: Encoding, secret: &str) -> HttpSource {
    let secret = Secret::new(secret.to_owned());
    let verifier = Verifier::Hmac { header: "x-signature".to_owned(), hash, encoding, secret };
    HttpSource { verifier, provider, ..HttpSource::default() }
}

fn verify(source: &HttpSource, header: &str, value: &str, body: &[u8]) -> Result<(), Unverified> {
    let headers = [(header.to_owned(), value.to_owned())];
    source.verify(&Received { headers: &headers, query: "", body })
}

#[test]
fn github_signs_as_its_documentation_says() {
    // docs.github.com, "Validating webhook deliveries", testing the validation.
    let source = hmac(Some(Provider::Github), Hash::Sha256, Encoding::Hex, "It's a Secret to Everybody");
    let right = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";

    assert_eq!(verify(&source, "x-hub-signature-256", right, b"Hello, World!"), Ok(()));
    assert!(verify(&source, "x-hub-signature-256", right, b"Hello, World?").is_err());
    assert!(verify(&source, "x-hub-signature-256", &right[7..], b"Hello, World!").is_err());
    assert!(matches!(verify(&source, "x-signature", right, b"Hello, World!"), Err(Unverified::Missing(_))));
}

#[test]
fn a_signature_is_compared_by_its_bytes() {
    let source = hmac(None, Hash::Sha512, Encoding::Hex, "k");
    let mut mac = Hmac::<Sha512>::new_from_slice(b"k").unwrap();
    mac.update(b"{}");
    let right = hex::encode(mac.finalize().into_bytes());

    assert_eq!(verify(&source, "x-signature", &right, b"{}"), Ok(()));
    assert_eq!(verify(&source, "x-signature", &right.to_uppercase(), b"{}"), Ok(()));
    for wrong in ["", "00", "zz", &right[2..]] {
        assert!(verify(&source, "x-signature", wrong, b"{}").is_err(), "{wrong}");
    }
}

#[test]
fn passwords_and_keys_are_compared_whole() {
    let basic = HttpSource {
        verifier: Verifier::BasicAuth { username: "u".to_owned(), password: Secret::new("p:w".to_owned()) },
        ..HttpSource::default()
    };
    assert_eq!(verify(&basic, "authorization", "Basic dTpwOnc=", b""), Ok(()));
    assert_eq!(verify(&basic, "authorization", "basic dTpwOnc=", b""), Ok(()));
    for wrong in ["Basic dTpw", "Bearer dTpwOnc=", "dTpwOnc=", "Basic !"] {
        assert!(verify(&basic, "authorization", wrong, b"").is_err(), "{wrong}");
    }
    let key = HttpSource {
        verifier: Verifier::ApiKey {
            header_name: "x-key".to_owned(),
            header_value: Secret::new("s".to_owned()),
        },
        ..HttpSource::default()
    };
    assert_eq!(verify(&key, "x-key", "s", b""), Ok(()));
    assert!(verify(&key, "x-key", "S", b"").is_err());
}

#[test]
fn only_twitter_has_challenges() {
    let source = hmac(Some(Provider::Twitter), Hash::Sha256, Encoding::Base64, "k");
    assert!(source.answer_challenge("t").unwrap().starts_with("sha256="));
    assert_eq!(hmac(None, Hash::Sha256, Encoding::Hex, "k").answer_challenge("t"), None);
}

fn read(source: &HttpSource, headers: &[(&str, &str)], query: &str, body: &str) -> Inbound {
    let headers: Vec<_> = headers.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    source.read(SOURCE, "mask", &Received { headers: &headers, query, body: body.as_bytes() }).unwrap()
}

#[test]
fn the_type_is_where_the_source_says_or_its_mask() {
    let at =
        |path: &str| HttpSource { event_type_location: Some(path.parse().unwrap()), ..HttpSource::default() };
    let headers = [("x-event", "push")];
    let body = r#"{"meta":{"type":"paid","n":1.50,"list":[]}}"#;

    for (path, expected) in [
        ("request.body.meta.type", "paid"),
        ("req.Body.meta.n", "1.50"),
        ("request.header.X-Event", "push"),
        ("request.QueryParam.kind", "a b"),
        ("request.body.meta.list", "mask"),
        ("request.body.nothing", "mask"),
    ] {
        assert_eq!(read(&at(path), &headers, "x=1&kind=a+b", body).event_type, expected, "{path}");
    }
    for wrong in ["body.a", "request.body", "request.body.", "request.cookie.a", ""] {
        assert!(wrong.parse::<RequestPath>().is_err(), "{wrong}");
    }
}

#[test]
fn a_key_is_made_of_the_parts_that_are_there() {
    let source = HttpSource {
        idempotency_keys: ["request.header.x-id", "request.body.id"]
            .map(|path| path.parse().unwrap())
            .to_vec(),
        ..HttpSource::default()
    };
    let key = |headers: &[(&str, &str)], body: &str| read(&source, headers, "", body).idempotency_key;

    assert_eq!(key(&[], "{}"), None);
    let one = key(&[("x-id", "1")], r#"{"id":2}"#);
    assert_eq!(one, key(&[("x-id", "1")], r#"{"id":2,"more":true}"#));
    assert_ne!(one, key(&[("x-id", "1")], r#"{"id":3}"#));
    assert_ne!(key(&[("x-id", "1")], "{}"), key(&[], r#"{"id":1}"#));
}

#[test]
fn what_is_secret_or_of_the_connection_is_not_kept() {
    let verifier =
        Verifier::ApiKey { header_name: "x-key".to_owned(), header_value: Secret::new("s".to_owned()) };
    let source = HttpSource { verifier, ..HttpSource::default() };
    let headers = [
        ("host", "h"),
        ("x-key", "s"),
        ("content-type", "text/plain"),
        ("x-a", "1"),
        ("x-convoy-source-id", "no"),
    ];
    let some = HttpSource { forward_headers: vec!["x-b".to_owned()], ..HttpSource::default() };

    let inbound = read(&source, &headers, "", "plain text");
    let of_source = ("x-convoy-source-id".to_owned(), SOURCE.to_string());
    assert_eq!(inbound.headers, [("x-a".to_owned(), "1".to_owned()), of_source.clone()]);
    assert_eq!((inbound.body, inbound.content_type.as_deref()), (None, Some("text/plain")));
    assert_eq!(read(&some, &headers, "", "1").headers, [of_source]);
}

#[test]
fn forms_become_objects_and_nothing_becomes_null() {
    let source = HttpSource::default();
    let form = [("content-type", "application/x-www-form-urlencoded; charset=utf-8")];

    let body = read(&source, &form, "", "a=1&b=x+y&a=2").body.unwrap();
    assert_eq!(
        serde_json::from_slice::<serde_json::Value>(&body).unwrap(),
        serde_json::json!({"a": "1", "b": "x y"})
    );
    assert_eq!(read(&source, &[], "", "").body.unwrap(), b"null");
    let wrong = source.read(SOURCE, "mask", &Received { headers: &[], query: "", body: b"{" });
    assert!(matches!(wrong, Err(Unreadable::NotJson { line: 1, .. })));
}
