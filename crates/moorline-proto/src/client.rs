//! The reference client machine.
