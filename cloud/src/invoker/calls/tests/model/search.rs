//! Visits every world that can come of a first one, nearest first: what it finds wrong it tells by a shortest story.

use std::collections::{BTreeMap, HashSet};
use std::rc::Rc;

use super::Config;
use super::world::{Step, World};

/// What a search saw.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) states: usize,
    pub(super) transitions: usize,
    /// The most steps from the start.
    pub(super) depth: usize,
    /// Whether that was all.
    pub(super) whole: bool,
    /// Worlds in which nothing more can happen.
    pub(super) ends: usize,
    /// How the first call was answered in those.
    pub(super) answers: BTreeMap<&'static str, usize>,
    /// The law that was broken, and the story of it.
    pub(super) wrong: Option<String>,
}

/// Goes no further than `most_steps` from the start.
pub(super) fn search(config: &Config, most_steps: usize) -> Seen {
    let config = Rc::new(config.clone());
    let mut seen = Seen::default();
    // How each visited world came about: from which, and by which step.
    let mut origins: Vec<(usize, Step)> = Vec::new();
    let start = World::new(config.clone(), false);
    let mut known = HashSet::from([start.key()]);
    let mut frontier = vec![(usize::MAX, start)];
    seen.states = 1;
    while !frontier.is_empty() && seen.depth < most_steps {
        let mut next = Vec::new();
        for (origin, world) in frontier {
            let steps = world.steps();
            if steps.is_empty() {
                seen.ends += 1;
                let answer = world.calls[0].answer().map_or("none", |(status, _)| status);
                *seen.answers.entry(answer).or_default() += 1;
            }
            for step in steps {
                let mut after = world.clone();
                after.take(step);
                seen.transitions += 1;
                if after.wrong.is_some() {
                    let mut path = vec![step];
                    let mut at = origin;
                    while let Some((before, step)) = origins.get(at) {
                        path.push(*step);
                        at = *before;
                    }
                    path.reverse();
                    seen.wrong = Some(tell(&config, &path));
                    return seen;
                }
                if known.insert(after.key()) {
                    seen.states += 1;
                    origins.push((origin, step));
                    next.push((origins.len() - 1, after));
                }
            }
        }
        frontier = next;
        seen.depth += 1;
    }
    seen.whole = frontier.is_empty();
    seen
}

/// The story of a path.
fn tell(config: &Rc<Config>, path: &[Step]) -> String {
    let mut world = World::new(config.clone(), true);
    for step in path {
        world.take(*step);
    }
    let law = world.wrong.take().unwrap_or_default();
    format!("broken: {law}\n{config:?}\n{}", world.story.unwrap_or_default().join("\n"))
}
