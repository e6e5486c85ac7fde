//! The language against a small catalog: plans, messages, properties.

mod catalog;
mod messages;
mod pages;
mod plans;
mod properties;
