//! Units: programs that are kept running, and stopped whole.
//!
//! - [`policy`] and [`machine`] decide about one unit, [`order`] about several
//!   (pure), [`notify`] understands what a
//!   program says of itself (pure).

pub(crate) mod machine;
pub(crate) mod notify;
pub(crate) mod order;
pub(crate) mod policy;
mod report;
pub(crate) mod run;
pub(crate) mod settings;
pub(crate) mod units;
