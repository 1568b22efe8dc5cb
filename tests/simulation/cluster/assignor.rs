//! The cooperative-sticky assignor: who gets which partitions, with as little movement as possible.
//!
//! A partition that moves is given to nobody at first: its owner has to give it up, and joins
//! again when it has.

use std::collections::{BTreeMap, BTreeSet};

use tidemill::kafka::TopicPartition;

/// What a member says of itself.
#[derive(Clone, Debug)]
pub struct Claim {
    /// Its id.
    pub member: String,
    /// The partitions of the topics that it subscribes to.
    pub partitions: Vec<TopicPartition>,
    /// What it owns.
    pub owned: Vec<TopicPartition>,
    /// Since which generation.
    pub generation: i32,
}

/// The shares of all members.
#[must_use]
pub fn assign(claims: &[Claim]) -> BTreeMap<String, Vec<TopicPartition>> {
    let all: BTreeSet<&TopicPartition> =
        claims.iter().flat_map(|claim| &claim.partitions).collect();
    // Of two who claim a partition, the one of the newer generation has it.
    let mut owners: BTreeMap<&TopicPartition, (i32, &str)> = BTreeMap::new();
    for claim in claims {
        for partition in claim.owned.iter().filter(|partition| all.contains(partition)) {
            let owner = owners.entry(partition).or_insert((claim.generation, &claim.member));
            if claim.generation > owner.0 {
                *owner = (claim.generation, &claim.member);
            }
        }
    }
    let mut shares: BTreeMap<&str, Vec<&TopicPartition>> =
        claims.iter().map(|claim| (claim.member.as_str(), Vec::new())).collect();
    let most = all.len().div_ceil(claims.len().max(1));
    let mut left = Vec::new();
    for partition in &all {
        match owners.get(partition).and_then(|(_, owner)| shares.get_mut(owner)) {
            Some(share) if share.len() < most => share.push(partition),
            _ => left.push(*partition),
        }
    }
    for partition in left {
        if let Some(share) = shares.values_mut().min_by_key(|share| share.len()) {
            share.push(partition);
        }
    }
    level(&mut shares);
    shares
        .into_iter()
        .map(|(member, share)| {
            let free = |at: &&TopicPartition| owners.get(at).is_none_or(|(_, own)| *own == member);
            (member.to_owned(), share.into_iter().filter(free).cloned().collect())
        })
        .collect()
}

/// Moves partitions until nobody has two more than another.
fn level(shares: &mut BTreeMap<&str, Vec<&TopicPartition>>) {
    loop {
        let most = shares.iter().max_by_key(|(_, share)| share.len());
        let fewest = shares.iter().min_by_key(|(_, share)| share.len());
        let (Some((most, large)), Some((fewest, small))) = (most, fewest) else { return };
        if large.len() <= small.len() + 1 {
            return;
        }
        let (most, fewest) = (*most, *fewest);
        if let Some(moved) = shares.get_mut(most).and_then(Vec::pop) {
            shares.entry(fewest).or_default().push(moved);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(member: &str, owned: &[i32], generation: i32) -> Claim {
        let partition = |number: &i32| TopicPartition::new("t", *number);
        Claim {
            member: member.to_owned(),
            partitions: (0..4).map(|number| partition(&number)).collect(),
            owned: owned.iter().map(partition).collect(),
            generation,
        }
    }

    fn numbers(shares: &BTreeMap<String, Vec<TopicPartition>>, member: &str) -> Vec<i32> {
        shares[member].iter().map(|partition| partition.partition).collect()
    }

    #[test]
    fn what_moves_is_given_to_nobody_before_its_owner_gave_it_up() {
        let shares = assign(&[claim("a", &[0, 1, 2, 3], 1), claim("b", &[], -1)]);
        assert_eq!(numbers(&shares, "a"), [0, 1]);
        assert_eq!(numbers(&shares, "b"), [0; 0]);
        let shares = assign(&[claim("a", &[0, 1], 2), claim("b", &[], 2)]);
        assert_eq!(numbers(&shares, "b"), [2, 3]);
    }

    #[test]
    fn of_two_owners_the_newer_keeps_it() {
        let shares = assign(&[claim("a", &[0, 1], 1), claim("b", &[1, 2], 3)]);
        assert_eq!(numbers(&shares, "a"), [0, 3]);
        assert_eq!(numbers(&shares, "b"), [1, 2]);
    }
}
