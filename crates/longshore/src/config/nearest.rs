//! "Did you mean …?"

/// Below this likeness a suggestion would only confuse.
const LIKENESS: f64 = 0.84;
/// A key under another section, or under none, is still worth naming when its last part is right.
const SAME_LAST_PART: f64 = 0.9;

/// The known word most like `word`, if any is like it at all. Words may be dotted paths.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let last = |path: &'a str| path.rsplit('.').next().unwrap_or(path);
    let word_last = word.rsplit('.').next().unwrap_or(word);
    known
        .into_iter()
        .map(|candidate| {
            let likeness = likeness(word, candidate);
            let likeness = if last(candidate) == word_last { likeness.max(SAME_LAST_PART) } else { likeness };
            (candidate, likeness)
        })
        .filter(|(_, likeness)| *likeness >= LIKENESS)
        // Of equals the first: `max_by` would take the last.
        .reduce(|best, next| if next.1 > best.1 { next } else { best })
        .map(|(candidate, _)| candidate)
}

/// 1 for the same, 0 for nothing in common. A slip of the finger in a short word is more alike than a prefix is.
fn likeness(word: &str, candidate: &str) -> f64 {
    let slips = strsim::damerau_levenshtein(word, candidate);
    if slips <= word.len().div_ceil(4) {
        return 0.99 - f64::from(u32::try_from(slips).unwrap_or(u32::MAX)) / 100.0;
    }
    strsim::jaro_winkler(word, candidate).min(0.9)
}

/// A sentence's end: `; did you mean …?`, or nothing.
pub(crate) fn suggestion<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(word, known).map(|known| format!("; did you mean `{known}`?")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [&str; 4] = ["http.bind", "database.url", "database.lease", "dispatch.max_in_flight"];

    #[test]
    fn the_nearest_key_is_found() {
        assert_eq!(nearest("http.bnd", KNOWN), Some("http.bind"));
        assert_eq!(nearest("bind", KNOWN), Some("http.bind"));
        assert_eq!(nearest("ulr", ["url", "name"]), Some("url"));
        assert_eq!(nearest("db.lease", KNOWN), Some("database.lease"));
        assert_eq!(nearest("dispatch.max_inflight", KNOWN), Some("dispatch.max_in_flight"));
    }

    #[test]
    fn nothing_like_it_suggests_nothing() {
        assert_eq!(nearest("zebra", KNOWN), None);
    }
}
