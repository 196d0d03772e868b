use rand::SeedableRng;
use rand::rngs::StdRng;

use super::*;

fn text(byte: u8) -> String {
    STANDARD.encode([byte; 32])
}

fn keys(byte: u8) -> Keys {
    Keys::parse(&text(byte)).unwrap()
}

fn rng() -> StdRng {
    StdRng::seed_from_u64(1)
}

#[test]
fn what_is_sealed_opens_with_the_same_key_and_purpose_only() {
    let sealed = keys(1).seal(b"whsec_x", b"row 1", &mut rng()).unwrap();

    assert_eq!(keys(1).open(&sealed, b"row 1").unwrap(), b"whsec_x");
    assert_eq!(keys(1).open(&sealed, b"row 2"), Err(SealError::CannotOpen));
    assert_eq!(keys(2).open(&sealed, b"row 1"), Err(SealError::UnknownKey(keys(1).current())));
    for length in 0..sealed.len() {
        assert_eq!(keys(1).open(&sealed[..length], b"row 1"), Err(SealError::CannotOpen));
    }
    assert!(!sealed.windows(5).any(|part| part == b"whsec"));
    assert_ne!(sealed, keys(1).seal(b"whsec_x", b"row 1", &mut StdRng::seed_from_u64(2)).unwrap());
}

#[test]
fn no_byte_of_a_sealed_value_may_change() {
    let sealed = keys(1).seal(b"whsec_x", b"row 1", &mut rng()).unwrap();

    for place in 0..sealed.len() {
        let mut changed = sealed.clone();
        changed[place] ^= 1;
        assert!(keys(1).open(&changed, b"row 1").is_err(), "byte {place}");
    }
}

#[test]
fn what_a_previous_key_sealed_opens_and_what_is_new_is_sealed_with_the_current_one() {
    let old = keys(1).seal(b"x", b"row", &mut rng()).unwrap();
    let both = keys(2).and_previous(&text(3)).unwrap().and_previous(&text(1)).unwrap();

    let opened = both.open_and_tell(&old, b"row").unwrap();
    assert_eq!(
        (opened.plain.as_slice(), opened.key, opened.is_current),
        (&b"x"[..], keys(1).current(), false)
    );
    let new = both.seal(b"x", b"row", &mut rng()).unwrap();
    let opened = both.open_and_tell(&new, b"row").unwrap();
    assert_eq!((opened.key, opened.is_current), (keys(2).current(), true));
    assert_eq!(keys(2).open(&new, b"row").unwrap(), b"x");
    assert_eq!(keys(1).open(&new, b"row"), Err(SealError::UnknownKey(keys(2).current())));
}

#[test]
fn a_value_of_the_first_format_opens_with_whichever_key_sealed_it() {
    // Made by another library, under the key of 32 ones, for `row`.
    let first = STANDARD.decode(FIRST_FORMAT).unwrap();

    for keys in [keys(1), keys(2).and_previous(&text(1)).unwrap()] {
        let opened = keys.open_and_tell(&first, b"row").unwrap();
        assert_eq!(opened.plain, b"whsec_x");
        assert_eq!((opened.key, opened.is_current), (self::keys(1).current(), false));
        assert_eq!(keys.open(&first, b"another row"), Err(SealError::CannotOpen));
    }
    assert_eq!(keys(2).open(&first, b"row"), Err(SealError::CannotOpen));
}

const FIRST_FORMAT: &str = "AQABAgMEBQYHCAkKC+oCi+LzLcp8p+1+P7ZJxlnD7XZe6pVJ";

#[test]
fn a_key_is_known_once_however_often_it_is_given() {
    let keys = keys(1).and_previous(&text(1)).unwrap().and_previous(&text(2)).unwrap();
    let keys = keys.and_previous(&format!("{}\n", text(2))).unwrap();

    assert_eq!(keys.previous().collect::<Vec<_>>(), [self::keys(2).current()]);
}

#[test]
fn a_key_of_another_length_is_refused() {
    for text in ["", "abc", &STANDARD.encode([1; 31]), &STANDARD.encode([1; 33])] {
        assert_eq!(Keys::parse(text).unwrap_err(), SealError::BadKey);
        assert_eq!(keys(1).and_previous(text).unwrap_err(), SealError::BadKey);
    }
}
