//! tests
mod gearmand;
