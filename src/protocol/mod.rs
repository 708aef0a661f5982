//! Bytes and values. Knows how a packet is written, nothing of jobs.
//!
//! A read brings bytes; [`Codec`] cuts them into [`Request`]s; what the server answers is a [`Response`],
//! encoded straight into a [`WriteBuf`]. [`Frame`] is the packet between the two, which our own client side uses too.

mod admin;
mod codec;
mod frame;
mod handle;
mod kind;
mod request;
mod response;
mod spec;
mod write_buf;

pub use admin::{Admin, Listing, MaxQueue};
pub use codec::{Broken, Codec};
pub use frame::{BadHeader, Frame, HEADER_LEN, Header, LARGE, Magic};
pub use handle::Handle;
pub use kind::Kind;
pub use request::{Flavor, Mode, Refusal, Request, StatusNumbers, Submit, Update, Work};
pub use response::{Progress, Response};
pub use spec::{Parts, Spec};
pub use write_buf::WriteBuf;
