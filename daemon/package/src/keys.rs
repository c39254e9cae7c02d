//! `nowd.toml(5)`, out of the specification: its section "Configuration", and its tables of keys. Knows no key by itself.

use anyhow::{Context, Result};

/// One row of the table: keys, default, what it is.
pub(crate) struct Row<'a> {
    /// Such as `link.certificate`.
    pub(crate) keys: Vec<&'a str>,
    pub(crate) default: &'a str,
    pub(crate) about: &'a str,
}

/// What stands under "## 8. Configuration".
fn section(specification: &str) -> Result<&str> {
    let (_, from) = specification
        .split_once("\n## 8. Configuration\n")
        .context("docs/SPECIFICATION.md has no section `8. Configuration`")?;
    Ok(from.split_once("\n## ").map_or(from, |(section, _)| section))
}

/// The keys of all tables with this heading, in any section; those of maps and drop-ins have others.
const HEADING: &str = "| key | default | |";

/// The tables of keys.
pub(crate) fn rows(specification: &str) -> Vec<Row<'_>> {
    let mut inside = false;
    let mut rows: Vec<Row> = Vec::new();
    for line in specification.lines() {
        inside = line == HEADING || inside && line.starts_with('|');
        let row = row(line).filter(|_| inside);
        // A key may be in the table of all keys, and in that of its section.
        rows.extend(row.filter(|row| !rows.iter().any(|known| known.keys == row.keys)));
    }
    rows
}

/// A row of the table: it begins with a key. Cells hold no `|`.
fn row(line: &str) -> Option<Row<'_>> {
    let mut cells = line.strip_prefix("| `")?.split('|').map(str::trim);
    let first = line.get(2..)?.split('|').next()?;
    cells.next();
    let (default, about) = (cells.next()?, cells.next()?);
    Some(Row { keys: first.split('`').skip(1).step_by(2).collect(), default, about })
}

/// How paragraphs of the section begin that are no part of the page: its own table of keys, what it says of other tables, and the
/// exit codes, which `nowd(1)` has.
const ELSEWHERE: [&str; 3] = ["|", "The keys of ", "Exit codes "];

/// The page, as roff.
pub(crate) fn page(specification: &str) -> Result<String> {
    let mut page = String::from(
        ".TH NOWD.TOML 5 \"\" \"nowd\" \"nowd\"\n.SH NAME\nnowd.toml \\- configuration of nowd, the gateway daemon\n.SH SYNOPSIS\n\
         /etc/nowd/nowd.toml\n.br\n/etc/nowd/nowd.toml.d/*.toml\n.SH DESCRIPTION\n",
    );
    let paragraphs = section(specification)?.split("\n\n").map(str::trim);
    let is_elsewhere = |text: &str| ELSEWHERE.iter().any(|start| text.starts_with(start));
    for paragraph in paragraphs.filter(|text| !text.is_empty() && !is_elsewhere(text)) {
        page.extend([".PP\n", &text(&paragraph.replace('\n', " ")), "\n"]);
    }
    page.push_str(".PP\n\\(lqSection\\(rq is one of /usr/share/doc/nowd/SPECIFICATION.md.\n.SH KEYS\n");
    for row in rows(specification) {
        let names: Vec<String> = row.keys.iter().map(|key| format!("\\fB{}\\fR", escape(key))).collect();
        page.extend([".TP\n", &names.join(", "), "\n"]);
        if !row.about.is_empty() {
            page.extend([&text(row.about), "\n.br\n"]);
        }
        page.extend(["Default: ", &text(row.default), "\n"]);
    }
    page.push_str(
        ".SH FILES\n.TP\n/etc/nowd/methods.d/*.toml\nMethod maps; ready\\-made ones lie in /usr/share/nowd/maps.\n.TP\n\
         /etc/nowd/plugins.d/*.toml\nDrop\\-ins: plugins that are services of their own.\n\
         .SH \"SEE ALSO\"\n\\fBnowd\\fR(1), \\fBnowd\\-check\\fR(1), /usr/share/doc/nowd/SPECIFICATION.md, /usr/share/doc/nowd/guides\n",
    );
    Ok(page)
}

/// Markdown within a paragraph, as roff: code is bold, a link is its text, or the section whose number that is.
fn text(markdown: &str) -> String {
    let mut roff = String::new();
    for (at, part) in markdown.trim().split('`').enumerate() {
        if at % 2 == 1 {
            roff.extend(["\\fB", &escape(part), "\\fR"]);
        } else {
            roff.push_str(&escape(&without_links(part)));
        }
    }
    // A dot or a quote at the start would be a request.
    if roff.starts_with(['.', '\'']) { format!("\\&{roff}") } else { roff }
}

/// `[text](address)` is `text`, `[5.3](address)` is `section 5.3`.
fn without_links(markdown: &str) -> String {
    let mut plain = String::new();
    let mut rest = markdown;
    while let Some((before, after)) = rest.split_once("](") {
        let Some((_, behind)) = after.split_once(')') else { break };
        match before.rsplit_once('[') {
            Some((outside, inside)) => {
                let is_number = inside.starts_with(|c: char| c.is_ascii_digit());
                plain.extend([outside, if is_number { "section " } else { "" }, inside]);
            }
            None => plain.push_str(before),
        }
        rest = behind;
    }
    plain.push_str(rest);
    plain
}

fn escape(plain: &str) -> String {
    plain.replace('\\', "\\e").replace('-', "\\-")
}
