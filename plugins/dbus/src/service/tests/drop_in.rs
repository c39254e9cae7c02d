//! Drop-ins, and what is left of a description.

use super::*;
