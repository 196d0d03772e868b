//! Signs OAuth 2.0 client assertions (RFC 7523): a short-lived JWT with a private key in JWK form (RFC 7517, RFC 7518
//! section 6).
//!
//! What it does not do: verify tokens, or take keys without their public part. Invariant: a key that
//! [`AssertionKey::parse`] accepts signs with its algorithm. Its errors hold nothing of the key.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPairComponents, PublicKeyComponents};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm,
    Ed25519KeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RsaEncoding,
    RsaKeyPair,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Value, json};

/// The algorithms, for people.
const ALGORITHMS: &str = "RS256, RS384, RS512, PS256, ES256, ES384 or EdDSA";

/// A key that signs, with its algorithm.
pub struct AssertionKey {
    algorithm: String,
    id: Option<String>,
    pair: Pair,
}

enum Pair {
    Rsa(Box<RsaKeyPair>, &'static dyn RsaEncoding),
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
}

/// The members of a JWK that a signer needs.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    crv: String,
    x: String,
    y: String,
    d: String,
    n: String,
    e: String,
    p: String,
    q: String,
    dp: String,
    dq: String,
    qi: String,
}

impl AssertionKey {
    /// Reads a key for an algorithm.
    ///
    /// # Errors
    /// What is wrong with either.
    pub fn parse(jwk: &str, algorithm: &str) -> Result<Self, String> {
        // serde's own message may quote the text.
        let jwk: Jwk =
            serde_json::from_str(jwk).map_err(|_| "not a JWK: expected a JSON object with `kty`")?;
        let pair = match algorithm {
            "RS256" => rsa(&jwk, &RSA_PKCS1_SHA256)?,
            "RS384" => rsa(&jwk, &RSA_PKCS1_SHA384)?,
            "RS512" => rsa(&jwk, &RSA_PKCS1_SHA512)?,
            "PS256" => rsa(&jwk, &RSA_PSS_SHA256)?,
            "ES256" => ec(&jwk, "P-256", &ECDSA_P256_SHA256_FIXED_SIGNING, 32)?,
            "ES384" => ec(&jwk, "P-384", &ECDSA_P384_SHA384_FIXED_SIGNING, 48)?,
            "EdDSA" => ed(&jwk)?,
            other => return Err(format!("`{}` is not {ALGORITHMS}", other.escape_debug())),
        };
        Ok(Self { algorithm: algorithm.to_owned(), id: jwk.kid, pair })
    }

    /// A JWT with those claims.
    ///
    /// # Errors
    /// When the crypto library fails, which it has no reason to.
    pub(super) fn sign(&self, claims: &Value) -> Result<String, String> {
        let mut header = json!({"alg": self.algorithm, "typ": "JWT"});
        if let Some(id) = &self.id {
            header["kid"] = id.as_str().into();
        }
        let encode = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let signed = format!("{}.{}", encode(&header), encode(claims));
        let random = SystemRandom::new();
        let failed = |_| "the client assertion could not be signed".to_owned();
        let signature = match &self.pair {
            Pair::Rsa(pair, encoding) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(*encoding, &random, signed.as_bytes(), &mut signature).map_err(failed)?;
                signature
            }
            Pair::Ec(pair) => pair.sign(&random, signed.as_bytes()).map_err(failed)?.as_ref().to_vec(),
            Pair::Ed(pair) => pair.sign(signed.as_bytes()).as_ref().to_vec(),
        };
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

fn is_type(jwk: &Jwk, kind: &str, curve: &str) -> Result<(), String> {
    if jwk.kty != kind || (!curve.is_empty() && jwk.crv != curve) {
        let of_curve = if curve.is_empty() { String::new() } else { format!(" and `crv` `{curve}`") };
        return Err(format!("the algorithm wants a key with `kty` `{kind}`{of_curve}"));
    }
    Ok(())
}

fn member(name: &str, text: &str) -> Result<Vec<u8>, String> {
    if text.is_empty() {
        return Err(format!("the key's `{name}` is missing; give the whole private key"));
    }
    URL_SAFE_NO_PAD
        .decode(text.trim_end_matches('='))
        .map_err(|_| format!("the key's `{name}` is not base64url"))
}

/// As [`member`], filled up with zeros at the front: some writers leave them out.
fn sized(name: &str, text: &str, length: usize) -> Result<Vec<u8>, String> {
    let bytes = member(name, text)?;
    let missing = length.checked_sub(bytes.len()).ok_or_else(|| format!("the key's `{name}` is too long"))?;
    Ok([vec![0; missing], bytes].concat())
}

fn rsa(jwk: &Jwk, encoding: &'static dyn RsaEncoding) -> Result<Pair, String> {
    is_type(jwk, "RSA", "")?;
    let public = |name, text| {
        let bytes = member(name, text)?;
        let start = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len());
        Ok::<_, String>(bytes[start..].to_vec())
    };
    let components = KeyPairComponents {
        public_key: PublicKeyComponents { n: public("n", &jwk.n)?, e: public("e", &jwk.e)? },
        d: member("d", &jwk.d)?,
        p: member("p", &jwk.p)?,
        q: member("q", &jwk.q)?,
        dP: member("dp", &jwk.dp)?,
        dQ: member("dq", &jwk.dq)?,
        qInv: member("qi", &jwk.qi)?,
    };
    let pair = RsaKeyPair::from_components(&components)
        .map_err(|error| format!("the key is refused (RSA of 2048 to 8192 bits is taken): {error}"))?;
    Ok(Pair::Rsa(Box::new(pair), encoding))
}

fn ec(
    jwk: &Jwk,
    curve: &str,
    algorithm: &'static EcdsaSigningAlgorithm,
    length: usize,
) -> Result<Pair, String> {
    is_type(jwk, "EC", curve)?;
    let public = [vec![4], sized("x", &jwk.x, length)?, sized("y", &jwk.y, length)?].concat();
    let private = sized("d", &jwk.d, length)?;
    let pair = EcdsaKeyPair::from_private_key_and_public_key(algorithm, &private, &public)
        .map_err(|error| format!("the key is refused: {error}"))?;
    Ok(Pair::Ec(pair))
}

fn ed(jwk: &Jwk) -> Result<Pair, String> {
    is_type(jwk, "OKP", "Ed25519")?;
    let pair = Ed25519KeyPair::from_seed_and_public_key(&member("d", &jwk.d)?, &member("x", &jwk.x)?)
        .map_err(|error| format!("the key is refused: {error}"))?;
    Ok(Pair::Ed(pair))
}

#[cfg(test)]
mod tests;
