//! What must hold, one property a file. Each says what is wrong in a sentence, or nothing.

pub mod acks;
pub mod answers;
pub mod convergence;
pub mod delivery;
pub mod leaks;
pub mod meaning;
pub mod order;
pub mod resets;
pub mod stream;
