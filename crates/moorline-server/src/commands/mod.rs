//! What the program does beside serving, a module per command.

pub(crate) mod doctor;
