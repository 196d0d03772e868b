use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, KeyPair, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256, UnparsedPublicKey,
    VerificationAlgorithm,
};

use super::*;

/// Made by OpenSSL for this test, as the signature below.
const RSA: &str = r#"{"kty":"RSA","kid":"k-1","e":"AQAB",
"n":"1ldAQXckZQopuu3YZ_8luFjf-CfTkMVYDhHB3FphRIKyJAPAk4ySy_BLSHcDHbe4qSkz6P0eYSAn73msdG0QaOkoKO3bwm2OHbQ-NBhgLXnAJvDZTBrxQQxQ_izWRRHBFM1-9aUiwx6A8eiWLwyrJT2tvGIm22mw9jsCG-RlLqKMfqLqKjOcDjiKWMcO1c-d5ZFkoP4zS7FLK6_3EwEuX-bGG49BB4yt5Mro2gsmrVNnts1CaWq1__ZTBwFqmkFMYlX58bT97uPTWE3iWSWjiXMgEREhYWCaWphaPFT4IXPtJZwDYUiNJ0Zb-l-xiHIbBsSio5ceFoqxqMfs-73Saw",
"d":"IlWnXIqbdmIFOEVJvAhXqwBK9Fiw38kfp1_50soEOHIf23wMY7ZffN1judpypyvbH_c9MlklqNT6q2ECxUMD9MJF-snLa7RFUTB3zGbhNTetFlp7fIujp3yzwVuTq_cW8Qr6skUp3IwCMijEsgm7UAO21Rf7Syd9lPFJOl2WRbyyDUQBTjUxTRkQlzxSmgH1f33QIjVDw03_jZSDP900dQkTwM7fIWMc13AiFaJZTGz5MTnkdNKtzYV8dk6hdxm4Qc63UDJDh_0DpbZHZOkj1VHEeRl9gLEfZ8CyEFltJgMpRtybEl8PhOZ-deU0Goe8WaoGUwdJzhK42Tpfv-lqJQ",
"p":"8hEXq-1Iui7qhIcqi0LpiYgmtOllYp9_WU9NGLN4I02cYqIk8-0NNAOzN3ciNrZ7kDGvA3YxB-AFomfNCQBP7B4rDXI0O6IGDWIHgfPSivYouynSQeSA46YaZ1aa4VaYvMeP2zzH5w4yzbDIc4xEKwcMxkd2wRV6lQJEVByNncU",
"q":"4q2cUKn20p3G4BNKfoSdnFJhAJ5ggZ4_nsZFcq7XWTheBARhI04VP6A2ViFhXpKqhvd6iRBOMXVoSZ-xsbvPNjacMsQkMf-qaiup_-5xGaEEW1TPKnna7YF2pmEqQtRb3_Tik9xaAlHYR1yZYDhj9CJ3U1q1lq21phUoEVw9Ym8",
"dp":"N1z7agIKKTMDxi3X6CP0n9T47VWYL5dFHBsMCgM6DfD5PIHTK8riwyu5eI0R0SupVRBX89W7Xw64my1ccpuUq-82b4vYMG9dLQBnsSwf0lJ8fFoTUai-ZdKepVXkdHdG1Z5a44yiN9FCg1LUdcD18lVZcZv0qDKOZ7guAoLJTPU",
"dq":"llUdfkG6eCQ7aRBiL1Y0USAxRP_EcTJKbzp_hHeASqOfdnqREaEPZosSfjzVHquWfLxUf-JYeWSsLWfDqWQtIH9HSEPc3Wv50T_0FtBEIgMvqIKugjUehLV_wwhdxsSfyf_W5MkWyMMO9QTsk2vSnm7dRGK8W5oJBoSxdhH-g_E",
"qi":"eOKjdsIeF6m3JtUOSBOcSXKpILdLKOHTGt5VvnVIDx1JN9kvUIe0r_hPv1r76HzvSK56b2jqRZ7C_E47DaAoMUZb5hMOhQ6bFSJ4GOZ91x8pRsbMYqhWEX-2-ClK7NvMpAWhoP_BbMdjytzgeL1tNEGQKw6IKbDulMa1JzeDqtY"}"#;

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
        let key =
            AssertionKey::parse(jwk, algorithm).unwrap_or_else(|problem| panic!("{algorithm}: {problem}"));

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
fn the_signature_of_other_peoples_code_comes_out() {
    let Pair::Rsa(pair, encoding) = AssertionKey::parse(RSA, "RS256").unwrap().pair else { panic!() };
    let signed = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJ1cyJ9";
    let mut signature = vec![0; 256];

    pair.sign(encoding, &SystemRandom::new(), signed.as_bytes(), &mut signature).unwrap();

    assert_eq!(
        URL_SAFE_NO_PAD.encode(signature),
        "vuqNBNWZjC9JPHp71XcM7SRUsytfr8l-t4NuPuN1PUD-BjZ19QIosXRVpzL-KbqJWQsie0MhQDm57nXL_JMX9FNYTObUscT9gM8PC86BHV_v4r1qYYWhxxfUkcW2OeyCesD5icS5J8ChcT3RinFhl3CpQc8x0Px2qu_pECCCuskIWgNHPkB9rADK_qdCiw9gf3qE_2jJToinCHjDP-sfVH8Dmy28dAEaPbRPN4Wu6ovVSmCbkJaDBbexeQb6YJgIVOC5j-DksjcHmg0YlQSE4lg2Dde5AWjnPaB24iQhhb8EM30HmqTTTOaGqhwmwgao8N-oiGOtPHK1EZjy4jwx8g"
    );
}

#[test]
fn wrong_keys_are_refused_and_not_quoted() {
    let public_only = EC.replace("\"d\"", "\"dd\"");
    let mixed = ED.replace(
        "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
        "AAAAAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
    );
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
