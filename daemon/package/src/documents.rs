//! The documents of the package: those of the repository, with links that hold where the package puts them. Changes no other word.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::{fs, io};

use anyhow::{Context, Result, bail};

/// What of the repository lies where on a machine with the package; for all but the documents `daemon/Cargo.toml` has to say the same.
const INSTALLED: &[(&str, &str)] = &[
    ("CHANGELOG.md", "usr/share/doc/nowd/CHANGELOG.md"),
    ("LICENSE", "usr/share/doc/nowd/copyright"),
    ("README.md", "usr/share/doc/nowd/README.md"),
    ("daemon/interfaces", "usr/share/dbus-1/interfaces"),
    ("docs/AWS-IOT-CORE.md", "usr/share/doc/nowd/AWS-IOT-CORE.md"),
    ("docs/SPECIFICATION.md", "usr/share/doc/nowd/SPECIFICATION.md"),
    ("docs/guides", "usr/share/doc/nowd/guides"),
    ("plugins/examples/README.md", "usr/share/doc/nowd/examples/plugins/README.md"),
    ("plugins/examples/c", "usr/share/doc/nowd/examples/plugins/c"),
    ("plugins/examples/python", "usr/share/doc/nowd/examples/plugins/python"),
    ("plugins/maps", "usr/share/nowd/maps"),
    ("plugins/sdk/interfaces", "usr/share/dbus-1/interfaces"),
    ("systemd/README.md", "usr/share/doc/nowd/systemd.md"),
    ("systemd/etc", "etc"),
    ("systemd/usr", "usr"),
];

/// All documents, by the paths that they are installed under (without the first `/`).
///
/// # Errors
///
/// A document cannot be read, or has a relative link to nothing; the message names both.
pub(crate) fn all(repository: &Path) -> Result<Vec<(String, String)>> {
    let mut documents = Vec::new();
    for (source, installed_as) in INSTALLED {
        for (name, file) in markdown(&repository.join(source))? {
            let below =
                |folder: &str| if name.is_empty() { folder.to_owned() } else { format!("{folder}/{name}") };
            let text =
                fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
            let text = rewritten(&text, &below(source), &|path| repository.join(path).exists())?;
            documents.push((below(installed_as), text));
        }
    }
    Ok(documents)
}

/// The file itself, under no name, if it is a document; or those that lie directly in the folder.
fn markdown(path: &Path) -> Result<Vec<(String, PathBuf)>> {
    let is_document = |path: &Path| path.extension().is_some_and(|extension| extension == "md");
    if !path.is_dir() {
        return Ok(Vec::from_iter(is_document(path).then(|| (String::new(), path.to_owned()))));
    }
    let entries: io::Result<Vec<_>> = fs::read_dir(path).and_then(Iterator::collect);
    let entries = entries.with_context(|| format!("cannot list {}", path.display()))?;
    let files = entries.iter().map(fs::DirEntry::path).filter(|file| is_document(file));
    let mut files: Vec<_> =
        files.filter_map(|file| Some((file.file_name()?.to_str()?.to_owned(), file.clone()))).collect();
    files.sort();
    Ok(files)
}

/// The document `from`, with links as they must be where it is installed. What is not in the package is no link there; a list at the end
/// says what it is in the sources.
fn rewritten(markdown: &str, from: &str, exists: &dyn Fn(&str) -> bool) -> Result<String> {
    let here = installed(from).with_context(|| format!("{from} is not in the package"))?;
    let mut written = String::new();
    let mut absent = BTreeSet::new();
    let mut rest = markdown;
    while let Some((before, after)) = rest.split_once("](") {
        let (address, behind) =
            after.split_once(')').with_context(|| format!("{from}: a link without an end"))?;
        rest = behind;
        if !is_relative(address) {
            written.extend([before, "](", address, ")"]);
            continue;
        }
        let (path, anchor) = split(address);
        let target = resolved(from, path);
        if !exists(&target) {
            bail!("{from}: the link to {address} leads nowhere");
        }
        if let Some(there) = installed(&target) {
            written.extend([before, "](", &relative(&here, &there), anchor, ")"]);
            continue;
        }
        let (outside, text) =
            before.rsplit_once('[').with_context(|| format!("{from}: a link without a text"))?;
        written.extend([outside, text]);
        let text = text.replace('\n', " ");
        absent.insert((target, text));
    }
    written.push_str(rest);
    if !absent.is_empty() {
        written.push_str("\n## Only in nowd's sources\n\n");
    }
    for (target, text) in absent {
        let named = if text.trim_matches('`') == target { String::new() } else { format!(": {text}") };
        written.extend(["- `", &target, "`", &named, "\n"]);
    }
    Ok(written)
}

/// Neither an address of the web nor a place in the same document.
fn is_relative(address: &str) -> bool {
    !address.starts_with('#') && !address.contains(':')
}

/// The path, and from `#` on the place in it.
fn split(address: &str) -> (&str, &str) {
    address.split_at(address.find('#').unwrap_or(address.len()))
}

/// Where a link of the document `from` leads, in paths of the repository.
fn resolved(from: &str, link: &str) -> String {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in link.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            name => parts.push(name),
        }
    }
    parts.join("/")
}

/// Where a path of the repository is installed, if it is.
fn installed(path: &str) -> Option<String> {
    INSTALLED.iter().find_map(|(source, target)| {
        let below = path.strip_prefix(source)?;
        (below.is_empty() || below.starts_with('/')).then(|| format!("{target}{below}"))
    })
}

/// The way from a file to another path.
fn relative(from: &str, to: &str) -> String {
    let from: Vec<&str> = from.split('/').collect();
    let to: Vec<&str> = to.split('/').collect();
    let folder = from.len().saturating_sub(1);
    let common = from.iter().zip(&to).take(folder).take_while(|(one, other)| one == other).count();
    let up = std::iter::repeat_n("..", folder.saturating_sub(common));
    let way = up.chain(to.into_iter().skip(common)).collect::<Vec<_>>().join("/");
    if way.is_empty() { ".".into() } else { way }
}

#[cfg(test)]
mod tests;
