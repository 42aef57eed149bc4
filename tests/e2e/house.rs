//! The rules of the house as tests: who may import whom, which crate has which door, that every cited clause has a
//! row, that files stay small and names say something.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// What each room may import from the workspace, outside its tests.
const EDGES: &[(&str, &[&str])] = &[
    ("sip", &[]),
    ("scscf", &["sip"]),
    ("diameter", &["scscf"]),
    ("cluster", &[]),
    ("store", &["cluster", "scscf"]),
    ("admin", &["scscf"]),
    ("node", &["admin", "cluster", "diameter", "scscf", "sip", "store"]),
    ("lab", &["diameter", "scscf"]),
    ("rollcall", &["admin", "lab", "node"]),
    ("e2e", &[]),
];

/// The only crates in whose sources a foreign crate may be named, outside their tests.
const DOORS: &[(&str, &[&str])] = &[
    ("actix", &["node"]),
    ("actix_rt", &["node"]),
    ("actix_web", &["admin", "lab"]),
    ("redis", &["store"]),
    ("hickory_resolver", &["node"]),
    ("redb", &["store"]),
    ("rsip", &["lab", "sip"]),
    ("quick_xml", &["diameter", "sip"]),
    ("milenage", &["lab", "e2e"]),
    ("clap", &["rollcall"]),
    ("ureq", &["rollcall", "e2e"]),
];

/// Foreign crates that a pure room must never depend on.
const IMPURE: &[&str] =
    &["tokio", "actix", "actix-rt", "actix-web", "redis", "socket2", "nix", "rand", "tracing", "mio"];
const PURE: &[&str] = &["sip", "scscf", "diameter", "cluster"];

const PERMISSIVE: &[&str] = &[
    "MIT",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "Zlib",
    "Unicode-3.0",
    "CC0-1.0",
    "Unlicense",
    "0BSD",
    "BSL-1.0",
    "MIT-0",
];

fn metadata() -> serde_json::Value {
    let host = Command::new("rustc").arg("-vV").output().unwrap();
    let host = String::from_utf8_lossy(&host.stdout)
        .lines()
        .find_map(|line| Some(line.strip_prefix("host: ")?.to_owned()));
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--filter-platform", &host.unwrap()])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn workspace_packages(metadata: &serde_json::Value) -> Vec<&serde_json::Value> {
    let members: BTreeSet<&str> =
        metadata["workspace_members"].as_array().unwrap().iter().map(|id| id.as_str().unwrap()).collect();
    metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|package| members.contains(package["id"].as_str().unwrap()))
        .collect()
}

fn normal_dependencies(package: &serde_json::Value) -> BTreeSet<&str> {
    package["dependencies"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|dependency| dependency["kind"].is_null())
        .map(|dependency| dependency["name"].as_str().unwrap())
        .collect()
}

/// Every tracked or new source file below `folder`.
fn sources(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                if name != "target" && !name.starts_with('.') {
                    folders.push(path);
                }
            } else if name.ends_with(ending) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

/// The part of a file before its unit tests.
fn without_tests(text: &str) -> &str {
    let end = text.find("\n#[cfg(test)]").unwrap_or(text.len());
    &text[..end]
}

#[test]
fn rooms_import_only_what_the_plan_allows() {
    let metadata = metadata();
    let allowed: BTreeMap<&str, BTreeSet<&str>> =
        EDGES.iter().map(|(room, imports)| (*room, imports.iter().copied().collect())).collect();
    let mut wrong = Vec::new();
    let mut seen = BTreeSet::new();
    for package in workspace_packages(&metadata) {
        let name = package["name"].as_str().unwrap();
        seen.insert(name);
        let Some(allowed) = allowed.get(name) else {
            wrong.push(format!("{name}: not in the table of rooms"));
            continue;
        };
        for dependency in normal_dependencies(package) {
            let is_room = EDGES.iter().any(|(room, _)| *room == dependency);
            if is_room && !allowed.contains(dependency) {
                wrong.push(format!("{name} -> {dependency}"));
            }
            if PURE.contains(&name) && IMPURE.contains(&dependency) {
                wrong.push(format!("{name} is pure and must not depend on {dependency}"));
            }
        }
    }
    for (room, _) in EDGES {
        if !seen.contains(room) {
            wrong.push(format!("{room}: in the table, not in the workspace"));
        }
    }
    assert!(wrong.is_empty(), "imports against the plan (docs/ARCHITECTURE.md):\n{}", wrong.join("\n"));
}

