//! nowd as a component of Greengrass: the real program as the recipe starts it, beside a stand-in for the nucleus.

mod anew;
mod check;
mod core;
mod fleet;
mod nucleus;
mod standing;
mod start;
mod via;
mod whole;
