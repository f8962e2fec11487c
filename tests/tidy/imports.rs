//! Import cycles between the files of one top module.
//!
//! A file imports another if it names an item of it, by `use` or by a path. An item that a `mod.rs`
//! re-exports belongs to the file that defines it, and a re-export from a submodule is not an import:
//! a `mod.rs` that only lists its submodules is in no cycle.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use crate::source::{Source, code_lines, is_identifier, sources};

type Path = Vec<String>;
type Graph = BTreeMap<usize, BTreeSet<usize>>;

/// Files that may be in import cycles, with the reason. No other file may, and every listed file must be in one.
const IN_CYCLES: [(&[&str], &str); 5] = [
    (
        &["src/buckets/index/names.rs", "src/buckets/index/objects.rs", "src/buckets/index/uploads.rs"],
        "the three tables of the index refer to each other by foreign keys, and removals cascade through them",
    ),
    (
        &["src/coordinator/mod.rs", "src/coordinator/outbox.rs", "src/coordinator/retention.rs"],
        "each adds methods to `Coordinator`, whose `apply` commits to the outbox by the retention clock",
    ),
    (
        &[
            "src/linkage/similarity/packed.rs",
            "src/linkage/similarity/sides.rs",
            "src/linkage/similarity/sieve.rs",
            "src/linkage/similarity/tuning.rs",
        ],
        "tuning measures a sieve, and a sieve is built from a tuning",
    ),
    (
        &["src/objects/staged.rs", "src/objects/store.rs"],
        "a store makes staged files, and a staged file publishes itself into its store",
    ),
    (
        &[
            "src/system/sqlite/mod.rs",
            "src/system/sqlite/owner.rs",
            "src/system/sqlite/readers.rs",
            "src/system/sqlite/writer.rs",
        ],
        "`Database` is its writer, its readers and its owner, which share its error type and connection settings",
    ),
];

#[test]
fn files_do_not_import_each_other_in_cycles() {
    let sources = sources();
    let graph = Tree::new(&sources).imports();
    let listed: BTreeSet<&str> = IN_CYCLES.iter().flat_map(|(files, _)| files.iter().copied()).collect();
    assert!(listed.len() <= 20, "too many files are listed");
    let in_cycles: BTreeSet<&str> = graph
        .keys()
        .filter(|file| cycle_through(&graph, **file).is_some())
        .map(|file| sources[*file].name.as_str())
        .collect();
    let modules: BTreeSet<&str> =
        in_cycles.difference(&listed).map(|name| name.split('/').nth(1).unwrap_or_default()).collect();
    let found: Vec<String> =
        modules.into_iter().flat_map(|module| cycles_of(&sources, &graph, module)).collect();
    assert!(found.is_empty(), "these files import each other:\n{}\n", found.join("\n"));
    let gone: Vec<_> = listed.difference(&in_cycles).collect();
    assert!(gone.is_empty(), "these files are in no cycle any more; take them off the list: {gone:?}");
}

/// Describes the shortest cycles through the files of the module, each cycle once. A file in no cycle adds nothing.
fn cycles_of(sources: &[Source], graph: &Graph, module: &str) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let mut described = Vec::new();
    for file in graph.keys().filter(|file| sources[**file].top() == module) {
        let Some(cycle) = cycle_through(graph, *file) else { continue };
        if seen.insert(cycle.iter().copied().collect::<BTreeSet<_>>()) {
            let names: Vec<&str> =
                cycle.iter().chain([file]).map(|file| sources[*file].name.as_str()).collect();
            described.push(names.join(" -> "));
        }
    }
    described
}

/// Returns a shortest cycle that begins at `file`.
fn cycle_through(graph: &Graph, file: usize) -> Option<Vec<usize>> {
    let mut reached_from = HashMap::new();
    let mut open = VecDeque::from([file]);
    while let Some(at) = open.pop_front() {
        for next in graph.get(&at).into_iter().flatten() {
            if *next == file {
                return Some(path_back(&reached_from, file, at));
            }
            if !reached_from.contains_key(next) {
                reached_from.insert(*next, at);
                open.push_back(*next);
            }
        }
    }
    None
}

fn path_back(reached_from: &HashMap<usize, usize>, start: usize, end: usize) -> Vec<usize> {
    let mut path = vec![end];
    while path[path.len() - 1] != start {
        path.push(reached_from[&path[path.len() - 1]]);
    }
    path.reverse();
    path
}

