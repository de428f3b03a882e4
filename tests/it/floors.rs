//! A module uses only the floors below its own.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// From the ground up; what stands on one floor does not see each other. Those between two floors serve the one above.
const FLOORS: [&[&str]; 10] = [
    &["iso8601"],
    &["contact", "error", "json", "time"],
    &["pace", "redact"],
    &["book", "naming", "retry", "crm"],
    &["wire"],
    &["client", "webhook"],
    &["record"],
    &["ledger"],
    &["sync"],
    &["testkit"],
];

fn floor(module: &str) -> Option<usize> {
    FLOORS.iter().position(|modules| modules.contains(&module))
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] }).collect()
}

/// Source without comments, and without its unit tests, which may look down from anywhere.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap().to_owned();
    text.lines().map(|line| line.split("//").next().unwrap()).collect::<Vec<_>>().join("\n")
}

/// The first names behind each `crate::`, one or a braced list.
fn named(code: &str) -> Vec<String> {
    let mut names = Vec::new();
    for rest in code.split("crate::").skip(1) {
        if let Some(list) = rest.strip_prefix('{') {
            names.extend(first_names(list));
        } else {
            names.push(word(rest));
        }
    }
    names
}

fn word(text: &str) -> String {
    text.trim_start().chars().take_while(|char| char.is_alphanumeric() || *char == '_').collect()
}

fn first_names(list: &str) -> Vec<String> {
    let (mut depth, mut names, mut item) = (1, Vec::new(), String::new());
    for char in list.chars() {
        match char {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 || (depth == 1 && char == ',') {
            names.push(word(&item));
            item.clear();
        } else if depth == 1 {
            item.push(char);
        }
        if depth == 0 {
            break;
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

/// What the root exports, and from which module.
fn exports(root: &Path) -> BTreeMap<String, String> {
    let lib = code(&root.join("lib.rs"));
    let mut exports = BTreeMap::new();
    for line in lib.split("pub use ").skip(1) {
        let line = line.split(';').next().unwrap();
        let (module, names) = line.split_once("::").unwrap();
        let names = names.trim_matches(['{', '}']);
        exports.extend(names.split(',').map(|name| (word(name), module.trim().to_owned())));
    }
    exports
}

fn module_of(root: &Path, path: &Path) -> String {
    let first = path.strip_prefix(root).unwrap().components().next().unwrap();
    first.as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned()
}

#[test]
fn each_module_uses_only_the_floors_below_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let exports = exports(&root);
    let mut seen = 0;
    for path in sources(&root) {
        let module = module_of(&root, &path);
        let is_test = path.file_stem().is_some_and(|stem| stem == "tests");
        if module == "lib" || is_test || path.extension().is_none_or(|ending| ending != "rs") {
            continue;
        }
        let own = floor(&module).unwrap_or_else(|| panic!("{module} has no floor"));
        for name in named(&code(&path)) {
            let used = exports.get(&name).unwrap_or(&name);
            let Some(below) = floor(used) else { continue };
            assert!(*used == module || below < own, "{} uses {used}: floor {own} looks up to {below}", path.display());
            seen += 1;
        }
    }
    assert!(seen > 50, "only {seen} uses were found; is the test blind?");
}

#[test]
fn the_testkit_never_knows_the_sync_but_for_the_simulator_that_drives_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let exports = exports(&root);
    let is_simulator = |path: &PathBuf| path.starts_with(root.join("testkit/sim")) || path.ends_with("testkit/sim.rs");
    for path in
        sources(&root.join("testkit")).into_iter().chain([root.join("testkit.rs")]).filter(|path| !is_simulator(path))
    {
        let is_sync = |name: &String| exports.get(name).unwrap_or(name) == "sync";
        assert!(!named(&code(&path)).iter().any(is_sync), "{} knows the sync", path.display());
    }
}

/// Who embeds the library has other words for its settings, or none.
#[test]
fn no_text_of_the_library_names_a_flag_of_the_job() {
    let is_flag = |rest: &&str| rest.starts_with(|char: char| char.is_ascii_lowercase());
    for path in sources(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))) {
        // The simulator tells how to run a seed again.
        if path.extension().is_some_and(|ending| ending == "rs") && !path.ends_with("testkit/sim/log.rs") {
            let code = code(&path);
            assert_eq!(code.split("--").skip(1).find(is_flag), None, "{}", path.display());
        }
    }
}
