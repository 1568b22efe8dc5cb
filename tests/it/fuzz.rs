//! The kept corpus of every parser that meets bytes from outside, and a little beyond it.

#[path = "../fuzz/mod.rs"]
mod harness;

use harness::{Crash, Fuzzer, TARGETS, Target};

/// Mutated inputs a target; `make fuzz` tries millions.
const INPUTS: u32 = 3_000;

fn broken(target: &Target, crash: &Crash) -> ! {
    let Crash { input, message } = crash;
    panic!("{} ({}): {message}: {input:?}", target.name, target.about)
}

#[test]
fn no_parser_breaks_on_its_corpus_or_near_it() {
    for target in TARGETS {
        let mut fuzzer = Fuzzer::new(target, 7);
        fuzzer.replay().unwrap_or_else(|crash| broken(target, &crash));
        for _ in 0..INPUTS {
            if let Err(crash) = fuzzer.step() {
                broken(target, &crash);
            }
        }
    }
}

#[test]
fn a_parser_that_breaks_is_caught_with_its_input() {
    static FRAGILE: Target = Target {
        name: "commit-metadata",
        about: "a parser that takes for granted what its input says",
        run: |input| {
            let digits = input.iter().filter(|byte| byte.is_ascii_digit()).count();
            assert!(digits < 24, "too many digits");
            digits.to_string()
        },
    };
    let mut fuzzer = Fuzzer::new(&FRAGILE, 7);
    let crash = (0..100_000).find_map(|_| fuzzer.step().err()).unwrap();
    assert!(crash.input.iter().filter(|byte| byte.is_ascii_digit()).count() >= 24);
}
