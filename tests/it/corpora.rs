//! Replays what the fuzzers found worth keeping.

mod targets;

use std::{fs, path::PathBuf};

fn corpora() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "fuzz", "corpus"].iter().collect()
}

#[test]
fn every_corpus_still_passes() {
    for (name, target) in targets::TARGETS {
        let files: Vec<_> = fs::read_dir(corpora().join(name))
            .unwrap_or_else(|error| panic!("the corpus of {name} is missing: {error}"))
            .map(|file| file.unwrap().path())
            .collect();
        assert!(!files.is_empty(), "the corpus of {name} is empty");
        for file in files {
            let data = fs::read(&file).unwrap();
            std::panic::catch_unwind(|| target(&data)).unwrap_or_else(|_| panic!("{name} fails on {}", file.display()));
        }
    }
}

#[test]
fn every_corpus_has_its_target() {
    let names: Vec<_> = targets::TARGETS.iter().map(|(name, _)| *name).collect();
    for folder in fs::read_dir(corpora()).unwrap() {
        let folder = folder.unwrap().file_name();
        assert!(names.iter().any(|name| *name == folder), "{} has no target", folder.display());
    }
    for name in names {
        let program = corpora().join(format!("../fuzz_targets/{name}.rs"));
        assert!(program.is_file(), "{name} has no program");
    }
}
