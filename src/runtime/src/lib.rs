//! The runtime service: image service and container runtimes behind one CRI socket.
