use longshore_core::endpoint::TokenFields;

use super::*;

fn settings(unit: ExpiryUnit, fields: TokenFields) -> OAuth2 {
    OAuth2 {
        url: "https://id.example/token".parse().unwrap(),
        client_id: "us".to_owned(),
        client: OAuth2Client::SharedSecret { secret: Secret::new("s".to_owned()), in_header: false },
        scope: None,
        audience: None,
        fields,
        expiry_unit: unit,
    }
}

#[test]
fn lifetimes_are_read_in_their_unit_and_bounded() {
    for (unit, life, kept) in [
        (ExpiryUnit::Seconds, "600", 570.0),
        (ExpiryUnit::Seconds, "60", 54.0),
        (ExpiryUnit::Seconds, "\"60\"", 54.0),
        (ExpiryUnit::Seconds, "0", 0.0),
        (ExpiryUnit::Seconds, "-5", 0.0),
        (ExpiryUnit::Seconds, "86400", 3_570.0),
        (ExpiryUnit::Seconds, "1e300", 3_570.0),
        (ExpiryUnit::Seconds, "null", 3_570.0),
        (ExpiryUnit::Milliseconds, "60000", 54.0),
        (ExpiryUnit::Minutes, "10", 570.0),
        (ExpiryUnit::Hours, "1", 3_570.0),
    ] {
        let body = format!(r#"{{"access_token":"t","expires_in":{life}}}"#);
        let (_, read) = read(&settings(unit, TokenFields::default()), 200, body.as_bytes()).unwrap();
        assert!((read.as_secs_f64() - kept).abs() < 0.001, "{unit:?} {life}: {read:?}");
    }
}

#[test]
fn answers_are_read_by_their_names() {
    let fields = TokenFields {
        access_token: "jwt".to_owned(),
        token_type: "kind".to_owned(),
        expires_in: "life".to_owned(),
    };
    let settings = settings(ExpiryUnit::Seconds, fields);
    let read = |body: &str| read(&settings, 200, body.as_bytes());

    assert_eq!(read(r#"{"jwt":"t","kind":"bearer"}"#).unwrap().0, "Bearer t");
    assert_eq!(read(r#"{"jwt":"t","kind":"DPoP"}"#).unwrap().0, "DPoP t");
    assert_eq!(read(r#"{"jwt":"t"}"#).unwrap().0, "Bearer t");
    assert!(read(r#"{"jwt":"t"}"#).unwrap().0.is_sensitive());
    for wrong in ["", "[]", r#"{"access_token":"t"}"#, r#"{"jwt":""}"#, r#"{"jwt":"a\nb"}"#] {
        assert!(read(wrong).is_err(), "{wrong}");
    }
}
