//! Places in a map file, and what is wrong there: file, line, column, and the line itself.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::MapSource;
use crate::words::plain;

/// The most characters of a line that are shown.
const LONGEST_EXCERPT: usize = 160;

/// A place in a map file: a table or a key, of which keys further inside can be named.
#[derive(Clone, PartialEq, Eq)]
pub struct MapOrigin {
    source: Arc<MapSource>,
    /// The table in which [`MapOrigin::at`] looks for keys: none, or `methods` and the method's name.
    table: Vec<String>,
    span: Range<usize>,
    /// Of a method: all that the file says of it.
    content: Arc<str>,
}

/// What is wrong with a map file, and where. One sentence; [`MapError::excerpt`] shows the line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {message}", .origin.exact())]
pub struct MapError {
    /// Where.
    pub origin: MapOrigin,
    /// What, what was expected, and what to do.
    pub message: String,
}

impl MapError {
    /// What the TOML reader says of a file, in the words of the other messages.
    #[must_use]
    pub fn of_reader(source: &MapSource, error: &toml::de::Error) -> Self {
        let start = MapOrigin::start(source);
        let span = error.span().unwrap_or(0..0);
        MapOrigin { span, ..start }.error(plain(error.message()))
    }

    /// The line that the error is about, with its number and a mark under the place; nothing where the file has no such
    /// line.
    #[must_use]
    pub fn excerpt(&self) -> Option<String> {
        self.origin.excerpt()
    }
}

impl MapOrigin {
    pub(super) fn new(source: Arc<MapSource>, table: Vec<String>, span: Range<usize>) -> Self {
        Self { source, table, span, content: Arc::default() }
    }

    /// The place of a method of which the file says this.
    pub(super) fn with_content(self, content: String) -> Self {
        Self { content: content.into(), ..self }
    }

    /// All that the file says of the method that stands here: its keys, and the tables that are for all of its methods. It changes
    /// with each of them, and with nothing else; it is not for people.
    #[must_use]
    pub fn content(&self) -> &str {
        &self.content
    }

    /// The start of a file.
    #[must_use]
    pub fn start(source: &MapSource) -> Self {
        Self::new(Arc::new(source.clone()), Vec::new(), 0..0)
    }

    /// An error at this place.
    pub fn error(&self, message: impl fmt::Display) -> MapError {
        MapError { origin: self.clone(), message: message.to_string() }
    }

    /// The place of the value of a key inside, by its path as messages write it: `done.signal`, `args[2]`, `steps[0].reply`.
    /// The nearest that is there if there is no such key.
    #[must_use]
    pub fn at(&self, path: &str) -> Self {
        self.find(path, false)
    }

    /// The place of the key itself, where it is the key that is wrong.
    #[must_use]
    pub fn at_key(&self, path: &str) -> Self {
        self.find(path, true)
    }

    fn find(&self, path: &str, of_key: bool) -> Self {
        let Ok(table) = DeTable::parse(&self.source.text) else { return self.clone() };
        let root = Spanned::new(0..0, DeValue::Table(table.into_inner()));
        let mut found = &root;
        for name in &self.table {
            match step(found, name) {
                Some((_, inner)) => found = inner,
                None => return self.clone(),
            }
        }
        let mut place = None;
        for name in path.split(['.', '[']).map(|name| name.trim_end_matches(']')) {
            let Some((key, inner)) = step(found, name) else { break };
            found = inner;
            place = Some(key.filter(|_| of_key).unwrap_or_else(|| inner.span()));
        }
        match place {
            Some(span) => Self { span, ..self.clone() },
            None => self.clone(),
        }
    }

    /// The line, with its number and a mark under the place; nothing where the file has no such line.
    #[must_use]
    pub fn excerpt(&self) -> Option<String> {
        let text = self.line_text();
        if text.trim().is_empty() {
            return None;
        }
        let number = self.line().to_string();
        let before: String = text.chars().take(self.column() - 1).collect();
        let pad: String = before.chars().map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        let marked = self.source.text.get(self.span.clone()).unwrap_or_default();
        let width = marked.lines().next().unwrap_or_default().chars().count().max(1);
        if before.chars().count() + width > LONGEST_EXCERPT {
            return None;
        }
        let shown: String = text.chars().take(LONGEST_EXCERPT).collect();
        let gutter = " ".repeat(number.len());
        Some(format!("  {number} | {shown}\n  {gutter} | {pad}{}", "^".repeat(width)))
    }

    /// The file's name as the user gave it.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.source.file
    }

    /// File, line and column, as errors begin.
    #[must_use]
    pub fn exact(&self) -> String {
        format!("{self}:{}", self.column())
    }

    /// The line, from 1.
    #[must_use]
    pub fn line(&self) -> usize {
        1 + self.before().matches('\n').count()
    }

    /// The column in characters, from 1.
    #[must_use]
    pub fn column(&self) -> usize {
        let before = self.before();
        1 + before.rsplit('\n').next().unwrap_or_default().chars().count()
    }

    fn before(&self) -> &str {
        self.source.text.get(..self.span.start).unwrap_or_default()
    }

    fn line_text(&self) -> &str {
        self.source.text.lines().nth(self.line() - 1).unwrap_or_default()
    }
}

impl fmt::Display for MapOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file(), self.line())
    }
}

impl fmt::Debug for MapOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.exact())
    }
}

/// A value inside, and where its key stands if it has one.
fn step<'t, 'a>(
    value: &'t Spanned<DeValue<'a>>,
    name: &str,
) -> Option<(Option<Range<usize>>, &'t Spanned<DeValue<'a>>)> {
    match value.get_ref() {
        DeValue::Table(table) => table.get_key_value(name).map(|(key, value)| (Some(key.span()), value)),
        DeValue::Array(items) => items.get(name.parse::<usize>().ok()?).map(|value| (None, value)),
        DeValue::String(_)
        | DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_) => None,
    }
}
