//! Signatures, checked against vectors from elsewhere and by other people's verifier.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use http::HeaderMap;
use longshore_core::signature::{Encoding, Hash, SigningKey, advanced, simple, standard};
use longshore_core::{Clock, SystemClock, Timestamp};
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde::Deserialize;
use sha2::{Sha256, Sha512};

const BODY: &[u8] = br#"{"event":"charge.success","amount":1000,"currency":"NGN"}"#;
const AT: Timestamp = Timestamp::from_secs(1_700_000_000);

fn key(secret: &str) -> SigningKey {
    SigningKey::parse(secret).unwrap()
}

#[derive(Deserialize)]
struct ContractVector {
    name: String,
    advanced: bool,
    hash: Hash,
    encoding: Encoding,
    secret: String,
    payload: String,
    header: String,
    tolerance: i64,
    valid: bool,
}

impl ContractVector {
    fn mac(&self, text: &[u8]) -> String {
        let tag = match self.hash {
            Hash::Sha256 => Hmac::<Sha256>::new_from_slice(self.secret.as_bytes())
                .unwrap()
                .chain_update(text)
                .finalize()
                .into_bytes()
                .to_vec(),
            Hash::Sha512 => Hmac::<Sha512>::new_from_slice(self.secret.as_bytes())
                .unwrap()
                .chain_update(text)
                .finalize()
                .into_bytes()
                .to_vec(),
        };
        match self.encoding {
            Encoding::Hex => hex::encode(tag),
            Encoding::Base64 => STANDARD.encode(tag),
        }
    }

    /// A receiver's check, written from the contract and apart from the code under test.
    fn accepts(&self, header: &str, now: i64) -> bool {
        if !self.advanced {
            return header == self.mac(self.payload.as_bytes());
        }
        let fields: Vec<_> = header.split(',').filter_map(|field| field.split_once('=')).collect();
        let Some(time) =
            fields.iter().find(|(name, _)| *name == "t").and_then(|(_, t)| t.parse::<i64>().ok())
        else {
            return false;
        };
        let expected = self.mac(format!("{time},{}", self.payload).as_bytes());
        now - time <= self.tolerance
            && fields.iter().any(|(name, value)| name.starts_with('v') && *value == expected)
    }
}

#[test]
fn the_contracts_vectors_hold() {
    let vectors: Vec<ContractVector> =
        serde_json::from_str(include_str!("data/convoy-signature-vectors.json")).unwrap();
    // Any time long after the vectors' timestamp: only the one with a tolerance of 300 s has expired.
    let now = 1_800_000_000;

    assert_eq!(vectors.len(), 17);
    for vector in vectors {
        assert_eq!(vector.accepts(&vector.header, now), vector.valid, "{}", vector.name);

        let keys = [key(&vector.secret)];
        let ours = if vector.advanced {
            advanced(keys.iter(), vector.hash, vector.encoding, AT, vector.payload.as_bytes()).unwrap()
        } else {
            simple(keys.iter(), vector.hash, vector.encoding, vector.payload.as_bytes()).unwrap()
        };
        assert!(vector.accepts(&ours, 1_700_000_000), "{}", vector.name);
        if vector.name.ends_with("_valid") && !vector.name.contains("multi") {
            assert_eq!(ours, vector.header, "{}", vector.name);
        }
    }
}

#[derive(Deserialize)]
struct Ed25519Vector {
    name: String,
    secret: String,
    public_key: String,
    id: String,
    timestamp: i64,
    body_base64: String,
    signature: String,
}

#[test]
fn the_ed25519_vectors_hold() {
    let vectors: Vec<Ed25519Vector> =
        serde_json::from_str(include_str!("data/ed25519-vectors.json")).unwrap();

    assert!(!vectors.is_empty());
    for vector in vectors {
        let keys = [key(&vector.secret)];
        let body = STANDARD.decode(&vector.body_base64).unwrap();

        assert_eq!(keys[0].public_key().as_ref(), Some(&vector.public_key), "{}", vector.name);
        assert_eq!(
            standard(keys.iter(), &vector.id, Timestamp::from_secs(vector.timestamp), &body),
            Some(vector.signature),
            "{}",
            vector.name
        );
    }
}

#[derive(Deserialize)]
struct StandardVector {
    name: String,
    secret: String,
    id: String,
    timestamp: i64,
    payload: String,
    signature: String,
}

#[test]
fn the_standard_webhooks_vectors_hold() {
    let vectors: Vec<StandardVector> =
        serde_json::from_str(include_str!("data/standard-vectors.json")).unwrap();

    assert!(!vectors.is_empty());
    for StandardVector { name, secret, id, timestamp, payload, signature } in vectors {
        let at = Timestamp::from_secs(timestamp);
        assert_eq!(standard([key(&secret)].iter(), &id, at, payload.as_bytes()), Some(signature), "{name}");
    }
}

fn headers(id: &str, at: Timestamp, signature: &str) -> HeaderMap {
    [("webhook-id", id), ("webhook-timestamp", &at.as_secs().to_string()), ("webhook-signature", signature)]
        .into_iter()
        .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
        .collect()
}

