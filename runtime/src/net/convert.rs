//! Conversions between our sockets and pipes, std's, and bare descriptors: the same
//! for each type.

macro_rules! conversions {
    ($ours:ident, $std:ty) => {
        impl $ours {
            /// Takes over std's.
            ///
            /// Its settings stay: if it was non-blocking, operations fail with
            /// [`WouldBlock`](std::io::ErrorKind::WouldBlock) instead of waiting, and
            /// its timeouts count. The open file itself becomes non-blocking: a
            /// duplicate that std still uses will notice.
            ///
            /// # Errors
            /// When it cannot be watched: no memory, or the limit of
            /// `fs.epoll.max_user_watches`.
            pub fn from_std(socket: $std) -> io::Result<$ours> {
                let ours = $ours {
                    socket: Arc::new(Socket::adopt(socket)),
                };
                ours.socket.check()?;
                Ok(ours)
            }

            /// Gives it to std. It blocks then, unless `set_nonblocking` said otherwise;
            /// timeouts stay, deadlines do not.
            ///
            /// # Errors
            /// [`ResourceBusy`](std::io::ErrorKind::ResourceBusy) when there are clones:
            /// they need it non-blocking. `NotConnected` with [`Closed`](crate::net::Closed)
            /// when it was closed. The handle is used up all the same.
            pub fn into_std(self) -> io::Result<$std> {
                self.socket.call(|_| Ok(()))?;
                self.socket
                    .into_inner()
                    .map_err(|_| io::Error::new(io::ErrorKind::ResourceBusy, "it has clones"))
            }
        }

        /// Cannot fail, so what [`from_std`]($ours::from_std) would say comes as
        /// the error of the first operation.
        impl From<$std> for $ours {
            fn from(socket: $std) -> $ours {
                $ours {
                    socket: Arc::new(Socket::adopt(socket)),
                }
            }
        }

        /// As the conversion from std's type.
        impl From<OwnedFd> for $ours {
            fn from(fd: OwnedFd) -> $ours {
                $ours::from(<$std>::from(fd))
            }
        }

        /// The descriptor, which is in blocking mode then, as for `into_std`. With clones
        /// alive it is a duplicate, in non-blocking mode.
        ///
        /// # Panics
        /// `net: ...` when there are clones, and no descriptor is left for the duplicate.
        impl From<$ours> for OwnedFd {
            fn from(ours: $ours) -> OwnedFd {
                match ours.socket.into_inner() {
                    Ok(socket) => socket.into(),
                    Err(shared) => match shared.as_fd().try_clone_to_owned() {
                        Ok(fd) => fd,
                        Err(e) => panic!("net: can't duplicate a shared descriptor: {e}"),
                    },
                }
            }
        }

        /// The open file is in non-blocking mode; leave it so. After `close`, the
        /// descriptor is one on which every call fails.
        impl AsFd for $ours {
            fn as_fd(&self) -> BorrowedFd<'_> {
                self.socket.as_fd()
            }
        }

        impl AsRawFd for $ours {
            fn as_raw_fd(&self) -> RawFd {
                self.socket.as_fd().as_raw_fd()
            }
        }

        impl IntoRawFd for $ours {
            fn into_raw_fd(self) -> RawFd {
                OwnedFd::from(self).into_raw_fd()
            }
        }

        impl FromRawFd for $ours {
            unsafe fn from_raw_fd(fd: RawFd) -> $ours {
                // SAFETY: the caller's promise: open, and owned by nobody else.
                $ours::from(unsafe { OwnedFd::from_raw_fd(fd) })
            }
        }
    };
}

pub(crate) use conversions;
