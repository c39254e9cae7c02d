//! `nowd schema`: what editors need to complete and check the files that people write.

use clap::ValueEnum;

use super::say;

/// Method maps, as JSON Schema. A test holds that it has the keys that the plugins read, and no others.
const MAP: &str = include_str!("../../../plugins/maps/map.schema.json");

/// Files that there is a schema of.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum Of {
    /// Method maps: methods.d/*.toml
    Map,
}

pub(super) fn print(of: Of) {
    let text = match of {
        Of::Map => MAP,
    };
    say(&mut std::io::stdout(), text.trim_end());
}