/// The modules of the tree with the paths that each names.
struct Tree {
    files: HashMap<Path, usize>,
    modules: Vec<Module>,
}

/// A file, parsed as far as its imports go.
struct Module {
    path: Path,
    package: Path,
    is_test: bool,
    tokens: Vec<String>,
    /// Names that `use` brings into the file, with the absolute path that each stands for.
    names: HashMap<String, Path>,
    /// Modules whose items `use path::*` brings in.
    globs: Vec<Path>,
}

impl Tree {
    fn new(sources: &[Source]) -> Self {
        let files: HashMap<Path, usize> =
            sources.iter().enumerate().map(|(index, source)| (source.modules.clone(), index)).collect();
        let modules = sources.iter().map(|source| Module::parse(source, &files)).collect();
        Self { files, modules }
    }

    /// Returns the imports between files of one top module, test code left out.
    fn imports(&self) -> Graph {
        let mut graph = Graph::new();
        for (index, module) in self.modules.iter().enumerate().filter(|(_, module)| !module.is_test) {
            let found = module.mentions(&self.files);
            let files = found.iter().filter_map(|path| self.file_of(path, 0));
            let same_top = |file: &usize| self.modules[*file].path[0] == module.path[0];
            graph.entry(index).or_default().extend(files.filter(same_top).filter(|file| *file != index));
        }
        graph
    }

    /// Returns the file that defines the item which an absolute path names; none for a path that
    /// ends at a module.
    fn file_of(&self, path: &[String], depth: usize) -> Option<usize> {
        let len = (1..=path.len()).rev().find(|len| self.files.contains_key(&path[..*len]))?;
        let file = self.files[&path[..len]];
        let (item, rest) = path[len..].split_first()?;
        if depth > 8 {
            return Some(file);
        }
        let module = &self.modules[file];
        if let Some(target) = module.names.get(item) {
            let full: Path = target.iter().chain(rest).cloned().collect();
            return self.file_of(&full, depth + 1);
        }
        let by_glob = module.globs.iter().find_map(|glob| {
            let target = *self.files.get(glob)?;
            self.modules[target].defines(item).then_some(target)
        });
        Some(by_glob.unwrap_or(file))
    }
}

impl Module {
    fn parse(source: &Source, files: &HashMap<Path, usize>) -> Self {
        let mut module = Self {
            path: source.modules.clone(),
            package: source.package.clone(),
            is_test: source.is_test,
            tokens: tokens(&source.text),
            names: HashMap::new(),
            globs: Vec::new(),
        };
        let mut uses = Vec::new();
        for at in (0..module.tokens.len()).filter(|at| module.tokens[*at] == "use") {
            flatten(&module.tokens, &mut (at + 1), &[], &mut uses);
        }
        for (path, name) in uses {
            let Some(absolute) = module.absolute(&path, files) else { continue };
            match name.as_str() {
                "*" => module.globs.push(absolute),
                _ => drop(module.names.insert(name, absolute)),
            }
        }
        module
    }

    fn defines(&self, item: &str) -> bool {
        let kinds = ["struct", "enum", "fn", "trait", "type", "const", "static", "union"];
        self.tokens.windows(2).any(|pair| pair[1] == item && kinds.contains(&pair[0].as_str()))
    }

    /// Returns the absolute paths that the file names, in imports and elsewhere.
    fn mentions(&self, files: &HashMap<Path, usize>) -> Vec<Path> {
        let used_from_others = |path: &&Path| !path.starts_with(&self.path);
        let mut found: Vec<Path> = self.names.values().filter(used_from_others).cloned().collect();
        let with_star = |glob: &Path| glob.iter().cloned().chain(["*".to_owned()]).collect();
        found.extend(self.globs.iter().filter(used_from_others).map(with_star));
        let mut at = 0;
        while at < self.tokens.len() {
            if self.tokens[at] == "use" {
                at = self.end_of_use(at);
                continue;
            }
            let path = self.path_at(at);
            if !path.is_empty() && !self.is_continued(at) {
                found.extend(self.absolute(&path, files));
            }
            at += 1.max((path.len() * 2).saturating_sub(1));
        }
        found
    }

    fn end_of_use(&self, at: usize) -> usize {
        at + self.tokens[at..].iter().take_while(|token| *token != ";").count()
    }

    /// Returns whether the token continues the one before it, or names a new item.
    fn is_continued(&self, at: usize) -> bool {
        let before = at.checked_sub(1).map(|before| self.tokens[before].as_str());
        before.is_some_and(|token| ["::", ".", "fn", "mod", "let", "struct"].contains(&token))
    }

