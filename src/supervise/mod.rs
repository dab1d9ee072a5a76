//! Units: programs that are kept running, and stopped whole.
//!
//! - [`policy`] and [`machine`] decide (pure), [`notify`] understands what a
//!   program says of itself (pure).

pub(crate) mod machine;
pub(crate) mod notify;
pub(crate) mod policy;
