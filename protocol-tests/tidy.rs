//! The house rules that a machine can check: which module may use which, and that the documentation says the same.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Outside crates that the engine may use: pure ones. Whatever waits, reads a clock or draws a number stays out.
const ENGINE_MAY_USE: [&str; 11] = [
    "bytes",
    "chrono",
    "chrono_tz",
    "crate",
    "croner",
    "foldhash",
    "hashbrown",
    "smallvec",
    "std",
    "super",
    "thiserror",
];

/// Parts of the standard library that the engine may not use.
const ENGINE_MAY_NOT: [&str; 12] = [
    "std::net",
    "std::fs",
    "std::io::Read",
    "std::thread",
    "std::sync::atomic",
    "std::sync::mpsc",
    "Mutex",
    "RwLock",
    "Condvar",
    "Instant",
    "SystemTime",
    "std::env",
];

#[test]
fn modules_use_only_what_the_architecture_allows_them() {
    let allowed = allowed_arrows();
    let mut wrong = Vec::new();
    let mut modules = BTreeSet::new();
    for file in source_files() {
        let module = module_of(&file);
        modules.insert(module.clone());
        let may_use = allowed.get(&module).cloned().unwrap_or_default();
        for used in used_modules(&file) {
            if used != module && !may_use.contains(&used) {
                wrong.push(format!("{}: `{module}` must not use `{used}`", shown(&file)));
            }
        }
    }
    assert!(wrong.is_empty(), "{}\nThe table is in docs/ARCHITECTURE.md.", wrong.join("\n"));
    let listed: BTreeSet<String> = allowed.into_keys().collect();
    assert_eq!(modules, listed, "docs/ARCHITECTURE.md lists every module of src/ and no other");
}

#[test]
fn the_engine_is_pure() {
    let mut wrong = Vec::new();
    for file in source_files().into_iter().filter(|file| module_of(file) == "engine") {
        let text = fs::read_to_string(&file).expect("source files are readable");
        let code = code_of(&text);
        for forbidden in ENGINE_MAY_NOT {
            if code.contains(forbidden) {
                wrong.push(format!("{}: {forbidden}", shown(&file)));
            }
        }
        for line in code.lines().map(str::trim) {
            if let Some(path) = line.strip_prefix("use ").or_else(|| line.strip_prefix("pub use ")) {
                let root = path.split([':', ';', ' ']).next().unwrap_or_default();
                if root != "self" && !ENGINE_MAY_USE.contains(&root) {
                    wrong.push(format!("{}: use of {root}", shown(&file)));
                }
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "the engine takes time and randomness as arguments and pushes its effects out:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn every_source_file_begins_by_saying_what_it_is() {
    let silent: Vec<String> = source_files()
        .iter()
        .filter(|file| !fs::read_to_string(file).is_ok_and(|text| text.starts_with("//! ")))
        .map(|file| shown(file))
        .collect();
    assert!(silent.is_empty(), "a first line `//! …` is missing in {silent:?}");
}

#[test]
fn links_between_documents_lead_somewhere() {
    let mut broken = Vec::new();
    let documents = files_under(&Path::new(ROOT).join("docs"), "md");
    let top = ["README.md", "CHANGELOG.md"].map(|name| Path::new(ROOT).join(name));
    for document in documents.into_iter().chain(top) {
        let text = fs::read_to_string(&document).expect("documents are readable");
        let folder = document.parent().expect("a document lies in a folder");
        for target in text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next()) {
            let is_local = !target.is_empty() && !target.contains("://");
            if is_local && !folder.join(target).exists() {
                broken.push(format!("{}: {target}", shown(&document)));
            }
        }
    }
    assert!(broken.is_empty(), "links that lead nowhere:\n{}", broken.join("\n"));
}

/// The table under "Arrows" in docs/ARCHITECTURE.md: `| module | may use |`, names in backticks.
fn allowed_arrows() -> BTreeMap<String, BTreeSet<String>> {
    let text =
        fs::read_to_string(Path::new(ROOT).join("docs/ARCHITECTURE.md")).expect("the document is there");
    let section = text.split("\n## Arrows").nth(1).expect("docs/ARCHITECTURE.md has a section 'Arrows'");
    let section = section.split("\n## ").next().unwrap_or(section);
    let mut arrows: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for row in section.lines().filter(|line| line.starts_with("| `")) {
        let mut cells = row.split('|').skip(1).map(names);
        let (Some(modules), Some(used)) = (cells.next(), cells.next()) else { continue };
        for module in modules {
            arrows.entry(module).or_default().extend(used.iter().cloned());
        }
    }
    arrows
}

fn names(cell: &str) -> BTreeSet<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The part of `src/` that a file belongs to: its folder or, at the top, its own name.
fn module_of(file: &Path) -> String {
    let inside = file.strip_prefix(Path::new(ROOT).join("src")).expect("source files lie in src/");
    let first = inside.iter().next().expect("a path has a first part").to_string_lossy();
    first.trim_end_matches(".rs").to_owned()
}

/// Top-level modules named after `crate::` (or `gearhouse::` in main.rs), outside comments.
fn used_modules(file: &Path) -> BTreeSet<String> {
    let text = fs::read_to_string(file).expect("source files are readable");
    let code = code_of(&text);
    let mut used = BTreeSet::new();
    let prefix = if module_of(file) == "main" { "gearhouse::" } else { "crate::" };
    for rest in code.split(prefix).skip(1) {
        match rest.strip_prefix('{') {
            Some(group) => {
                let group = group.split("};").next().unwrap_or(group);
                used.extend(group.split(',').filter_map(first_name));
            }
            None => used.extend(first_name(rest)),
        }
    }
    used
}

fn first_name(path: &str) -> Option<String> {
    let name: String =
        path.trim().chars().take_while(|char| char.is_ascii_lowercase() || *char == '_').collect();
    (!name.is_empty()).then_some(name)
}

/// The code of a file without comments, and without its tests, which may use what they like.
fn code_of(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests").next().unwrap_or(text);
    let lines = text.lines().map(|line| line.split("//").next().unwrap_or_default());
    lines.collect::<Vec<_>>().join("\n")
}

fn source_files() -> Vec<PathBuf> {
    files_under(&Path::new(ROOT).join("src"), "rs")
}

fn files_under(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("the folder is there").flatten() {
        let path = entry.path();
        if path.is_dir() {
            files.extend(files_under(&path, ending));
        } else if path.extension().is_some_and(|found| found == ending) {
            files.push(path);
        }
    }
    files.sort();
    files
}

fn shown(file: &Path) -> String {
    file.strip_prefix(ROOT).unwrap_or(file).display().to_string()
}
