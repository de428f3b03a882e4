//! What is fuzzed. The tests of the crate replay the corpora through the same file.

#[path = "../../tests/it/corpora/targets.rs"]
mod targets;

/// Runs one target.
///
/// # Panics
///
/// Panics if something that always holds does not: that is what a fuzzer looks for.
pub fn run(name: &str, data: &[u8]) {
    let target = targets::TARGETS.iter().find(|(target, _)| *target == name);
    target.expect("a target of this name").1(data);
}
