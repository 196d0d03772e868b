//! Dividing room that is too little for all: evenly between projects, and within a project evenly between endpoints.

use std::collections::HashMap;

use longshore_core::ProjectId;

/// How much of `room` each gets of what it wants. Who wants less than its even part leaves the rest to the others; of what
/// does not divide, those get one more that want most.
pub(super) fn allot(room: usize, wants: &[(ProjectId, usize)]) -> Vec<usize> {
    if wants.iter().map(|(_, want)| want).sum::<usize>() <= room {
        return wants.iter().map(|(_, want)| *want).collect();
    }
    let mut projects: HashMap<ProjectId, Vec<usize>> = HashMap::new();
    for (at, (project, _)) in wants.iter().enumerate() {
        projects.entry(*project).or_default().push(at);
    }
    let projects: Vec<Vec<usize>> = projects.into_values().collect();
    let want_of = |at: &usize| wants[*at].1;
    let totals: Vec<usize> = projects.iter().map(|members| members.iter().map(want_of).sum()).collect();
    let mut granted = vec![0; wants.len()];
    for (members, room) in projects.iter().zip(level(room, &totals)) {
        let wants: Vec<usize> = members.iter().map(want_of).collect();
        for (at, part) in members.iter().zip(level(room, &wants)) {
            granted[*at] = part;
        }
    }
    granted
}

/// The same for one level.
fn level(mut room: usize, wants: &[usize]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..wants.len()).collect();
    order.sort_unstable_by_key(|at| wants[*at]);
    let mut parts = vec![0; wants.len()];
    for (served, at) in order.into_iter().enumerate() {
        parts[at] = wants[at].min(room / (wants.len() - served));
        room -= parts[at];
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn granted(room: usize, wants: &[(u128, usize)]) -> Vec<usize> {
        let wants: Vec<_> =
            wants.iter().map(|(project, want)| (ProjectId::from_u128(*project), *want)).collect();
        allot(room, &wants)
    }

    #[test]
    fn everybody_gets_what_it_wants_where_there_is_room() {
        assert_eq!(granted(10, &[(1, 3), (1, 4), (2, 3)]), [3, 4, 3]);
        assert!(granted(10, &[]).is_empty());
    }

    #[test]
    fn projects_get_even_parts_however_many_endpoints_they_have() {
        assert_eq!(granted(20, &[(1, 9), (1, 9), (1, 9), (1, 9), (1, 9), (2, 30)]), [2, 2, 2, 2, 2, 10]);
    }

    #[test]
    fn who_wants_little_leaves_the_rest_to_the_others() {
        assert_eq!(granted(20, &[(1, 2), (2, 30), (3, 30)]), [2, 9, 9]);
        assert_eq!(granted(12, &[(1, 1), (1, 30), (1, 2)]), [1, 9, 2]);
    }

    #[test]
    fn no_more_is_given_than_there_is() {
        for room in 0..40 {
            let parts = granted(room, &[(1, 5), (1, 7), (2, 11), (3, 1), (3, 13)]);
            assert_eq!(parts.iter().sum::<usize>(), room.min(37), "{parts:?}");
        }
    }
}
