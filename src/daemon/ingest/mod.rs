//! stub
mod capacity;
mod handshake;
mod pace;
