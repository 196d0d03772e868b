//! Pages of lists, by cursor: the id where a page begins or ends, so that new rows move nothing.

use uuid::Uuid;

/// Which way to go from the cursor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// What follows it in the order of the list.
    #[default]
    Next,
    /// What comes before it.
    Previous,
}

/// Which page is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageRequest {
    /// Rows at most.
    pub limit: u32,
    /// Where to go from; `None` for the beginning.
    pub cursor: Option<Uuid>,
    /// Which way.
    pub direction: Direction,
    /// Oldest first; newest first otherwise.
    pub is_ascending: bool,
}

/// Some rows of a list, in its order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// The rows.
    pub items: Vec<T>,
    /// Whether more follow.
    pub has_next: bool,
    /// Whether there are some before.
    pub has_previous: bool,
}

impl PageRequest {
    /// How many rows to ask Postgres for: one more tells whether there are more.
    pub(crate) fn rows(&self) -> i64 {
        i64::from(self.limit) + 1
    }

    /// The bounds of ids, exclusive: greater than the first, smaller than the second.
    pub(crate) fn bounds(&self) -> (Option<Uuid>, Option<Uuid>) {
        if self.reads_ascending() { (self.cursor, None) } else { (None, self.cursor) }
    }

    /// Whether the rows are to be read with growing ids: in the list's order, or against it for a page before the cursor.
    pub(crate) fn reads_ascending(&self) -> bool {
        self.is_ascending != (self.direction == Direction::Previous)
    }

    /// The page that these rows make, read as the other functions say.
    pub(crate) fn page<T>(&self, mut rows: Vec<T>) -> Page<T> {
        let has_more = rows.len() > self.limit as usize;
        rows.truncate(self.limit as usize);
        let (has_next, has_previous) = match self.direction {
            Direction::Next => (has_more, self.cursor.is_some()),
            Direction::Previous => {
                rows.reverse();
                (self.cursor.is_some(), has_more)
            }
        };
        Page { items: rows, has_next, has_previous }
    }
}

impl<T> Page<T> {
    /// The page of a list with nothing in it.
    pub(super) const fn empty() -> Self {
        Self { items: Vec::new(), has_next: false, has_previous: false }
    }

    /// The same page of something else.
    pub fn map<U>(self, change: impl FnMut(T) -> U) -> Page<U> {
        let Self { items, has_next, has_previous } = self;
        Page { items: items.into_iter().map(change).collect(), has_next, has_previous }
    }

    /// The same page of something else, unless something is wrong with a row.
    ///
    /// # Errors
    /// The first one of `change`.
    pub fn try_map<U, E>(self, change: impl FnMut(T) -> Result<U, E>) -> Result<Page<U>, E> {
        let Self { items, has_next, has_previous } = self;
        Ok(Page { items: items.into_iter().map(change).collect::<Result<_, E>>()?, has_next, has_previous })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(direction: Direction, cursor: Option<u128>, is_ascending: bool) -> PageRequest {
        PageRequest { limit: 2, cursor: cursor.map(Uuid::from_u128), direction, is_ascending }
    }

    /// What Postgres would answer over the ids 1 to 5.
    fn list(request: &PageRequest) -> Page<u128> {
        let (after, before) = request.bounds();
        let mut ids: Vec<u128> = (1..=5).collect();
        if !request.reads_ascending() {
            ids.reverse();
        }
        ids.retain(|id| after.is_none_or(|bound| *id > bound.as_u128()));
        ids.retain(|id| before.is_none_or(|bound| *id < bound.as_u128()));
        ids.truncate(usize::try_from(request.rows()).unwrap());
        request.page(ids)
    }

    #[test]
    fn pages_lead_on_and_back() {
        let page =
            |items: &[u128], has_next, has_previous| Page { items: items.to_vec(), has_next, has_previous };
        use Direction::{Next, Previous};

        assert_eq!(list(&request(Next, None, false)), page(&[5, 4], true, false));
        assert_eq!(list(&request(Next, Some(4), false)), page(&[3, 2], true, true));
        assert_eq!(list(&request(Next, Some(2), false)), page(&[1], false, true));
        assert_eq!(list(&request(Previous, Some(1), false)), page(&[3, 2], true, true));
        assert_eq!(list(&request(Previous, Some(3), false)), page(&[5, 4], true, false));
        assert_eq!(list(&request(Next, Some(2), true)), page(&[3, 4], true, true));
        assert_eq!(list(&request(Previous, Some(3), true)), page(&[1, 2], true, false));
    }
}
