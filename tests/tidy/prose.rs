//! Checks the prose of the tree: comments, and the texts that the program prints.

use std::collections::BTreeMap;
use std::fs;

use crate::source::{files_below, is_identifier, root, sources};

/// A doc begins with a verb or a noun, not with one of these.
const OPENERS: [&str; 8] = ["What", "Who", "Whose", "Whether", "How", "Where", "When", "Why"];

/// Words that hide who acts: the client, the worker, the operator.
const PEOPLE: [&str; 7] = ["nobody", "somebody", "whoever", "whom", "everybody", "whomever", "anybody"];

/// Phrases that have a standard word.
const PHRASES: [&str; 30] = [
    "as told",
    "at its word",
    "came to its end",
    "come to an end",
    "come to its end",
    "comes to its end",
    "comes too soon",
    "for ever",
    "goes on as",
    "in hand",
    "in nobody's hands",
    "is away",
    "is told",
    "are told",
    "be told",
    "was told",
    "it is gone",
    "it is there",
    "it is well",
    "lay hands on",
    "let go of",
    "lets go",
    "letting go",
    "look around",
    "looks around",
    "said seldom",
    "says nothing",
    "speaks for",
    "taken for",
    "was away",
];

/// The limits of each top module, and of tests and pages: the most docs that begin with one of [`OPENERS`], the most
/// words of [`PEOPLE`], and the most of [`PHRASES`]. A limit may only fall.
const MOST: [(&str, [usize; 3]); 4] =
    [("coordinator", [0, 2, 0]), ("metadata", [0, 1, 0]), ("model", [0, 1, 0]), ("tests", [0, 3, 0])];

#[test]
fn prose_is_plain() {
    let mut complaints = Vec::new();
    let mut total = Figures::default();
    println!("{:12} {:>6} {:>8} {:>9} {:>7} {:>8}", "", "docs", "openers", "comments", "people", "phrases");
    for (module, figures) in figures() {
        println!("{}", figures.row(&module));
        total = total.plus(&figures);
        let most = MOST.iter().find(|(name, _)| *name == module).map_or([0; 3], |(_, most)| *most);
        if figures.counted().iter().zip(most).any(|(found, most)| *found > most) {
            let found = figures.counted();
            let places = figures.places.join("\n  ");
            complaints.push(format!("{module}: found {found:?}, at most {most:?} allowed\n  {places}"));
        }
    }
    println!("{}", total.row("all"));
    assert!(total.openers * 100 < total.docs * 3, "3 % of the docs begin with a question word");
    assert!(
        total.people * 1_000 < total.comments,
        "one comment line of a thousand speaks of nobody or somebody"
    );
    if let Ok(module) = std::env::var("TIDY_SHOW") {
        println!("{}", figures().remove(&module).unwrap_or_default().places.join("\n"));
    }
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

#[test]
fn the_figures_count_each_opener_and_word() {
    let mut figures = Figures::default();
    figures.read(
        "a.rs",
        "/// Whether it is.\n/// Whether not.\nfn whom_ever() {} // whom\n\n//! Wherever it is.\n",
    );
    assert_eq!((figures.docs, figures.comments, figures.counted()), (2, 3, [1, 1, 0]));
    assert_eq!(words("whom_ever, Whom: x").collect::<Vec<_>>(), ["whom_ever", "Whom", "x"]);
}

/// The figures of one top module.
#[derive(Default)]
struct Figures {
    docs: usize,
    comments: usize,
    openers: usize,
    people: usize,
    phrases: usize,
    /// Every line that counts as an opener, a person or a phrase.
    places: Vec<String>,
}

impl Figures {
    fn read(&mut self, name: &str, text: &str) {
        let mut in_doc = false;
        for (line, number) in text.lines().map(str::trim_start).zip(1..) {
            let doc = line.strip_prefix("/// ").or_else(|| line.strip_prefix("//! "));
            let begins = doc.filter(|_| !in_doc);
            in_doc = line.starts_with("///") || line.starts_with("//!");
            self.comments += usize::from(is_prose(name, line));
            self.docs += usize::from(begins.is_some());
            let opened = begins.and_then(|doc| words(doc).next()).is_some_and(|word| OPENERS.contains(&word));
            let people = words(line).filter(|word| PEOPLE.contains(&word.to_lowercase().as_str())).count();
            let lower = line.to_lowercase();
            let phrases: usize = PHRASES.iter().map(|phrase| occurrences(&lower, phrase)).sum();
            self.openers += usize::from(opened);
            self.people += people;
            self.phrases += phrases;
            if opened || people + phrases > 0 {
                self.places.push(format!("{name}:{number}: {line}"));
            }
        }
    }

    fn counted(&self) -> [usize; 3] {
        [self.openers, self.people, self.phrases]
    }

    fn plus(mut self, other: &Self) -> Self {
        self.docs += other.docs;
        self.comments += other.comments;
        self.openers += other.openers;
        self.people += other.people;
        self.phrases += other.phrases;
        self
    }

    fn row(&self, name: &str) -> String {
        let per = |count: usize, of: usize, whole: f64| whole * count as f64 / of.max(1) as f64;
        format!(
            "{name:12} {:6} {:4} {:4.1}% {:6} {:4} {:5.1}‰ {:5}",
            self.docs,
            self.openers,
            per(self.openers, self.docs, 100.0),
            self.comments,
            self.people,
            per(self.people, self.comments, 1000.0),
            self.phrases
        )
    }
}

/// Reads every file of the source tree, of the tests, and of the pages for readers.
fn figures() -> BTreeMap<String, Figures> {
    let mut figures: BTreeMap<String, Figures> = BTreeMap::new();
    for source in sources() {
        figures.entry(source.top().to_owned()).or_default().read(&source.name, &source.text);
    }
    let mut add = |name: &str, file: &std::path::Path| {
        let text = fs::read_to_string(file).expect("the file is readable");
        let shown = file.strip_prefix(root()).expect("it is in the repository").display().to_string();
        figures.entry(name.to_owned()).or_default().read(&shown, &text);
    };
    let own = root().join("tests/tidy");
    for file in
        files_below(&root().join("tests"), &["rs", "py"]).iter().filter(|file| !file.starts_with(&own))
    {
        add("tests", file);
    }
    for folder in ["assets", "config", ".github"] {
        for file in files_below(&root().join(folder), &["md", "yaml", "toml", "html"]) {
            add("pages", &file);
        }
    }
    for page in ["README.md", "src/ARCHITECTURE.md"] {
        add("pages", &root().join(page));
    }
    figures
}

/// Returns whether the line is a comment; pages consist of nothing else.
fn is_prose(name: &str, line: &str) -> bool {
    match name.rsplit('.').next() {
        Some("rs") => line.starts_with("//"),
        Some("py") => line.starts_with('#'),
        _ => !line.is_empty(),
    }
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|char| !is_identifier(char)).filter(|word| !word.is_empty())
}

/// Counts how often a phrase occurs in a text as whole words.
fn occurrences(text: &str, phrase: &str) -> usize {
    let whole = |at: usize| {
        !text[..at].ends_with(is_identifier) && !text[at + phrase.len()..].starts_with(is_identifier)
    };
    text.match_indices(phrase).filter(|(at, _)| whole(*at)).count()
}