#[test]
fn foreign_crates_enter_by_their_door() {
    let mut wrong = Vec::new();
    for (room, _) in EDGES {
        let folder =
            if *room == "e2e" { root().join("tests") } else { root().join("crates").join(room).join("src") };
        for file in sources(&folder, ".rs") {
            let text = std::fs::read_to_string(&file).unwrap();
            for (number, line) in without_tests(&text).lines().enumerate() {
                let code = line.split("//").next().unwrap_or("");
                for (foreign, rooms) in DOORS {
                    let named = code.match_indices(foreign).any(|(at, _)| {
                        let before = code[..at].chars().next_back().unwrap_or(' ');
                        let after = &code[at + foreign.len()..];
                        !before.is_alphanumeric() && before != '_' && before != '"' && after.starts_with("::")
                    });
                    if named && !rooms.contains(room) {
                        wrong.push(format!("{}:{}: {foreign}", shown(&file), number + 1));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "foreign crates outside their door:\n{}", wrong.join("\n"));
}

#[test]
fn every_dependency_is_permissively_licensed() {
    let metadata = metadata();
    let mut wrong = Vec::new();
    for package in metadata["packages"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap();
        // rsip and its derives name their licence by file only; the file is the MIT licence.
        let Some(licence) = package["license"].as_str().or(name.starts_with("rsip").then_some("MIT")) else {
            wrong.push(format!("{name}: names no licence"));
            continue;
        };
        let any = licence.split(" OR ").flat_map(|one| one.split('/')).any(|alternative| {
            alternative.split(" AND ").all(|part| {
                let part = part.trim().trim_matches(['(', ')']).split(" WITH ").next().unwrap_or("").trim();
                PERMISSIVE.contains(&part)
            })
        });
        if !any {
            wrong.push(format!("{name}: {licence}"));
        }
    }
    assert!(wrong.is_empty(), "licences to look at:\n{}", wrong.join("\n"));
}

#[test]
fn files_stay_small_enough_to_have_one_subject() {
    let mut wrong = Vec::new();
    for file in
        sources(&root().join("crates"), ".rs").into_iter().chain(sources(&root().join("tests"), ".rs"))
    {
        let text = std::fs::read_to_string(&file).unwrap();
        let all = text.lines().count();
        let own = without_tests(&text).lines().count();
        let is_test =
            file.components().any(|part| part.as_os_str() == "tests" || part.as_os_str() == "benches");
        if (!is_test && own > 400) || all > 700 {
            wrong.push(format!("{}: {own} lines, {all} with tests", shown(&file)));
        }
    }
    assert!(wrong.is_empty(), "longer than 400 lines without tests, or 700 with:\n{}", wrong.join("\n"));
}

#[test]
fn names_say_something() {
    let empty = ["util", "utils", "helper", "helpers", "common", "misc", "manager"];
    let suffixes = ["Manager", "Handler", "Helper", "Util", "Utils"];
    let mut wrong = Vec::new();
    for file in
        sources(&root().join("crates"), ".rs").into_iter().chain(sources(&root().join("tests"), ".rs"))
    {
        let stem = file.file_stem().unwrap().to_string_lossy().into_owned();
        if empty.contains(&stem.as_str()) {
            wrong.push(shown(&file));
        }
        for line in std::fs::read_to_string(&file).unwrap().lines() {
            let Some(rest) = ["struct ", "enum ", "trait "]
                .iter()
                .find_map(|word| line.trim_start().trim_start_matches("pub ").strip_prefix(word))
            else {
                continue;
            };
            let name: String = rest.chars().take_while(|c| c.is_alphanumeric()).collect();
            if suffixes.iter().any(|suffix| name.ends_with(suffix)) {
                wrong.push(format!("{}: {name}", shown(&file)));
            }
        }
    }
    assert!(wrong.is_empty(), "names that say nothing:\n{}", wrong.join("\n"));
}

/// All citations of the one form `TS 24.229 §5.4.1.6`, `RFC 3261 §17.2.2` in `text`.
fn citations(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, _) in text.match_indices(" §") {
        let before = &text[..at];
        let start = before.rfind(|c: char| !(c.is_ascii_digit() || c == '.')).map_or(0, |at| at + 1);
        let number = &before[start..];
        let kind = &before[..start];
        let kind = if kind.ends_with("TS ") {
            "TS"
        } else if kind.ends_with("RFC ") {
            "RFC"
        } else {
            continue;
        };
        let section: String =
            text[at + " §".len()..].chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '.').collect();
        found.insert(format!("{kind} {number} §{}", section.trim_end_matches('.')));
    }
    found
}

/// One row of the clause table in docs/conformance.md: clause, title, state, file, test, why.
fn clause_rows() -> Vec<Vec<String>> {
    let text = std::fs::read_to_string(root().join("docs/conformance.md")).unwrap();
    text.lines()
        .filter(|line| line.starts_with("| TS ") || line.starts_with("| RFC "))
        .map(|line| {
            let cells = line.trim().strip_prefix('|').and_then(|line| line.strip_suffix('|')).unwrap_or(line);
            cells.split('|').map(|cell| cell.trim().trim_matches('`').to_owned()).collect()
        })
        .collect()
}

#[test]
fn every_cited_clause_is_a_row_and_every_row_is_true() {
    let rows = clause_rows();
    assert!(rows.len() > 20, "docs/conformance.md has no clause table");
    let clauses: BTreeSet<&str> = rows.iter().map(|row| row[0].as_str()).collect();
    let mut wrong = Vec::new();
    for room in ["sip", "scscf", "diameter", "cluster", "store", "node", "admin", "lab"] {
        for file in sources(&root().join("crates").join(room).join("src"), ".rs") {
            for citation in citations(&std::fs::read_to_string(&file).unwrap()) {
                let covered = clauses.iter().any(|clause| {
                    citation == **clause
                        || citation
                            .strip_prefix(clause)
                            .is_some_and(|rest| rest.starts_with(['.', 'A', 'B', 'C', 'D', 'E', 'F']))
                });
                if !covered {
                    wrong.push(format!("{}: {citation} has no row in docs/conformance.md", shown(&file)));
                }
            }
        }
    }
    for row in &rows {
        if row.len() != 6 {
            wrong.push(format!("{}: a row has six cells, this one {}", row[0], row.len()));
            continue;
        }
        let (state, file, test) = (&row[2], &row[3], &row[4]);
        if !["done", "partly", "not ours", "later"].contains(&state.as_str()) {
            wrong.push(format!("{}: state '{state}'", row[0]));
        }
        if state == "done" || state == "partly" {
            for path in [file, test] {
                let path = path.split("::").next().unwrap_or("").trim_matches('`');
                if path.is_empty() || !root().join(path).exists() {
                    wrong.push(format!("{}: '{path}' does not exist", row[0]));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "conformance table and code differ:\n{}", wrong.join("\n"));
}

#[test]
fn citations_have_one_spelling() {
    let mut wrong = Vec::new();
    for file in sources(&root().join("crates"), ".rs") {
        for (number, line) in std::fs::read_to_string(&file).unwrap().lines().enumerate() {
            let bad = [
                "RFC3261",
                "RFC6733",
                "TS24.229",
                "TS29.",
                "24.229 5.4",
                "RFC 3261 section",
                "RFC 3261, section",
            ];
            if let Some(bad) = bad.iter().find(|bad| line.contains(**bad)) {
                wrong.push(format!("{}:{}: {bad}", shown(&file), number + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "cite as `TS 24.229 §5.4.1.6`, `RFC 3261 §17.2.2`:\n{}", wrong.join("\n"));
}

/// Rows of the conformance checklist in docs/conformance.md: id, clause, state, test.
fn checklist_rows() -> Vec<Vec<String>> {
    let text = std::fs::read_to_string(root().join("docs/conformance.md")).unwrap();
    text.lines()
        .filter(|line| {
            let mut parts = line.trim_start_matches("| ").splitn(2, '-');
            line.starts_with("| C")
                && parts.next().is_some_and(|id| id.len() == 2)
                && parts.next().is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
        })
        .map(|line| {
            line.trim_matches('|').split(" | ").map(|cell| cell.trim().trim_matches('`').to_owned()).collect()
        })
        .collect()
}

#[test]
fn every_done_checklist_row_is_named_by_a_test() {
    let mut names = BTreeSet::new();
    let files =
        sources(&root().join("crates"), ".rs").into_iter().chain(sources(&root().join("tests"), ".rs"));
    for file in files {
        for line in std::fs::read_to_string(&file).unwrap().lines() {
            if let Some(rest) = line.trim_start().trim_start_matches("async ").strip_prefix("fn ") {
                names.insert(
                    rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>(),
                );
            }
        }
    }
    let rows = checklist_rows();
    assert!(rows.len() >= 273, "the checklist has {} rows", rows.len());
    let mut wrong = Vec::new();
    for row in rows {
        let id = row[0].to_lowercase().replace('-', "_");
        let state = row.get(3).map_or("", String::as_str);
        let named = names.iter().any(|name| {
            name == &id
                || name.starts_with(&format!("{id}_"))
                || name.contains(&format!("_{id}_"))
                || name.ends_with(&format!("_{id}"))
        });
        match state {
            "done" if !named => wrong.push(format!("{}: done, but no test names it", row[0])),
            "later" if named => wrong.push(format!("{}: a test names it, but the table says later", row[0])),
            "done" | "later" | "not ours" => {}
            other => wrong.push(format!("{}: state '{other}'", row[0])),
        }
    }
    assert!(wrong.is_empty(), "checklist and tests differ:\n{}", wrong.join("\n"));
}

/// `path::test` if that is a test of the project.
fn is_test(named: &str) -> bool {
    named.split_once("::").is_some_and(|(path, test)| {
        let text = std::fs::read_to_string(root().join(path)).unwrap_or_default();
        text.lines().any(|line| {
            let line = line.trim_start().trim_start_matches("async ");
            line.strip_prefix("fn ")
                .is_some_and(|rest| rest.strip_prefix(test).is_some_and(|rest| rest.starts_with('(')))
        })
    })
}

#[test]
fn every_test_that_conformance_names_exists_and_scenarios_are_counted_rightly() {
    let text = std::fs::read_to_string(root().join("docs/conformance.md")).unwrap();
    let mut wrong: Vec<String> = text
        .split('`')
        .filter(|quoted| quoted.contains(".rs::") && !is_test(quoted))
        .map(|named| format!("{named}: no such test"))
        .collect();
    let (mut covered, mut applicable, mut others) = (0, 0, 0);
    let scenarios = text.split("\n## Scenarios").nth(1).expect("a section of scenarios");
    for line in scenarios.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| scenario")) {
        let cells: Vec<_> =
            line.trim_matches(['|', ' ']).split(" |").map(|cell| cell.trim().trim_matches('`')).collect();
        let (test, note) = (cells.get(2).is_some_and(|test| is_test(test)), cells.get(3));
        let reason = note.is_some_and(|note| !note.is_empty());
        match cells.get(1) {
            Some(&"covered") if test => (covered, applicable) = (covered + 1, applicable + 1),
            Some(&"not covered") if reason => applicable += 1,
            Some(&"not applicable") if reason => others += 1,
            _ => wrong.push(format!("{line}: a state with its test, or its reason")),
        }
    }
    let count =
        format!("{covered} of {applicable} applicable scenarios are covered; {others} are not applicable.");
    if !scenarios.contains(&count) {
        wrong.push(format!("the last line of the scenarios must say: {count}"));
    }
    if covered * 10 < applicable * 9 {
        wrong.push("less than nine of ten applicable scenarios are covered".into());
    }
    assert!(wrong.is_empty(), "docs/conformance.md and the tests differ:\n{}", wrong.join("\n"));
}

#[test]
fn the_project_speaks_of_itself_alone() {
    let output = Command::new("git").args(["ls-files"]).current_dir(root()).output().unwrap();
    let mut wrong = Vec::new();
    for name in String::from_utf8_lossy(&output.stdout).lines() {
        let path = root().join(name);
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        for (number, line) in text.lines().enumerate() {
            for folder in ["work", "farm", "root"] {
                let needle = format!("/{folder}/");
                let found = line.match_indices(&needle).any(|(at, _)| {
                    let before = line[..at].chars().next_back().unwrap_or(' ');
                    !before.is_alphanumeric() && before != '_' && before != '.' && before != '-'
                });
                if found && name != "Cargo.lock" {
                    wrong.push(format!("{name}:{}: a path of one machine", number + 1));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
