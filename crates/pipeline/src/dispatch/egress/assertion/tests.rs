use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, KeyPair, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256, UnparsedPublicKey,
    VerificationAlgorithm,
};

use super::*;

/// RFC 7515 appendix A.2: the example's key.
const RSA: &str = r#"{"kty":"RSA","kid":"k-1",
"n":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ",
"e":"AQAB",
"d":"Eq5xpGnNCivDflJsRQBXHx1hdR1k6Ulwe2JZD50LpXyWPEAeP88vLNO97IjlA7_GQ5sLKMgvfTeXZx9SE-7YwVol2NXOoAJe46sui395IW_GO-pWJ1O0BkTGoVEn2bKVRUCgu-GjBVaYLU6f3l9kJfFNS3E0QbVdxzubSu3Mkqzjkn439X0M_V51gfpRLI9JYanrC4D4qAdGcopV_0ZHHzQlBjudU2QvXt4ehNYTCBr6XCLQUShb1juUO1ZdiYoFaFQT5Tw8bGUl_x_jTj3ccPDVZFD9pIuhLhBOneufuBiB4cS98l2SR_RQyGWSeWjnczT0QU91p1DhOVRuOopznQ",
"p":"4BzEEOtIpmVdVEZNCqS7baC4crd0pqnRH_5IB3jw3bcxGn6QLvnEtfdUdiYrqBdss1l58BQ3KhooKeQTa9AB0Hw_Py5PJdTJNPY8cQn7ouZ2KKDcmnPGBY5t7yLc1QlQ5xHdwW1VhvKn-nXqhJTBgIPgtldC-KDV5z-y2XDwGUc",
"q":"uQPEfgmVtjL0Uyyx88GZFF1fOunH3-7cepKmtH4pxhtCoHqpWmT8YAmZxaewHgHAjLYsp1ZSe7zFYHj7C6ul7TjeLQeZD_YwD66t62wDmpe_HlB-TnBA-njbglfIsRLtXlnDzQkv5dTltRJ11BKBBypeeF6689rjcJIDEz9RWdc",
"dp":"BwKfV3Akq5_MFZDFZCnW-wzl-CCo83WoZvnLQwCTeDv8uzluRSnm71I3QCLdhrqE2e9YkxvuxdBfpT_PI7Yz-FOKnu1R6HsJeDCjn12Sk3vmAktV2zb34MCdy7cpdTh_YVr7tss2u6vneTwrA86rZtu5Mbr1C1XsmvkxHQAdYo0",
"dq":"h_96-mK1R_7glhsum81dZxjTnYynPbZpHziZjeeHcXYsXaaMwkOlODsWa7I9xXDoRwbKgB719rrmI2oKr6N3Do9U0ajaHF-NKJnwgjMd2w9cjz3_-kyNlxAr2v4IKhGNpmM5iIgOS1VZnOZ68m6_pbLBSp3nssTdlqvd0tIiTHU",
"qi":"IYd7DHOhrWvxkwPQsRM2tOgrjbcrfvtQJipd-DlcxyVuuMOQFnn_9qvUoK1ESpUcMTl2l6Mym2Wz9sYGpwqRX-dFpIzkBJvfP4OH4tGkrJrqPNwmKgk4LHyXlFXpOaL_7Xa1t0p4GqVMdpsYxJ1Uw7mGDR2YyjC9VKMVWrfmfQ4"}"#;

/// RFC 7515 appendix A.3.
const EC: &str = r#"{"kty":"EC","crv":"P-256",
"x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
"d":"jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI"}"#;

/// RFC 8037 appendix A.1.
const ED: &str = r#"{"kty":"OKP","crv":"Ed25519",
"d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;

/// A key made on the spot, as a JWK.
fn ec384() -> String {
    let pair = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap();
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let public = pair.public_key().as_ref();
    use aws_lc_rs::encoding::AsBigEndian;
    let private: aws_lc_rs::encoding::EcPrivateKeyBin<'_> = pair.private_key().as_be_bytes().unwrap();
    json!({
        "kty": "EC", "crv": "P-384",
        "x": encode(&public[1..49]), "y": encode(&public[49..]), "d": encode(private.as_ref()),
    })
    .to_string()
}

fn public(key: &AssertionKey) -> Vec<u8> {
    match &key.pair {
        Pair::Rsa(pair, _) => pair.public_key().as_ref().to_vec(),
        Pair::Ec(pair) => pair.public_key().as_ref().to_vec(),
        Pair::Ed(pair) => pair.public_key().as_ref().to_vec(),
    }
}

#[test]
fn every_algorithm_signs_what_verifies() {
    let ec384 = ec384();
    let cases: [(&str, &str, &'static dyn VerificationAlgorithm); 7] = [
        ("RS256", RSA, &RSA_PKCS1_2048_8192_SHA256),
        ("RS384", RSA, &RSA_PKCS1_2048_8192_SHA384),
        ("RS512", RSA, &RSA_PKCS1_2048_8192_SHA512),
        ("PS256", RSA, &RSA_PSS_2048_8192_SHA256),
        ("ES256", EC, &ECDSA_P256_SHA256_FIXED),
        ("ES384", &ec384, &ECDSA_P384_SHA384_FIXED),
        ("EdDSA", ED, &ED25519),
    ];
    for (algorithm, jwk, verifier) in cases {
        let key = AssertionKey::parse(jwk, algorithm).unwrap_or_else(|problem| panic!("{algorithm}: {problem}"));

        let token = key.sign(&json!({"iss": "us"})).unwrap();

        let (signed, signature) = token.rsplit_once('.').unwrap();
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        let verifier = UnparsedPublicKey::new(verifier, public(&key));
        assert!(verifier.verify(signed.as_bytes(), &signature).is_ok(), "{algorithm}");
        assert!(verifier.verify(b"another", &signature).is_err(), "{algorithm}");
        let (header, claims) = signed.split_once('.').unwrap();
        let decode = |part| serde_json::from_slice::<Value>(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap();
        assert_eq!(decode(claims), json!({"iss": "us"}));
        assert_eq!(decode(header)["alg"], algorithm);
        assert_eq!(decode(header).get("kid").is_some(), jwk == RSA);
    }
}

#[test]
fn the_signature_of_rfc_7515_comes_out() {
    let Pair::Rsa(pair, encoding) = AssertionKey::parse(RSA, "RS256").unwrap().pair else { panic!() };
    let signed = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    let mut signature = vec![0; 256];

    pair.sign(encoding, &SystemRandom::new(), signed.as_bytes(), &mut signature).unwrap();

    assert!(URL_SAFE_NO_PAD.encode(signature).starts_with("cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7"));
}

#[test]
fn wrong_keys_are_refused_and_not_quoted() {
    let public_only = EC.replace("\"d\"", "\"dd\"");
    let mixed = ED.replace("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo", "AAAAAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo");
    for (jwk, algorithm, word) in [
        (EC, "RS256", "kty"),
        (EC, "ES384", "crv"),
        (RSA, "HS256", "RS256"),
        (RSA, "none", "RS256"),
        (&public_only, "ES256", "`d` is missing"),
        (&mixed, "EdDSA", "refused"),
        ("nWGxne", "EdDSA", "JWK"),
        (r#"{"kty":"OKP","crv":"Ed25519","d":"%nWGxne","x":"a"}"#, "EdDSA", "base64url"),
    ] {
        let problem = AssertionKey::parse(jwk, algorithm).err().unwrap();
        assert!(problem.contains(word) && !problem.contains("nWGxne"), "{problem}");
    }
}
