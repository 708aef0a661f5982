//! The job server as a state machine.
mod settings;
pub use settings::Settings;