#[test]
fn the_reference_verifier_accepts_us_during_a_rotation() {
    let mut rng = StdRng::seed_from_u64(1);
    let (old, new) = (SigningKey::generate(&mut rng), SigningKey::generate(&mut rng));
    let (plain, asymmetric) = ("a plain secret of any form", SigningKey::generate_asymmetric(&mut rng));
    let keys = [key(&old), key(plain), key(&asymmetric), key(&new)];
    let now = SystemClock.now();

    for body in [BODY, b"", b"{\"a\":1}\n", "\"Zoë\"".as_bytes()] {
        let header = standard(keys.iter(), "evt_1", now, body).unwrap();
        let headers = headers("evt_1", now, &header);

        assert_eq!(header.split(' ').count(), 4);
        for secret in [&old, &new] {
            standardwebhooks::Webhook::new(secret).unwrap().verify(body, &headers).unwrap();
        }
        standardwebhooks::Webhook::from_bytes(plain.into()).unwrap().verify(body, &headers).unwrap();
        let stranger = standardwebhooks::Webhook::new(&SigningKey::generate(&mut rng)).unwrap();
        assert!(stranger.verify(body, &headers).is_err());
        assert!(standardwebhooks::Webhook::new(&new).unwrap().verify(b"{}", &headers).is_err());
    }
}

#[test]
fn a_retry_has_the_same_id_and_a_new_signature() {
    for secret in ["plain", "whsk_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="] {
        let keys = [key(secret)];
        let first = standard(keys.iter(), "evt_1", AT, BODY).unwrap();

        assert_ne!(
            Some(&first),
            standard(keys.iter(), "evt_1", Timestamp::from_secs(1_700_000_001), BODY).as_ref()
        );
        assert_eq!(
            Some(first),
            standard(keys.iter(), "evt_1", AT.after(std::time::Duration::from_millis(9)), BODY)
        );
    }
}

#[test]
fn an_id_with_a_dot_is_not_signed() {
    let keys = [key("plain")];

    assert_eq!(standard(keys.iter(), "evt.1", AT, BODY), None);
    assert_eq!(standard(keys.iter(), "", AT, BODY), None);
}

#[test]
fn without_a_key_there_is_no_header() {
    let asymmetric = [key("whsk_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")];

    assert_eq!(standard([].into_iter(), "evt_1", AT, BODY), None);
    assert_eq!(simple(asymmetric.iter(), Hash::Sha256, Encoding::Hex, BODY), None);
    assert_eq!(advanced(asymmetric.iter(), Hash::Sha256, Encoding::Hex, AT, BODY), None);
}

#[test]
fn the_contract_signs_with_the_newest_key_or_with_all() {
    let keys = [key("old"), key("new"), key("whsk_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")];
    let sign = |key| simple([key].into_iter(), Hash::Sha512, Encoding::Base64, BODY);
    let one = |key| advanced([key].into_iter(), Hash::Sha256, Encoding::Hex, AT, BODY).unwrap();

    assert_eq!(simple(keys.iter(), Hash::Sha512, Encoding::Base64, BODY), sign(&keys[1]));
    assert_eq!(
        advanced(keys.iter(), Hash::Sha256, Encoding::Hex, AT, BODY).unwrap(),
        format!("{},{}", one(&keys[0]), one(&keys[1]).split_once(',').unwrap().1)
    );
}

#[test]
fn the_contract_keys_with_the_full_text_of_a_whsec_secret() {
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap().chain_update(BODY).finalize();

    assert_eq!(
        simple([key(secret)].iter(), Hash::Sha256, Encoding::Hex, BODY),
        Some(hex::encode(mac.into_bytes()))
    );
}

#[test]
fn secrets_that_cannot_sign_are_refused_with_advice() {
    let encoded = |prefix: &str, len: usize| format!("{prefix}{}", STANDARD.encode(vec![7; len]));
    let cases = [
        (String::new(), "empty"),
        ("whsec_!".to_owned(), "base64"),
        (encoded("whsec_", 23), "24 to 64 bytes"),
        (encoded("whsec_", 65), "24 to 64 bytes"),
        ("whsk_!".to_owned(), "base64"),
        (encoded("whsk_", 31), "32-byte seed"),
        (encoded("whsk_", 33), "32-byte seed"),
        (encoded("whsk_", 64), "do not belong together"),
        (encoded("whpk_", 32), "public"),
    ];
    for (secret, advice) in cases {
        let error = SigningKey::parse(&secret).unwrap_err().to_string();
        assert!(error.contains(advice), "{secret}: {error}");
    }
    for secret in [encoded("whsec_", 24), encoded("whsec_", 64), encoded("whsk_", 32), "x".to_owned()] {
        key(&secret);
        key(secret.trim_end_matches('='));
    }
}

#[test]
fn a_key_pair_signs_like_its_seed() {
    let seed: Vec<u8> = (0..32).collect();
    let from_seed = key(&format!("whsk_{}", STANDARD.encode(&seed)));
    let public = STANDARD.decode(from_seed.public_key().unwrap().strip_prefix("whpk_").unwrap()).unwrap();
    let from_pair = key(&format!("whsk_{}", STANDARD.encode([seed, public].concat())));

    assert_eq!(
        standard([from_pair].iter(), "evt_1", AT, BODY),
        standard([from_seed].iter(), "evt_1", AT, BODY)
    );
}

#[test]
fn a_key_does_not_print() {
    let secret = "hunter2-hunter2";

    assert_eq!(format!("{:?}", key(secret)), "SigningKey(symmetric, [redacted])");
    assert_eq!(key(secret).public_key(), None);
}
