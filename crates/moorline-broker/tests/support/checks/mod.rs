//! What must hold, one property a file. Each says what is wrong in a sentence, or nothing.

pub mod convergence;
pub mod delivery;
pub mod leaks;
pub mod order;
pub mod planted;
pub mod resets;
pub mod stream;
