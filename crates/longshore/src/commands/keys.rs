//! `longshore keys`: new keys from the operating system's randomness.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use longshore_core::signature::SigningKey;
use rand::rngs::OsRng;
use rand::{Rng, TryRngCore};

use crate::failure::say;

/// Prints one key of each sort.
pub(super) fn run() {
    let mut rng = OsRng.unwrap_err();
    say(&format!("master key (security.master_key): {}", master_key(&mut rng)));
    say(&format!("API key (api_keys[].key):         {}", api_key(&mut rng)));
    say(&format!("endpoint secret (secrets[]):      {}", SigningKey::generate(&mut rng)));
}

fn master_key(rng: &mut impl Rng) -> String {
    STANDARD.encode(rng.random::<[u8; 32]>())
}

/// A new API key in the v1 contract's form: `CO.<16 characters>.<64 characters>`.
pub(crate) fn api_key(rng: &mut impl Rng) -> String {
    format!("CO.{}.{}", letters(16, rng), letters(64, rng))
}

fn letters(count: usize, rng: &mut impl Rng) -> String {
    (0..count).map(|_| char::from(rng.sample(rand::distr::Alphanumeric))).collect()
}

#[cfg(test)]
mod tests {
    use longshore_store::Keys;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    #[test]
    fn keys_have_their_forms() {
        let mut rng = StdRng::seed_from_u64(1);

        assert!(Keys::parse(&master_key(&mut rng)).is_ok());
        let key = api_key(&mut rng);
        let parts: Vec<_> = key.split('.').map(str::len).collect();
        assert_eq!((&key[..3], parts.as_slice()), ("CO.", &[2, 16, 64][..]));
        assert_ne!(master_key(&mut rng), master_key(&mut rng));
    }
}
