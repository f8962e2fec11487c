//! Groups of Python's regular expressions: their numbers and names, and the flags that hold within them.

use std::collections::HashMap;

/// Flags that change how a pattern is translated.
#[derive(Clone, Copy, Default)]
pub(super) struct Flags {
    pub(super) ascii: bool,
    pub(super) multiline: bool,
    pub(super) verbose: bool,
}

impl Flags {
    /// Returns the flags that hold after `text`, and the flags for the translated pattern.
    pub(super) fn with(self, text: &str, is_whole: bool) -> Result<(Self, String), String> {
        let (on, off) = text.split_once('-').map_or((text, None), |(on, off)| (on, Some(off)));
        if let Some(unknown) = text.replacen('-', "", 1).chars().find(|flag| !"aimsux".contains(*flag)) {
            return Err(format!("the flag {unknown} is not one of a, i, m, s, u, x"));
        }
        let off_is_bad = off.is_some_and(|off| is_whole || off.is_empty() || off.contains(['a', 'u']));
        let both = |flag| on.contains(flag) && off.is_some_and(|off| off.contains(flag));
        if off_is_bad || (on.contains('a') && on.contains('u')) || "imsx".chars().any(both) {
            return Err(format!("the flags {text} cannot stand there"));
        }
        let off = off.unwrap_or_default();
        let flag = |name, before| (before || on.contains(name)) && !off.contains(name);
        let flags = Self {
            ascii: flag('a', self.ascii) && !on.contains('u'),
            multiline: flag('m', self.multiline),
            verbose: flag('x', self.verbose),
        };
        let kept = |flags: &str| flags.chars().filter(|flag| "ims".contains(*flag)).collect::<String>();
        let (on, off) = (kept(on), kept(off));
        Ok((flags, if off.is_empty() { on } else { format!("{on}-{off}") }))
    }
}

/// A group that is open.
pub(super) struct Scope {
    /// The byte offset of its start in the translated pattern.
    pub(super) at: usize,
    /// The length of its start, such as `(?:`.
    pub(super) start_bytes: usize,
    /// The flags that hold after it.
    pub(super) flags: Flags,
    /// True if the group has several branches.
    pub(super) has_branches: bool,
    /// Its number, if it captures.
    number: Option<usize>,
    /// The number of groups before the outermost look-behind that it is in.
    behind: Option<usize>,
}

/// The groups of a pattern.
#[derive(Default)]
pub(super) struct Scopes {
    open: Vec<Scope>,
    /// True for each capturing group that is closed.
    closed: Vec<bool>,
    names: HashMap<String, usize>,
    behind: Option<usize>,
    /// The largest number that a condition names.
    condition_max: usize,
}

impl Scopes {
    /// Opens a group; `captures` is set if it captures, perhaps with a name.
    #[expect(clippy::option_option, reason = "a group that captures may have a name")]
    pub(super) fn open(
        &mut self,
        at: usize,
        start_bytes: usize,
        flags: Flags,
        captures: Option<Option<String>>,
    ) -> Result<(), String> {
        let number = captures.is_some().then(|| {
            self.closed.push(false);
            self.closed.len()
        });
        if let Some((name, number)) = captures.flatten().zip(number) {
            let is_start = |first: char| first.is_alphabetic() || first == '_';
            let is_name =
                name.starts_with(is_start) && name.chars().all(|next| is_start(next) || next.is_numeric());
            if !is_name || self.names.insert(name.clone(), number).is_some() {
                return Err(format!("{name:?} is not the name of a group, or a second one has it"));
            }
        }
        self.open.push(Scope { at, start_bytes, flags, has_branches: false, number, behind: self.behind });
        Ok(())
    }

    /// Records that the group that was opened last looks behind.
    pub(super) fn look_behind(&mut self) {
        self.behind = self.behind.or(Some(self.closed.len()));
    }

    /// Records that another branch of the last group begins.
    pub(super) fn branch(&mut self) {
        if let Some(scope) = self.open.last_mut() {
            scope.has_branches = true;
        }
    }

    /// Closes the last group.
    pub(super) fn close(&mut self) -> Result<Scope, String> {
        let scope = self.open.pop().ok_or("a parenthesis is closed that was not opened")?;
        self.behind = scope.behind;
        if let Some(number) = scope.number {
            self.closed[number - 1] = true;
        }
        Ok(scope)
    }

    /// Returns the number of the group with this number or name, which a reference names.
    pub(super) fn refer(&self, name: &str) -> Result<usize, String> {
        let number = self.number(name)?;
        if !self.closed.get(number - 1).is_some_and(|closed| *closed) {
            return Err(format!("the group {name} is not closed before it is referred to"));
        }
        self.outside(name, number)
    }

    /// Returns the number of the group with this number or name, which a condition names.
    pub(super) fn condition(&mut self, name: &str) -> Result<usize, String> {
        let number = self.number(name)?;
        self.condition_max = self.condition_max.max(number);
        if self.behind.is_none() { Ok(number) } else { self.refer(name) }
    }

    /// Checks that all groups are closed.
    pub(super) fn finish(&self) -> Result<(), String> {
        if !self.open.is_empty() {
            return Err("a parenthesis is not closed".to_owned());
        }
        if self.condition_max > self.closed.len() {
            return Err(format!("there is no group {}", self.condition_max));
        }
        Ok(())
    }

    fn number(&self, name: &str) -> Result<usize, String> {
        let is_number = !name.is_empty() && name.bytes().all(|digit| digit.is_ascii_digit());
        let number = if is_number { name.parse().ok() } else { self.names.get(name).copied() };
        number.filter(|number| *number > 0).ok_or_else(|| format!("there is no group {name}"))
    }

    fn outside(&self, name: &str, number: usize) -> Result<usize, String> {
        if self.behind.is_some_and(|before| number > before) {
            return Err(format!("the group {name} is in the look-behind that refers to it"));
        }
        Ok(number)
    }
}
