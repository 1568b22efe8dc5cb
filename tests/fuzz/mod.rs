//! A small fuzzer: mutates a corpus, guided by outcomes, and the parsers it is let loose on.
//!
//! A target takes bytes and says in words what became of them: which variant, which error. An input
//! whose outcome was never seen joins the corpus and is mutated further, so the corpus grows along
//! the parser's own distinctions. Everything follows from one seed.

pub mod targets;

use std::collections::HashSet;
use std::fs;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

pub use targets::{TARGETS, Target};

/// Longest input that is tried, in bytes.
const MAX_LENGTH: usize = 4_096;
/// Inputs that the corpus grows to; where outcomes are that many, most differ in words alone.
const MAX_CORPUS: usize = 200;
/// Numbers and bytes at which parsers tend to break.
const EDGES: &[&[u8]] = &[
    b"0",
    b"-1",
    b"1e999",
    b"1e-9",
    b"9223372036854775807",
    b"-9223372036854775808",
    b"18446744073709551616",
    b"0.000000001",
    b"null",
    b"true",
    b"{}",
    b"[]",
    b"\"\"",
    b"\\u0000",
    b"\\ud800",
    b"\xff\xfe",
    b"\xc0\x80",
    b"%00",
    b"%2F",
    b"%zz",
    b"..",
    b"//",
    b"\r\n",
    b"\0",
    &[0x7f, 0xff, 0xff, 0xff],
    &[0x80, 0, 0, 0],
    &[0xff; 8],
];

/// An input that a target broke on.
#[derive(Debug)]
pub struct Crash {
    /// The input.
    pub input: Vec<u8>,
    /// What the panic said.
    pub message: String,
}

/// The fuzzing of one target.
pub struct Fuzzer {
    target: &'static Target,
    corpus: Vec<Vec<u8>>,
    outcomes: HashSet<u64>,
    random: StdRng,
    /// Inputs tried so far.
    pub tried: u64,
}

impl Fuzzer {
    /// A fuzzer that starts from the target's corpus.
    ///
    /// # Panics
    /// When the corpus cannot be read or is empty.
    pub fn new(target: &'static Target, seed: u64) -> Self {
        let mut files: Vec<PathBuf> = fs::read_dir(folder(target))
            .unwrap_or_else(|error| panic!("the corpus of {}: {error}", target.name))
            .map(|entry| entry.unwrap().path())
            .collect();
        files.sort();
        assert!(!files.is_empty(), "the corpus of {} is empty", target.name);
        let corpus = files.iter().map(|file| fs::read(file).unwrap()).collect();
        let random = StdRng::seed_from_u64(seed);
        Self { target, corpus, outcomes: HashSet::new(), random, tried: 0 }
    }

    /// Tries the corpus as it is.
    ///
    /// # Errors
    /// The first input that breaks the target.
    pub fn replay(&mut self) -> Result<(), Crash> {
        for input in self.corpus.clone() {
            let outcome = self.outcome(&input)?;
            self.outcomes.insert(outcome);
        }
        Ok(())
    }

    /// Tries one mutated input; hands it out where its outcome is a new one.
    ///
    /// # Errors
    /// The input, if it breaks the target.
    pub fn step(&mut self) -> Result<Option<&[u8]>, Crash> {
        let input = self.mutated();
        let outcome = self.outcome(&input)?;
        if self.corpus.len() >= MAX_CORPUS || !self.outcomes.insert(outcome) {
            return Ok(None);
        }
        self.corpus.push(input);
        Ok(self.corpus.last().map(Vec::as_slice))
    }

    fn outcome(&mut self, input: &[u8]) -> Result<u64, Crash> {
        self.tried += 1;
        let said = catch_unwind(AssertUnwindSafe(|| (self.target.run)(input)));
        let said = said.map_err(|panic| Crash {
            input: input.to_vec(),
            message: (panic.downcast_ref::<String>().cloned())
                .or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string))
                .unwrap_or_default(),
        })?;
        // The same words about another number or name are the same outcome: what is quoted comes
        // after the words that matter.
        let words: String = said
            .chars()
            .take_while(|letter| !matches!(letter, '"' | '`' | '\''))
            .filter(|letter| letter.is_ascii_alphabetic() || *letter == ' ')
            .take(60)
            .collect();
        Ok(BuildHasherDefault::<DefaultHasher>::default().hash_one(words))
    }

    fn mutated(&mut self) -> Vec<u8> {
        let mut input = self.corpus[self.random.random_range(0..self.corpus.len())].clone();
        for _ in 0..self.random.random_range(1..=4) {
            self.mutate(&mut input);
        }
        input.truncate(MAX_LENGTH);
        input
    }

    fn mutate(&mut self, input: &mut Vec<u8>) {
        let at = self.random.random_range(0..=input.len());
        let end = (at + self.random.random_range(0..=16)).min(input.len());
        match self.random.random_range(0..8) {
            0 if at < input.len() => input[at] ^= 1 << self.random.random_range(0..8),
            1 if at < input.len() => input[at] = self.random.random(),
            2 => input.insert(at, self.random.random()),
            3 => drop(input.drain(at..end)),
            4 => {
                let copied = input[at..end].to_vec();
                let to = self.random.random_range(0..=input.len());
                input.splice(to..to, copied);
            }
            5 => input.truncate(at),
            6 => {
                let edge = EDGES[self.random.random_range(0..EDGES.len())];
                input.splice(at..end, edge.iter().copied());
            }
            _ => {
                let other = &self.corpus[self.random.random_range(0..self.corpus.len())];
                let from = self.random.random_range(0..=other.len());
                let to = (from + self.random.random_range(0..=64)).min(other.len());
                let part = other[from..to].to_vec();
                input.splice(at..end, part);
            }
        }
    }
}

/// Where a target's corpus is kept.
pub fn folder(target: &Target) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(target.name)
}
