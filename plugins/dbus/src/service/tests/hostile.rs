//! Plugins that mean no good, next to one that does.

use super::*;
