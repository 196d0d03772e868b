//! Fair turns: projects by what they have used, and within a project its endpoints one after the other.
//!
//! A deficit round robin whose deficits lapse. Every project has a clock of its own that runs on by the cost of each of its
//! turns, and the project whose clock is furthest behind is next. One that comes back after a pause starts where the
//! others are: it has no claim to what it did not use, and is still behind for a large turn just before.
//!
//! It does not know who can send: endpoints are put in and taken out by [`super::Scheduler`].

use std::collections::{BTreeSet, HashMap, VecDeque};

use longshore_core::{EndpointId, ProjectId};

/// Bytes of a body that cost as much as a delivery itself.
const UNIT: usize = 16 * 1024;

/// What a delivery with a body of so many bytes costs its project.
pub(super) const fn cost(bytes: usize) -> u64 {
    1 + (bytes / UNIT) as u64
}

/// Endpoints in the order of their turns.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// Every project that has had a turn.
    projects: HashMap<ProjectId, Project>,
    /// Those that have an endpoint here, by their clocks.
    waiting: BTreeSet<(u64, ProjectId)>,
    /// The clock of the project that had the last turn.
    now: u64,
}

#[derive(Debug, Default)]
struct Project {
    clock: u64,
    endpoints: VecDeque<EndpointId>,
}

/// A turn that was given and is not yet paid for.
#[derive(Debug)]
#[must_use = "its project waits until it is paid for"]
pub(super) struct Turn {
    project: ProjectId,
    pub(super) endpoint: EndpointId,
}

impl Turns {
    /// Whether nobody waits for a turn.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Puts an endpoint at the end of its project's.
    pub(super) fn push(&mut self, project: ProjectId, endpoint: EndpointId) {
        let turns = self.projects.entry(project).or_default();
        if turns.endpoints.is_empty() {
            turns.clock = turns.clock.max(self.now);
            self.waiting.insert((turns.clock, project));
        }
        turns.endpoints.push_back(endpoint);
    }

    /// Takes out the endpoint whose turn it is. Its project gets no other before [`Self::pay`].
    pub(super) fn pop(&mut self) -> Option<Turn> {
        let (clock, project) = self.waiting.pop_first()?;
        self.now = clock;
        let endpoint = self.projects.get_mut(&project)?.endpoints.pop_front()?;
        Some(Turn { project, endpoint })
    }

    /// Ends a turn that cost so much; 0 when it was not used.
    #[expect(clippy::needless_pass_by_value, reason = "a turn is paid for once")]
    pub(super) fn pay(&mut self, turn: Turn, cost: u64) {
        let Some(turns) = self.projects.get_mut(&turn.project) else { return };
        turns.clock += cost;
        if !turns.endpoints.is_empty() {
            self.waiting.insert((turns.clock, turn.project));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(turn: &Turn) -> u128 {
        turn.endpoint.as_u128()
    }

    /// The endpoints of so many turns, each put back at once; that of endpoint `n` costs `costs(n)`.
    fn take(turns: &mut Turns, count: usize, costs: impl Fn(u128) -> u64) -> Vec<u128> {
        let mut taken = Vec::new();
        for _ in 0..count {
            let turn = turns.pop().unwrap();
            let (project, endpoint) = (turn.project, turn.endpoint);
            taken.push(id(&turn));
            turns.pay(turn, costs(endpoint.as_u128()));
            turns.push(project, endpoint);
        }
        taken
    }

    fn with(pairs: &[(u128, u128)]) -> Turns {
        let mut turns = Turns::default();
        for (project, endpoint) in pairs {
            turns.push(ProjectId::from_u128(*project), EndpointId::from_u128(*endpoint));
        }
        turns
    }

    #[test]
    fn a_body_counts_by_its_size() {
        assert_eq!([0, UNIT - 1, UNIT, 10 * UNIT].map(cost), [1, 1, 2, 11]);
    }

    #[test]
    fn a_project_with_costly_turns_gets_fewer() {
        let mut turns = with(&[(1, 11), (2, 22)]);

        let taken = take(&mut turns, 44, |endpoint| if endpoint == 11 { 10 } else { 1 });

        assert_eq!(taken.iter().filter(|endpoint| **endpoint == 11).count(), 4);
    }

    #[test]
    fn a_turn_that_was_not_used_costs_nothing() {
        let mut turns = with(&[(1, 11), (1, 12), (2, 22)]);
        let turn = turns.pop().unwrap();
        assert_eq!(id(&turn), 11);
        turns.pay(turn, 0);

        assert_eq!(take(&mut turns, 2, |_| 1), [12, 22]);
    }

    #[test]
    fn who_was_away_has_no_claim_to_what_it_did_not_use() {
        let mut turns = with(&[(1, 11)]);
        take(&mut turns, 1_000, |_| 1);
        turns.push(ProjectId::from_u128(2), EndpointId::from_u128(22));

        let taken = take(&mut turns, 20, |_| 1);

        assert_eq!(taken.iter().filter(|endpoint| **endpoint == 22).count(), 10);
    }

    #[test]
    fn who_leaves_after_a_large_turn_pays_for_it_when_it_comes_back() {
        let mut turns = with(&[(1, 11), (2, 22)]);
        let turn = turns.pop().unwrap();
        turns.pay(turn, 9);
        turns.push(ProjectId::from_u128(1), EndpointId::from_u128(11));

        assert_eq!(take(&mut turns, 11, |_| 1), [22, 22, 22, 22, 22, 22, 22, 22, 22, 11, 22]);
    }
}
