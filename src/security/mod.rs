//! Who somebody is and what they may do.
//!
//! Everybody is anonymous and may do everything for now; the questions are asked in the places where they will
//! have to be asked.

pub mod access;
pub mod auth;
