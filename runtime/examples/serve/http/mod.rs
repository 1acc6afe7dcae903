//! A server of static files over HTTP/1.1: a goroutine per connection, in
//! plain blocking code.
//!
//! From the outside in: [`server`] accepts, keeps count and stops; a goroutine
//! in [`connection`] reads requests and writes responses; [`request`] reads a
//! head; [`site`] finds what a [`target`] names and answers, with the help of
//! [`condition`] (has the client got it already?), [`range`] (which part?) and
//! [`listing`] (of a directory); [`response`] writes heads.
//!
//! A request is data until it is answered: all but `server` and `connection`
//! know nothing of sockets, and their tests need none.

mod condition;
mod connection;
mod listing;
mod range;
mod request;
mod response;
mod server;
mod site;
mod target;

pub(crate) use server::{Server, Settings};
