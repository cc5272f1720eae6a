//! What must hold, one property a file. Each says what is wrong in a sentence, or nothing.

pub mod accepted;
pub mod acks;
pub mod answers;
pub mod bounds;
pub mod convergence;
pub mod delivery;
pub mod exclusion;
pub mod fencing;
pub mod leaks;
pub mod leases;
pub mod meaning;
pub mod membership;
pub mod order;
pub mod resets;
pub mod stream;
pub mod takeover;
pub mod terminals;
pub mod texts;