    fn path_at(&self, at: usize) -> Path {
        let mut path = Vec::new();
        for pair in self.tokens[at..].chunks(2) {
            if !pair[0].starts_with(is_identifier) {
                break;
            }
            path.push(pair[0].clone());
            if pair.get(1).is_none_or(|next| next != "::") {
                break;
            }
        }
        path
    }

    /// Resolves the first segments of a path; none if it leads to another crate.
    fn absolute(&self, path: &[String], files: &HashMap<Path, usize>) -> Option<Path> {
        let (first, rest) = path.split_first()?;
        let below = |base: &[String]| Some(base.iter().chain(rest).cloned().collect());
        match first.as_str() {
            "crate" => below(&self.package),
            "self" => below(&self.path),
            "super" => {
                let climbs = path.iter().take_while(|segment| *segment == "super").count();
                let base = self.path.get(..self.path.len().checked_sub(climbs)?)?;
                Some(base.iter().chain(&path[climbs..]).cloned().collect())
            }
            _ => {
                if let Some(target) = self.names.get(first) {
                    return below(target);
                }
                let child: Path = self.path.iter().chain([first]).cloned().collect();
                files.contains_key(&child).then(|| below(&child)).flatten()
            }
        }
    }
}

/// Lists the paths of a `use` tree that begins at `at`, each with the name that it gets in the file.
fn flatten(tokens: &[String], at: &mut usize, base: &[String], found: &mut Vec<(Path, String)>) {
    let mut path = base.to_vec();
    loop {
        let token = tokens.get(*at).map_or(";", String::as_str);
        match token {
            ";" | "," | "}" => break,
            "{" => return flatten_list(tokens, at, &path, found),
            "::" => {}
            "*" => {
                *at += 1;
                return found.push((path, "*".to_owned()));
            }
            "as" => {
                *at += 2;
                return found.push((path, tokens[*at - 1].clone()));
            }
            name => path.push(name.to_owned()),
        }
        *at += 1;
    }
    path.pop_if(|last| last == "self");
    if let Some(name) = path.last().cloned() {
        found.push((path, name));
    }
}

fn flatten_list(tokens: &[String], at: &mut usize, base: &[String], found: &mut Vec<(Path, String)>) {
    *at += 1;
    while tokens.get(*at).is_some_and(|token| token != "}" && token != ";") {
        flatten(tokens, at, base, found);
        *at += usize::from(tokens.get(*at).is_some_and(|token| token == ","));
    }
    *at += 1;
}

/// Splits code into identifiers, `::` and single characters; comments, strings and test items are dropped.
fn tokens(text: &str) -> Vec<String> {
    let code: Vec<&str> =
        code_lines(text).filter(|line| !line.in_tests).map(|line| strip_comment(line.text)).collect();
    let code = strip_strings(&code.join("\n"));
    let mut found = Vec::new();
    let mut rest = code.trim_start();
    while let Some(first) = rest.chars().next() {
        let word = rest.find(|char| !is_identifier(char)).unwrap_or(rest.len());
        let len = match first {
            _ if rest.starts_with("::") => 2,
            _ => word.max(first.len_utf8()),
        };
        found.push(rest[..len].to_owned());
        rest = rest[len..].trim_start();
    }
    found
}

fn strip_comment(line: &str) -> &str {
    line.find(" // ").map_or(line, |at| &line[..at])
}

/// Empties string literals.
fn strip_strings(code: &str) -> String {
    let mut kept = String::new();
    let mut chars = code.chars().peekable();
    while let Some(char) = chars.next() {
        kept.push(char);
        match char {
            '"' if kept.ends_with("r#\"") => skip_raw_string(&mut chars),
            '"' => skip_string(&mut chars),
            '\'' if chars.peek() == Some(&'"') => drop(chars.next()),
            _ => {}
        }
    }
    kept
}

fn skip_string(chars: &mut impl Iterator<Item = char>) {
    while let Some(char) = chars.next() {
        match char {
            '\\' => drop(chars.next()),
            '"' => return,
            _ => {}
        }
    }
}

fn skip_raw_string(chars: &mut std::iter::Peekable<impl Iterator<Item = char>>) {
    while let Some(char) = chars.next() {
        if char == '"' && chars.peek() == Some(&'#') {
            return;
        }
    }
}
